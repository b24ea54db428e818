import type { Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

export interface Pipe {
  /** @throws DataCloneError for what can't be cloned, InvalidStateError after `close` */
  post(data: unknown): void;
  close(): void;
}

interface Port {
  readonly tab: Tab;
  readonly name: string;
  readonly received: (data: unknown) => void;
}

/** The BroadcastChannels of one browser, as measured in Chromium. */
export interface Channels {
  open(tab: Tab, name: string, received: (data: unknown) => void): Pipe;
  died(tab: Tab): void;
  /** Tabs with an open pipe, one for each. */
  readonly users: readonly Tab[];
}

/**
 * @param maxMs how long a message takes at most, in milliseconds
 * @param posted hears of every message
 */
export function createChannels(loop: Loop, maxMs: number, posted: (tab: Tab, data: unknown) => void): Channels {
  const ports = new Set<Port>();

  return {
    open(tab, name, received) {
      const port: Port = { tab, name, received };
      /** When the last message of this sender reaches each receiver: they never overtake each other. */
      const arrivals = new Map<Port, number>();
      ports.add(port);
      return {
        post(data) {
          if (!ports.has(port)) {
            if (!tab.alive) return;
            throw new DOMException("the channel is closed", "InvalidStateError");
          }
          const copy: unknown = structuredClone(data);
          posted(tab, copy);
          for (const other of ports) {
            if (other === port || other.name !== name) continue;
            const at = Math.max(arrivals.get(other) ?? 0, loop.now + loop.random() * maxMs);
            arrivals.set(other, at);
            loop.later(at - loop.now, () => {
              if (!ports.has(other)) return;
              if (other.tab.cached) return other.tab.evict("a message on its channel");
              other.tab.post("channel", 0, () => {
                if (ports.has(other)) other.received(structuredClone(copy));
              });
            });
          }
        },
        close: () => void ports.delete(port),
      };
    },

    died(tab) {
      for (const port of [...ports]) if (port.tab === tab) ports.delete(port);
    },
    get users() {
      return Array.from(ports, ({ tab }) => tab);
    },
  };
}

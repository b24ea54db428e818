import type { Adoption, OutboxStore } from "./item.ts";
import { stored, type Item } from "./lane.ts";

/** An OutboxStore whose faults are reported, and hurt nothing else. */
export interface SafeStore {
  /** @returns resolves when the store is done with it, one way or the other; undefined: it is done */
  save(item: Item): Promise<void> | undefined;
  remove(id: string): void;
  /** Resolves with null when there is nothing to adopt from. */
  adopt(): Promise<Adoption | null>;
  holds(id: string): boolean;
  exposed(id: string): boolean;
  release(): void;
  close(): void;
  wipe(): Promise<void>;
}

export function safeStore(store: OutboxStore | undefined, error: (cause: unknown) => void): SafeStore {
  function guard<T>(ask: () => T): T | undefined {
    try {
      return ask();
    } catch (cause) {
      error(cause);
      return undefined;
    }
  }
  return {
    // Not persisted is worse than sent and persisted, and better than never sent.
    save: (item) => (store && guard(() => store.save(stored(item))?.catch(error))) || undefined,
    remove: (id) => void guard(() => store?.remove(id)),
    adopt: async () => (await guard(() => store?.adopt?.().catch(error))) || null,
    holds: (id) => guard(() => store?.holds?.(id)) ?? false,
    exposed: (id) => guard(() => store?.exposed?.(id)) ?? false,
    release: () => guard(() => store?.release?.()),
    close: () => guard(() => store?.close?.()),
    wipe: async () => guard(() => store?.wipe?.().catch(error)),
  };
}

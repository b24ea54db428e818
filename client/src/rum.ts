import { outages } from "./outage.ts";
import type { Following } from "./recorder.ts";

/** Options of `rumRecorder`. */
export interface RumOptions {
  /** Before the names of events and performance entries: `reconnect-channels:`. */
  readonly prefix?: string | undefined;
  /** Performance entries of one name that stay on the timeline at most, 1 or more: 100. */
  readonly keep?: number | undefined;
  /** Where the CustomEvents are dispatched: the window. */
  readonly target?: EventTarget | undefined;
}

/** What the browser says of its network; all but `online` in Chromium only. */
export interface NetworkQuality {
  readonly online?: boolean;
  /** `slow-2g`, `2g`, `3g` or `4g`. */
  readonly effectiveType?: string;
  /** Milliseconds. */
  readonly rtt?: number;
  /** Megabits a second. */
  readonly downlink?: number;
  readonly saveData?: boolean;
}

/** `detail` of the CustomEvents, by name without the prefix. Times are milliseconds. */
export interface RumDetails {
  /** The connection is lost. */
  drop: NetworkQuality & { readonly reason: string };
  /** A wait begins. `capped`: it can't grow any more. */
  backoff: NetworkQuality & { readonly ms: number; readonly capped: boolean };
  /** An attempt to connect is over: `connected`, `failed`, `timeout` or `aborted`. */
  attempt: NetworkQuality & { readonly ms: number; readonly outcome: string };
  /** The first connection of a page; every stream is live. */
  connect: RumDetails["outage"];
  /** An outage is over. */
  outage: NetworkQuality & {
    readonly ms: number;
    readonly outcome: string;
    readonly reason: string;
    readonly attempts: number;
    readonly role: string;
  };
  /** An outage is over, after which another tab leads. */
  handover: RumDetails["outage"];
}

/**
 * Shows outages, attempts and waits to whatever measures real users: as `performance` entries, and as CustomEvents on
 * the window, each with the network quality of its moment. One recorder serves one client.
 */
export function rumRecorder(options: RumOptions = {}): Following {
  const { prefix = "reconnect-channels:", keep = 100, target = globalThis as unknown as EventTarget } = options;
  const kept: Record<string, number> = {};
  let capped = false;
  let attempts = 0;
  let waitingSince: number | null = null;

  const tell = <K extends keyof RumDetails>(name: K, detail: Omit<RumDetails[K], keyof NetworkQuality>) => {
    const full = { ...detail, ...networkQuality() };
    target.dispatchEvent(new CustomEvent(prefix + name, { detail: full }));
    return full;
  };

  /** Adds to the timeline; the older entries of that name go before there are too many. */
  const put = (name: string, add: (name: string) => void, clear: "clearMarks" | "clearMeasures") => {
    const count = kept[name] ?? 0;
    if (count >= keep) performance[clear](prefix + name);
    kept[name] = (count % keep) + 1;
    add(prefix + name);
  };

  const measure = (name: string, from: number, to: number, detail: object) => {
    const start = Math.min(Math.max(from, 0), to);
    put(name, (full) => performance.measure(full, { start, end: to, detail }), "clearMeasures");
  };

  return {
    count(name) {
      if (name === "reconnect_backoff_capped_total") capped = true;
    },

    observe(name, value, labels) {
      const now = performance.now();
      const ms = value * 1000;
      if (name === "reconnect_backoff_delay_seconds") {
        waitingSince = now;
        tell("backoff", { ms, capped });
        capped = false;
      } else if (name === "reconnect_attempt_duration_seconds") {
        attempts++;
        const detail = tell("attempt", { ms, outcome: String(labels?.["outcome"]) });
        // A wait is shown as long as it really was: it may have been cut short.
        if (waitingSince !== null) measure("backoff", waitingSince, now - ms, networkQuality());
        waitingSince = null;
        measure("attempt", now - ms, now, detail);
      }
    },

    gauge() {},

    follow: outages(({ first, reason }) => {
      attempts = 0;
      if (!first) {
        const detail = tell("drop", { reason });
        put("drop", (full) => performance.mark(full, { detail }), "clearMarks");
      }
      return ({ ms, outcome, role, handover }) => {
        const now = performance.now();
        const name = first ? "connect" : handover ? "handover" : "outage";
        measure(name, now - ms, now, tell(name, { ms, outcome, reason, attempts, role }));
        waitingSince = null;
      };
    }),
  };
}

function networkQuality(): NetworkQuality {
  const { onLine: online, connection } = (globalThis.navigator ?? {}) as Navigator & { connection?: NetworkQuality };
  if (!connection) return { online };
  const { effectiveType, rtt, downlink, saveData } = connection;
  return { online, effectiveType, rtt, downlink, saveData } as NetworkQuality;
}

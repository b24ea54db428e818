import { backoffCeiling } from "./backoff.ts";
import { isTerminal, type Bye } from "./frames.ts";
import type { Settings } from "./settings.ts";
import type { Ending } from "./transport.ts";

/** Several INVALID_SEQ within this time escalate (protocol 5.8). */
const INVALID_SEQ_MS = 60_000;
const INVALID_SEQ = 4000;

/** How a connection or an attempt ended, with what BYE said. */
export interface End extends Ending {
  /** BYE's word, which wins over the code. */
  readonly reconnect?: boolean;
  /** BYE's [min, max] milliseconds, which win over the backoff. */
  readonly window?: readonly [number, number];
}

/** What BYE says of the end that follows it. */
export function endOf({ code, reason, reconnect, retry_after_ms: window }: Bye): End {
  // [0, 0] is what a server says that has no opinion: then the backoff decides.
  const [min, max] = Array.isArray(window) ? window : [0, 0];
  const end = { code, reason: String(reason), reconnect };
  return max > 0 && min >= 0 && max >= min ? { ...end, window: [min, max] } : end;
}

/** Whether and when to try again after an end (protocol 7, design 11.2). */
export interface Comeback {
  /** Ends in a row without a stable connection between them. */
  failures: number;
  /** Monotonic time before which the server doesn't want us, whatever the network says. */
  notBefore: number;
  /** A connection held, or the user asks again: all begins anew. */
  reset(): void;
  /** Why not to come back; empty: come back. */
  refusal(end: End, reason: string): string;
  /** The wait in milliseconds. */
  delay(end: End): number;
}

/** @param forget every position (protocol 5.8) */
export function createComeback(settings: Settings, forget: () => void): Comeback {
  const { clock, baseMs, maxMs, maxAttempts, random, emit } = settings;
  let invalidSeqs: number[] = [];

  const comeback: Comeback = {
    failures: 0,
    notBefore: 0,

    reset() {
      comeback.failures = comeback.notBefore = 0;
    },

    refusal({ code, reconnect = !isTerminal(code) }, reason) {
      if (!reconnect) return reason;
      return comeback.failures < maxAttempts ? "" : `gave up after ${comeback.failures} attempts: ${reason}`;
    },

    delay({ code, window }) {
      const now = clock.now();
      if (window) {
        const [min, max] = window;
        comeback.notBefore = now + min;
        return min + random() * (max - min);
      }
      let ceiling = backoffCeiling(comeback.failures, baseMs, maxMs);
      if (code === INVALID_SEQ) {
        invalidSeqs = [...invalidSeqs.filter((at) => now - at < INVALID_SEQ_MS), now];
        if (invalidSeqs.length === 2) forget();
        if (invalidSeqs.length <= 2) ceiling = baseMs;
      }
      if (ceiling >= maxMs) emit("capped", ceiling);
      return ceiling * random();
    },
  };
  return comeback;
}

import { backoffCeiling } from "./backoff.ts";
import { isTerminal } from "./frames.ts";
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

/** Whether and when to try again after an end (protocol 7, design 11.2). */
export class Comeback {
  /** Ends in a row without a stable connection between them. */
  failures = 0;
  /** Monotonic time before which the server doesn't want us, whatever the network says. */
  notBefore = 0;
  #invalidSeqs: number[] = [];
  readonly #settings: Settings;
  readonly #forget: () => void;

  constructor(settings: Settings, forget: () => void) {
    this.#settings = settings;
    this.#forget = forget;
  }

  /** A connection held, or the user asks again: all begins anew. */
  reset(): void {
    this.failures = this.notBefore = 0;
  }

  /** Why not to come back; empty: come back. */
  refusal({ code, reconnect = !isTerminal(code) }: End, reason: string): string {
    if (!reconnect) return reason;
    return this.failures < this.#settings.maxAttempts ? "" : `gave up after ${this.failures} attempts: ${reason}`;
  }

  /** The wait in milliseconds. */
  delay({ code, window }: End): number {
    const { clock, baseMs, maxMs, random, recorder } = this.#settings;
    const now = clock.now();
    if (window) {
      const [min, max] = window;
      this.notBefore = now + min;
      return min + random() * (max - min);
    }
    let ceiling = backoffCeiling(this.failures, baseMs, maxMs);
    if (code === INVALID_SEQ) {
      this.#invalidSeqs = [...this.#invalidSeqs.filter((at) => now - at < INVALID_SEQ_MS), now];
      const { length } = this.#invalidSeqs;
      if (length === 2) this.#forget();
      if (length <= 2) ceiling = baseMs;
    }
    if (ceiling >= maxMs) recorder.count("reconnect_backoff_capped_total");
    return ceiling * random();
  }
}

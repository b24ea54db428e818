import { after, type Clock } from "./clock.ts";

/** A connection on which nothing was heard for so long is dead (protocol 7). */
export const DEAD_AFTER_MS = 25_000;
/** An answer to a probe takes no longer (design 11.3). */
export const PROBE_MS = 3_000;
const REARM_MS = 1_000;

/**
 * Notices a connection that is open and dead: a cable pulled, a NAT entry gone, a laptop that slept.
 *
 * The watch is armed from incoming frames, not chained from its own timer: browsers delay chained timers in
 * hidden tabs to once a minute, but not those that network events set.
 */
export class Liveness {
  /** Wall time of the last frame: since then nothing is proved. */
  heardAt: number;
  #heard: number;
  #armed = 0;
  #deadAfterMs = DEAD_AFTER_MS;
  #stopWatch = () => {};
  #stopProbe: (() => void) | null = null;
  readonly #clock: Clock;
  readonly #onDead: (reason: string) => void;
  readonly #signal: AbortSignal;

  constructor(clock: Clock, signal: AbortSignal, onDead: (reason: string) => void) {
    this.#clock = clock;
    this.#signal = signal;
    this.#onDead = onDead;
    this.#heard = clock.now();
    this.heardAt = clock.wall();
    this.#arm(this.#deadAfterMs);
  }

  /** A server with a slower heartbeat is given its beat and the usual grace. */
  expect(heartbeatMs: unknown): void {
    if (typeof heartbeatMs === "number") this.#deadAfterMs = Math.max(DEAD_AFTER_MS, heartbeatMs + 10_000);
    this.#arm(this.#deadAfterMs);
  }

  /** Any frame came. */
  heard(): void {
    this.#heard = this.#clock.now();
    this.heardAt = this.#clock.wall();
    this.#stopProbe?.();
    this.#stopProbe = null;
    if (this.#heard - this.#armed >= REARM_MS) this.#arm(this.#deadAfterMs);
  }

  /** Asks for a sign of life with `send`; none within 3 s is the end. */
  probe(send: () => void): void {
    if (this.#stopProbe) return;
    this.#stopProbe = after(this.#clock, PROBE_MS, this.#signal, () => this.#onDead("no answer to a probe"));
    send();
  }

  #arm(ms: number): void {
    this.#stopWatch();
    this.#armed = this.#clock.now();
    this.#stopWatch = after(this.#clock, ms, this.#signal, () => {
      const left = this.#deadAfterMs - (this.#clock.now() - this.#heard);
      if (left > 0) this.#arm(left);
      else this.#onDead("silence");
    });
  }
}

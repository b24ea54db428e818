import { onAbort } from "./signals.ts";

/** Where time comes from; tests pass their own. */
export interface Clock {
  /** Monotonic milliseconds: for durations. */
  now(): number;
  /** Milliseconds since 1970: for people, and to notice that the machine slept. */
  wall(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(handle: unknown): void;
}

/** The platform's time. Looked up at call time, so that fake timers installed later are seen. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle as number),
};

/** What a server may ask us to wait at most; also keeps timers below their 2^31 ms overflow. */
const MAX_DELAY_MS = 3_600_000;

/**
 * Runs once after `ms`, unless `signal` aborts or the returned function is called before.
 * Leaves neither timer nor listener behind.
 */
export function after(clock: Clock, ms: number, signal: AbortSignal, run: () => void): () => void {
  if (signal.aborted) return () => {};
  const handle = clock.setTimeout(
    () => {
      detach();
      run();
    },
    Math.min(Math.max(ms, 0), MAX_DELAY_MS),
  );
  const stop = () => {
    clock.clearTimeout(handle);
    detach();
  };
  const detach = onAbort(signal, stop);
  return stop;
}

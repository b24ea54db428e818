import { secureRandom, type Random } from "./random.ts";

/** The doublings after which the wait no longer grows: keeps 2^n finite in long outages. */
const MAX_DOUBLINGS = 10;

/**
 * The wait before attempt `attempt` may grow to, without jitter (design 11.2).
 *
 * @throws RangeError for bounds that are not positive finite numbers, and for an attempt that is NaN.
 */
export function backoffCeiling(attempt: number, baseMs: number, maxMs: number): number {
  if (!(baseMs > 0 && maxMs > 0 && baseMs < Infinity && maxMs < Infinity) || Number.isNaN(attempt)) {
    throw new RangeError("Invalid backoff bounds");
  }
  return Math.min(baseMs * 2 ** Math.min(Math.max(attempt, 0), MAX_DOUBLINGS), maxMs);
}

/**
 * The wait in milliseconds before the next attempt: random between 0 and
 * `min(baseMs · 2^clamp(attempt, 0, 10), maxMs)` (protocol 7). The jitter goes downward: jitter that is
 * added and then capped would vanish exactly in the long outages that need it.
 *
 * @param attempt failures so far: 0, 1, 2…
 * @param random for tests; cryptographic unless given
 * @throws RangeError for bounds that are not positive finite numbers, and for an attempt that is NaN.
 */
export function calculateBackoff(attempt: number, baseMs: number, maxMs: number, random: Random = secureRandom): number {
  return backoffCeiling(attempt, baseMs, maxMs) * random();
}

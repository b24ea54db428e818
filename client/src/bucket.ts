/**
 * A token bucket: `rate` tokens a second, at most `burst` at once. The caller passes the time.
 *
 * @returns takes one token and returns 0, or returns the milliseconds until there is one
 */
export function tokenBucket(rate: number, burst: number, start: number): (now: number) => number {
  let tokens = burst;
  let at = start;
  return (now) => {
    tokens = Math.min(burst, tokens + ((now - at) * rate) / 1000);
    at = now;
    if (tokens < 1) return Math.ceil(((1 - tokens) * 1000) / rate);
    tokens--;
    return 0;
  };
}

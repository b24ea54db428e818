import type { Clock } from "../clock.ts";

/** Storage that is asked and never answers: disks hang, other pages block an upgrade, browsers have bugs. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** A page that was frozen sees its timers before its answers: it shall not take its own sleep for a hang. */
const STEPS = 4;

/** @returns what `asked` gives, or rejects with a TimeoutError after so many milliseconds */
export function deadline<T>(clock: Clock, ms: number, asked: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: unknown;
    const wait = (steps: number) => {
      if (!steps) return reject(new TimeoutError(`no answer in ${ms} ms`));
      timer = clock.setTimeout(() => wait(steps - 1), ms / STEPS);
    };
    wait(STEPS);
    asked.then(resolve, reject).finally(() => clock.clearTimeout(timer));
  });
}

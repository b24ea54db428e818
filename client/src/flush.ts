import type { Client } from "./public.ts";

/**
 * Measures flushes: from CONNECTED until every message that waited then has its answer.
 *
 * @param done takes milliseconds; not called where nothing waited or the connection broke before
 * @returns ends it
 */
export function watchFlush(client: Client, done: (ms: number) => void): () => void {
  let waited: ReadonlySet<string> | null = null;
  let began = 0;
  const offs = [
    client.on("stateChange", ({ to }) => {
      began = performance.now();
      waited = to === "CONNECTED" && client.waiting ? new Set(client.queue.map(({ id }) => id)) : null;
    }),
    client.on("queueChange", () => {
      if (!waited || client.queue.some(({ id }) => waited!.has(id))) return;
      waited = null;
      done(performance.now() - began);
    }),
  ];
  return () => offs.forEach((off) => off());
}

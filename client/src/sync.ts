/** How fresh what a page shows is (design 11.8). `waiting` counts messages without an answer. */
export type SyncState =
  | { readonly kind: "live"; readonly waiting: number }
  /** `n` entries came so far in this catching up; how many are left, nobody knows. */
  | { readonly kind: "catching-up"; readonly n: number; readonly waiting: number }
  /** Nothing is proved since `since` (milliseconds since 1970). */
  | { readonly kind: "stale"; readonly since: number; readonly waiting: number };

/** The state of several streams as one: the least fresh decides. */
export function worst(states: readonly SyncState[], waiting: number): SyncState {
  let since = Infinity;
  let n = 0;
  let behind = false;
  for (const state of states) {
    if (state.kind === "stale") since = Math.min(since, state.since);
    if (state.kind === "catching-up") {
      behind = true;
      n += state.n;
    }
  }
  if (since < Infinity) return { kind: "stale", since, waiting };
  return behind ? { kind: "catching-up", n, waiting } : { kind: "live", waiting };
}

/**
 * For people: "live", "3 waiting", "catching up (12)", "stale since 14:02:33"; the last two with
 * ", 3 waiting" where messages wait.
 */
export function describe(sync: SyncState): string {
  const waiting = sync.waiting ? `${sync.waiting} waiting` : "";
  if (sync.kind === "live") return waiting || "live";
  const text = sync.kind === "stale" ? `stale since ${new Date(sync.since).toTimeString().slice(0, 8)}` : `catching up (${sync.n})`;
  return waiting ? `${text}, ${waiting}` : text;
}

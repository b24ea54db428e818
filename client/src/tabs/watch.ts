import { after } from "../clock.ts";
import type { TabsEnvironment } from "./environment.ts";

const TICK_MS = 1_000;
/** So long without a word of the leader, and it is asked. */
const ASK_MS = 2_500;
/** So long, and it is taken for dead; by tabs that nobody looks at a little later. */
const DEAD_MS = 4_500;
const HIDDEN_DEAD_MS = 5_500;
/** Between saying that one takes over and doing it: others say so too, and the smallest id does it. */
const CLAIM_MS = 200;
/** A tick that comes so late means that this tab slept, and knows nothing. */
const SLEPT_MS = 2_500;

export interface WatchEvents {
  /** Has the leader say a word, and frees a lock that lies in the back/forward cache. */
  ask(): void;
  /** Tells the other tabs that this one takes over. */
  claim(): void;
  takeOver(): void;
}

/** Watches a leader whose lock is held and whose thread is stuck: the lock alone would never tell. */
export interface Watch {
  /** The leader said something. */
  heard(): void;
  /** Another tab is about to take over. */
  claimed(tab: string): void;
  start(): void;
  stop(): void;
}

export function createWatch(
  tab: string,
  { clock, document }: Pick<TabsEnvironment, "clock" | "document">,
  signal: AbortSignal,
  { ask, claim, takeOver }: WatchEvents,
): Watch {
  let heardAt = clock.now();
  let tickedAt = heardAt;
  let stopTick = () => {};
  let stopClaim: (() => void) | null = null;

  function heard(): void {
    heardAt = clock.now();
    stopClaim?.();
    stopClaim = null;
  }

  function tick(): void {
    const now = clock.now();
    const slept = now - tickedAt > SLEPT_MS;
    tickedAt = now;
    stopTick = after(clock, TICK_MS, signal, tick);
    if (slept) return heard();
    const quiet = now - heardAt;
    if (quiet < ASK_MS || stopClaim) return;
    ask();
    if (quiet < (document?.visibilityState === "hidden" ? HIDDEN_DEAD_MS : DEAD_MS)) return;
    claim();
    stopClaim = after(clock, CLAIM_MS, signal, () => {
      heard();
      takeOver();
    });
  }

  function stop(): void {
    stopTick();
    stopClaim?.();
    stopClaim = null;
  }

  return {
    heard,
    stop,
    claimed(other) {
      if (stopClaim && other < tab) heard();
    },
    start() {
      stop();
      heardAt = tickedAt = clock.now();
      stopTick = after(clock, TICK_MS, signal, tick);
    },
  };
}

import { after, type Clock } from "./clock.ts";
import { positive } from "./frames.ts";

/** A connection on which nothing was heard for so long is dead (protocol 7). */
const DEAD_MS = 25_000;
/** After its time a heartbeat is late, and after so much more an unusually slow one is dead. */
const LATE_MS = 3_000;
const GIVE_UP_MS = 10_000;
/** A message has waited so long for its answer, in silence: time to ask whether anybody is there. */
const ANSWER_MS = 5_000;
/** An answer to a probe takes no longer (design 11.3). */
const PROBE_MS = 3_000;
/** Frames move the watch at most so often. */
const REARM_MS = 1_000;

export interface LivenessEvents {
  /** Monotonic time at which the oldest message without an answer went out; Infinity: there is none. */
  unansweredSince(): number;
  /** Sends something that a living server answers at once, whatever else it works on. */
  probe(): void;
  /** `overdue` changed. */
  overdue(): void;
  dead(reason: string): void;
}

/** Notices a connection that is open and dead. */
export interface Liveness {
  /** The heartbeat is late: nothing proves that what people see is the newest. */
  readonly overdue: boolean;
  /** Any frame came. */
  heard(): void;
  /** Asks for a sign of life; none within 3 s is the end. */
  probe(): void;
  /** Sets the watch anew: a message went out. */
  look(): void;
}

/**
 * Watches for a cable pulled, a NAT entry gone, a laptop that slept.
 *
 * The watch is armed from incoming frames, not chained from its own timer for long: browsers delay chained timers in
 * hidden tabs to once a minute, but not those that network events set.
 */
export function watchLiveness(clock: Clock, signal: AbortSignal, heartbeatMs: unknown, events: LivenessEvents): Liveness {
  const beatMs = positive(heartbeatMs, 15_000);
  const lateMs = beatMs + LATE_MS;
  const deadMs = Math.max(DEAD_MS, beatMs + GIVE_UP_MS);
  let heardAt = clock.now();
  let armedAt = heardAt;
  let overdue = false;
  let stopWatch = () => {};
  let stopProbe: (() => void) | null = null;

  const probe = () => {
    if (stopProbe) return;
    stopProbe = after(clock, PROBE_MS, signal, () => events.dead("no answer to a probe"));
    events.probe();
  };

  const look = () => {
    stopWatch();
    armedAt = clock.now();
    const silent = armedAt - heardAt;
    if (silent >= deadMs) return events.dead("silence");
    if (overdue !== (overdue = silent >= lateMs)) events.overdue();
    const answerIn = Math.max(heardAt, events.unansweredSince()) + ANSWER_MS - armedAt;
    if (answerIn <= 0) probe();
    const next = Math.min((overdue ? deadMs : lateMs) - silent, stopProbe ? Infinity : answerIn);
    stopWatch = after(clock, next, signal, look);
  };

  look();
  return {
    get overdue() {
      return overdue;
    },
    heard() {
      heardAt = clock.now();
      if (overdue || stopProbe || heardAt - armedAt >= REARM_MS) {
        stopProbe?.();
        stopProbe = null;
        look();
      }
    },
    probe,
    look,
  };
}

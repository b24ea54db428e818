import type { TabsEnvironment } from "./environment.ts";

export interface ElectionEvents {
  /** This tab leads from now on. */
  lead(): void;
  /** It doesn't any more, and stands in the queue again. */
  follow(): void;
  /** Locks don't work here. */
  unavailable(): void;
}

/** Who leads: whoever holds the Web Lock. Its queue is first come, first served (design 11.4). */
export interface Election {
  readonly leading: boolean;
  /** The newest leadership that is known, one's own included. */
  readonly term: number;
  /** Stands for election. */
  apply(): void;
  /** Leaves the queue and joins it again: that frees a lock whose holder lies in the back/forward cache. */
  requeue(): void;
  /** Gives the lock back, or leaves the queue. */
  withdraw(): void;
  /** Gives the lock to the next in the queue, and joins its end. */
  resign(): void;
  /** Whether there can be such a leadership by now: somebody's nonsense must leave room to count on. */
  plausible(term: number): boolean;
  /** A letter spoke of this leadership. A newer one than one's own ends that. */
  observe(term: number): void;
  /** Takes the lock from a leader that says nothing. Bounded: a tab that hears nobody must not go on for hours. */
  steal(): boolean;
}

interface Application {
  readonly queue: AbortController;
  /** Gives the lock back; null: not granted yet. */
  release: (() => void) | null;
}

/** Leaderships that may have gone by without this tab. */
const LEAP = 2 ** 20;
const STEALS = 3;
const STEAL_EVERY_MS = 60_000;

export function createElection(key: string, environment: TabsEnvironment, events: ElectionEvents): Election {
  const { clock, storage } = environment;
  const locks = environment.locks!;
  let current: Application | null = null;
  let term = 0;
  let steals = 0;
  let stoleAt = -Infinity;

  const leading = () => !!current?.release;

  function apply(options: LockOptions = {}): void {
    const mine: Application = (current = { queue: new AbortController(), release: null });
    // A signal doesn't go together with `steal`.
    const how = options.steal ? options : { ...options, signal: mine.queue.signal };
    const hold = () => {
      // A grant that comes after its application was withdrawn goes back at once.
      if (current !== mine) return undefined;
      return new Promise<void>((release) => {
        mine.release = release;
        term = Math.max(term, stored()) + 1;
        store();
        events.lead();
      });
    };
    // Never bounded by a timeout: a healthy leader may lead for days.
    new Promise((settled) => settled(locks.request(`${key}:leader`, how, hold))).catch(() => {
      if (current !== mine) return;
      current = null;
      if (!mine.release) return events.unavailable();
      // Stolen. A tab that was silent so long doesn't know better: it never steals back.
      steals = STEALS;
      apply();
      events.follow();
    });
  }

  function withdraw(): void {
    const old = current;
    current = null;
    old?.queue.abort();
    old?.release?.();
  }

  function resign(): void {
    withdraw();
    apply();
    events.follow();
  }

  function stored(): number {
    try {
      const value = Number(storage?.getItem(`${key}:term`));
      return Number.isSafeInteger(value) && value < 2 ** 52 ? value : 0;
    } catch {
      return 0;
    }
  }

  const plausible = (seen: number) => seen <= Math.max(term, stored()) + LEAP;

  function store(): void {
    if (term <= stored()) return; // a letter that was long on its way must not turn the count back
    try {
      storage?.setItem(`${key}:term`, String(term));
    } catch {
      // Then the letters tell it.
    }
  }

  return {
    get leading() {
      return leading();
    },
    get term() {
      return term;
    },
    withdraw,
    resign,
    plausible,
    apply: () => void (current ?? apply()),
    requeue() {
      if (!current || leading()) return;
      withdraw();
      apply();
    },
    observe(seen) {
      if (seen <= term || !plausible(seen)) return;
      term = seen;
      store(); // before the lock goes: whoever gets it must count above
      if (leading()) resign();
    },
    steal() {
      const now = clock.now();
      if (leading() || steals >= STEALS || now - stoleAt < STEAL_EVERY_MS) return false;
      steals++;
      stoleAt = now;
      withdraw();
      apply({ steal: true });
      return true;
    },
  };
}

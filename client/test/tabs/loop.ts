/** A number in [0, 1) from a seed: the same sequence for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Something that happens at a moment of virtual time. */
export interface Task {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Virtual time for everything in a simulation: tabs, browser, network, server. */
export interface Loop {
  /** Milliseconds since the simulation began. */
  readonly now: number;
  /** Tasks that are still to come. */
  readonly pending: number;
  readonly random: () => number;
  /** A whole number from `from` to `to`, both inclusive. */
  between(from: number, to: number): number;
  /** Runs after `ms`; those of one moment in the order of these calls. */
  later(ms: number, run: () => void): Task;
  /** Lets `ms` pass. Between two tasks all microtasks run, as in a browser. */
  advance(ms: number): Promise<void>;
}

// Taken before a test replaces it: it is what lets microtasks run.
const { setImmediate } = globalThis;
const microtasks = () => new Promise<void>((resolve) => void setImmediate(resolve));

export function createLoop(seed: number): Loop {
  const random = seededRandom(seed);
  /** A binary heap: the earliest first. */
  const heap: Task[] = [];
  let now = 0;
  let order = 0;

  const before = (a: Task, b: Task) => a.at < b.at || (a.at === b.at && a.order < b.order);

  function push(task: Task): void {
    let index = heap.push(task) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (before(heap[parent]!, task)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = task;
  }

  function pop(): Task {
    const first = heap[0]!;
    const last = heap.pop()!;
    if (!heap.length) return first;
    let index = 0;
    for (let child = 1; child < heap.length; child = 2 * index + 1) {
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(last, heap[child]!)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return first;
  }

  return {
    get now() {
      return now;
    },
    get pending() {
      return heap.filter((task) => !task.cancelled).length;
    },
    random,
    between: (from, to) => from + Math.floor(random() * (to - from + 1)),

    later(ms, run) {
      const task = { at: now + Math.max(ms, 0), order: order++, run, cancelled: false };
      push(task);
      return task;
    },

    async advance(ms) {
      const until = now + ms;
      await microtasks();
      while (heap.length && heap[0]!.at <= until) {
        const task = pop();
        if (task.cancelled) continue;
        now = Math.max(now, task.at);
        task.run();
        await microtasks();
      }
      now = until;
    },
  };
}

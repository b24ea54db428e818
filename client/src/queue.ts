import { deferred, type Deferred } from "./deferred.ts";
import { ClosedError, QueueOverflowError } from "./errors.ts";
import type { QueueEntry } from "./item.ts";
import { Lane, view, type Item } from "./lane.ts";
import type { Settings } from "./settings.ts";

/** Of the messages that it holds at most: where `highWater` is told. */
const HIGH_WATER = 0.8;

export type QueueSettings = Pick<Settings, "maxQueue" | "maxQueueBytes" | "keeper" | "emit" | "changed">;

/**
 * Messages without an answer, bounded by number and bytes (design 11.5). Restored ones stand outside of the bounds: the
 * store has its own.
 */
export interface Queue {
  readonly items: ReadonlyMap<string, Item>;
  readonly lanes: ReadonlyMap<string, Lane>;
  /** The same array until something changes. */
  readonly entries: readonly QueueEntry[];
  /** The lane of that name; made where there is none. */
  lane(name: string, stream: string, producer: string): Lane;
  /**
   * Adds a message; the oldest that were never sent make room.
   *
   * @throws QueueOverflowError when everything was sent already
   * @returns tells of those that had to go, once all is consistent: a listener may send again
   */
  add(item: Item): () => void;
  /** Adds a message that came out of the store. */
  restore(item: Item): void;
  /** Gives the item its number: from now on it is never evicted. */
  number(item: Item): void;
  /** Takes it out, and out of the store unless it is `kept` there. */
  remove(item: Item, kept?: boolean): void;
  /** Forgets every lane, once nothing is left in them. */
  clear(): void;
  /** Tells that messages came, went or changed. */
  changed(): void;
  /** Resolves when nothing waits; rejects with ClosedError when what waited was dropped. */
  drained(): Promise<void>;
  /** What waited was dropped. */
  dropped(reason: string): void;
}

export function createQueue(settings: QueueSettings): Queue {
  const { maxQueue, maxQueueBytes, keeper, emit } = settings;
  const items = new Map<string, Item>();
  const lanes = new Map<string, Lane>();
  let entries: readonly QueueEntry[] | null = null;
  let high = false;
  let waiters: Deferred<void>[] = [];
  let restored = 0;

  function remove(item: Item, kept = false): void {
    item.detach();
    items.delete(item.id);
    item.lane.items.delete(item);
    if (item.restored) restored--;
    if (!kept) keeper?.remove(item.id);
  }

  function insert(item: Item): void {
    items.set(item.id, item);
    item.lane.items.add(item);
  }

  return {
    items,
    lanes,
    remove,
    clear: () => lanes.clear(),

    get entries() {
      return (entries ??= Object.freeze(Array.from(items.values(), view)));
    },

    lane(name, stream, producer) {
      const lane = lanes.get(name) ?? new Lane(stream, producer);
      lanes.set(name, lane);
      return lane;
    },

    add(item) {
      const own = [...items.values()].filter((old) => !old.restored);
      let count = own.length + 1 - maxQueue;
      let bytes = item.bytes - maxQueueBytes;
      for (const old of own) bytes += old.bytes;
      const evicted: { readonly old: Item; readonly reason: string }[] = [];
      for (const old of own) {
        if (count <= 0 && bytes <= 0) break;
        if (old.n !== null || keeper?.exposed(old.id)) continue; // it may have been applied
        evicted.push({ old, reason: count > 0 ? "count" : "bytes" });
        count--;
        bytes -= old.bytes;
      }
      if (count > 0 || bytes > 0) {
        emit("overflow", items.size);
        throw new QueueOverflowError("full of messages that wait for an answer");
      }
      for (const { old, reason } of evicted) {
        remove(old);
        old.reject(new QueueOverflowError(`evicted (${reason})`));
      }
      insert(item);
      return () => {
        for (const { old, reason } of evicted) emit("evict", { entry: view(old), reason });
      };
    },

    restore(item) {
      insert(item);
      restored++;
    },

    number(item) {
      item.n = ++item.lane.lastN;
      item.producer = item.lane.producer;
      entries = null;
    },

    changed() {
      entries = null;
      const waiting = items.size;
      emit("queueChange", { waiting });
      settings.changed();
      const wasHigh = high;
      high = waiting - restored >= maxQueue * HIGH_WATER;
      if (high && !wasHigh) emit("highWater", { waiting });
      if (!waiting) for (const { resolve } of waiters.splice(0)) resolve();
    },

    drained() {
      const waiter = deferred<void>();
      if (items.size) waiters.push(waiter);
      else waiter.resolve();
      return waiter.promise;
    },

    dropped(reason) {
      for (const { reject } of waiters.splice(0)) reject(new ClosedError(reason));
    },
  };
}

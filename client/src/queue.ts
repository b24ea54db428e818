import { deferred, type Deferred } from "./deferred.ts";
import { ClosedError, QueueOverflowError } from "./errors.ts";
import type { QueueEntry } from "./item.ts";
import { Lane, view, type Item } from "./lane.ts";
import type { Settings } from "./settings.ts";

/** Of the messages that it holds at most: where `highWater` is told. */
const HIGH_WATER = 0.8;

export type QueueSettings = Pick<Settings, "maxQueue" | "maxQueueBytes" | "recorder" | "store" | "emit" | "error" | "changed">;

/** Messages without an answer, bounded by number and bytes (design 11.5). */
export interface Queue {
  readonly items: ReadonlyMap<string, Item>;
  readonly lanes: ReadonlyMap<string, Lane>;
  /** The same array until something changes. */
  readonly entries: readonly QueueEntry[];
  lane(stream: string): Lane;
  /**
   * Adds a message; the oldest that were never sent make room.
   *
   * @throws QueueOverflowError when everything was sent already
   * @returns tells of those that had to go, once all is consistent: a listener may send again
   */
  add(item: Item): () => void;
  /** Gives the item its number: from now on it is never evicted. */
  number(item: Item): void;
  remove(item: Item): void;
  /** Tells that messages came, went or changed. */
  changed(): void;
  /** Resolves when nothing waits; rejects with ClosedError when what waited was dropped. */
  drained(): Promise<void>;
  /** What waited was dropped. */
  dropped(reason: string): void;
}

export function createQueue(settings: QueueSettings): Queue {
  const { maxQueue, maxQueueBytes, recorder, store, emit } = settings;
  const items = new Map<string, Item>();
  const lanes = new Map<string, Lane>();
  let entries: readonly QueueEntry[] | null = null;
  let high = false;
  let waiters: Deferred<void>[] = [];

  function remove(item: Item): void {
    item.detach();
    items.delete(item.id);
    item.lane.items.delete(item);
    try {
      store?.remove(item.id);
    } catch (error) {
      settings.error(error);
    }
  }

  return {
    items,
    lanes,
    remove,

    get entries() {
      return (entries ??= Object.freeze(Array.from(items.values(), view)));
    },

    lane(stream) {
      const lane = lanes.get(stream) ?? new Lane();
      lanes.set(stream, lane);
      return lane;
    },

    add(item) {
      let count = items.size + 1 - maxQueue;
      let bytes = item.bytes - maxQueueBytes;
      for (const old of items.values()) bytes += old.bytes;
      const evicted: { readonly old: Item; readonly reason: string }[] = [];
      for (const old of items.values()) {
        if (count <= 0 && bytes <= 0) break;
        if (old.n !== null) continue; // it may have been applied
        evicted.push({ old, reason: count > 0 ? "count" : "bytes" });
        count--;
        bytes -= old.bytes;
      }
      if (count > 0 || bytes > 0) {
        recorder.count("reconnect_outbox_refused_total");
        throw new QueueOverflowError("full of messages that wait for an answer");
      }
      for (const { old, reason } of evicted) {
        remove(old);
        recorder.count("reconnect_outbox_evicted_total", 1, { reason });
        old.reject(new QueueOverflowError(`evicted (${reason})`));
      }
      items.set(item.id, item);
      item.lane.items.add(item);
      return () => {
        for (const { old, reason } of evicted) emit("evict", { entry: view(old), reason });
      };
    },

    number(item) {
      item.n = ++item.lane.lastN;
      entries = null;
    },

    changed() {
      entries = null;
      const waiting = items.size;
      recorder.observe("ws_queue_depth", waiting);
      emit("queueChange", { waiting });
      settings.changed();
      const wasHigh = high;
      high = waiting >= maxQueue * HIGH_WATER;
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

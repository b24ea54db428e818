import type { QueueEntry, Receipt } from "./item.ts";
import type { Random } from "./random.ts";

const MAX_RETRY_MS = 5_000;

/** A message in the outbox. */
export interface Item {
  readonly id: string;
  readonly stream: string;
  readonly lane: Lane;
  /** The payload, encoded. */
  readonly text: string;
  readonly value: unknown;
  readonly bytes: number;
  readonly createdAt: number;
  /** The outbox that took it from its sender, and its place there. */
  readonly origin: string;
  readonly order: number;
  /** It came out of the store. */
  readonly restored: boolean;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
  /** Given at first transmission (protocol 6.1), so that eviction leaves no holes. */
  n: number | null;
  /** Whose number that is. */
  producer: string | null;
  /** Its number is being persisted: nothing of its lane goes out before. */
  saving: boolean;
  /** Monotonic time at which it went out on this connection, while its answer is awaited; Infinity otherwise. */
  sentAt: number;
  /** Monotonic time at which its answer is asked for again, and how often that was done. */
  overdueAt: number;
  asked: number;
  failures: number;
  /** Takes it off the signal of its sender. */
  detach: () => void;
}

/** What changes of an item, at its beginning. */
export const unsent = () => ({
  saving: false,
  sentAt: Infinity,
  overdueAt: 0,
  asked: 0,
  failures: 0,
  detach: () => {},
});

/** What the application may see of an item. */
export function view({ id, stream, value: payload, n, createdAt, failures, restored }: Omit<Item, "lane">): QueueEntry {
  return Object.freeze({ id, stream, payload, state: n === null ? "queued" : "sent", createdAt, failures, restored });
}

/** One stream's messages of one outbox: numbered in order, answered in order (protocol 6). */
export class Lane {
  readonly stream: string;
  /** Gives new numbers. Restored messages keep those of the producer that they had. */
  readonly producer: string;
  /** The last `n` that was given. */
  lastN = 0;
  /** Items in order; the sent ones are a prefix. */
  readonly items = new Set<Item>();
  /** Monotonic time before which nothing of this stream is sent again. */
  resumeAt = 0;
  /** Retryable refusals in a row. */
  retries = 0;

  constructor(stream: string, producer: string) {
    this.stream = stream;
    this.producer = producer;
  }

  /** A retryable refusal: nothing is sent again before `wait` and some jitter, which grows, have passed. */
  putOff(now: number, wait: number, random: Random): void {
    const jitter = random() * Math.max(wait / 2, Math.min(50 * 2 ** Math.min(this.retries++, 10), MAX_RETRY_MS));
    this.resumeAt = Math.max(this.resumeAt, now + wait + jitter);
  }

  /**
   * The server keeps order within a producer. Where a lane passes from one to the next, what the older one numbered
   * is answered first.
   */
  blocks(item: Item): boolean {
    const [first] = this.items;
    return (first!.producer ?? this.producer) !== (item.producer ?? this.producer);
  }

  /** The highest `n` such that every one up to it needs no answer any more. */
  get settled(): number {
    for (const { n } of this.items) if (n !== null) return n - 1;
    return this.lastN;
  }
}

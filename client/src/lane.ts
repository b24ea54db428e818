import type { Item } from "./item.ts";

/** One stream's messages of one producer: numbered in order, answered in order (protocol 6). */
export class Lane {
  /** The last `n` that was given. */
  lastN = 0;
  /** Items in order; the sent ones are a prefix. */
  readonly items = new Set<Item>();
  /** Monotonic time before which nothing of this stream is sent again. */
  resumeAt = 0;
  /** Retryable refusals in a row. */
  retries = 0;
  /** A number is being persisted. */
  saving = false;

  /** The highest `n` such that every one up to it needs no answer any more. */
  get settled(): number {
    for (const { n } of this.items) if (n !== null) return n - 1;
    return this.lastN;
  }
}

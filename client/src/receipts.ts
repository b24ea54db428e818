import type { Entry } from "./frames.ts";

/** Bounds what is remembered of a stream whose position doesn't move. */
const MAX_RECEIPTS = 1_000;

/** An acked message whose entry is not where the ack said. */
export interface Lost {
  readonly id: string;
  readonly stream: string;
  readonly seq: number;
}

/**
 * Acks of one stream that the own position has not passed yet (protocol 6.6). A server that lost acknowledged entries
 * (failover, restored backup) shows other entries in their place.
 */
export class Receipts {
  /** The message and the epoch that an ack named with a seq. */
  readonly #kept = new Map<number, { readonly id: string; readonly epoch: string | null }>();

  keep(seq: number, id: string, epoch: string | null): void {
    const kept = this.#kept.set(seq, { id, epoch });
    if (kept.size > MAX_RECEIPTS) kept.delete(kept.keys().next().value!);
  }

  /** The position moves over these entries. @returns the messages that are not among them, and should be */
  passed(stream: string, epoch: string, entries: readonly Entry[]): Lost[] {
    return entries.flatMap(({ seq, key }) => {
      const receipt = this.#kept.get(seq);
      this.#kept.delete(seq);
      return receipt?.epoch === epoch && receipt.id !== key ? [{ id: receipt.id, stream, seq }] : [];
    });
  }

  /** A snapshot leads to `seq`: what lies below can no longer be compared. */
  jumped(seq: number): void {
    for (const at of this.#kept.keys()) if (at <= seq) this.#kept.delete(at);
  }
}

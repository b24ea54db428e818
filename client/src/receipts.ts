import type { Entry } from "./frames.ts";

/** Bounds what is remembered of one stream whose position doesn't move. */
const MAX_A_STREAM = 1_000;

/** An acked message whose entry is not where the ack said. */
export interface Lost {
  readonly id: string;
  readonly stream: string;
  readonly seq: number;
}

/**
 * Acks that the own position has not passed yet (protocol 6.6). A server that lost acknowledged entries
 * (failover, restored backup) shows other entries in their place.
 */
export class Receipts {
  /** Of each stream: the message and the epoch that an ack named with a seq. */
  readonly #streams = new Map<string, Map<number, { readonly id: string; readonly epoch: string | null }>>();

  keep({ id, stream, seq }: Lost, epoch: string | null): void {
    const kept = this.#streams.get(stream) ?? new Map();
    this.#streams.set(stream, kept.set(seq, { id, epoch }));
    if (kept.size > MAX_A_STREAM) kept.delete(kept.keys().next().value!);
  }

  /** The position moves over these entries. @returns the messages that are not among them, and should be */
  passed(stream: string, epoch: string, entries: readonly Entry[]): Lost[] {
    const kept = this.#streams.get(stream);
    return entries.flatMap(({ seq, key }) => {
      const receipt = kept?.get(seq);
      kept?.delete(seq);
      return receipt?.epoch === epoch && receipt.id !== key ? [{ id: receipt.id, stream, seq }] : [];
    });
  }

  /** A snapshot leads to `seq`: what lies below can no longer be compared. */
  jumped(stream: string, seq: number): void {
    const kept = this.#streams.get(stream);
    for (const at of kept?.keys() ?? []) if (at <= seq) kept?.delete(at);
  }

  forget(stream: string): void {
    this.#streams.delete(stream);
  }
}

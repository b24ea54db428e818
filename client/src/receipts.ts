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
  readonly #streams = new Map<string, Map<number, string>>();

  keep({ id, stream, seq }: Lost): void {
    const kept = this.#streams.get(stream) ?? new Map<number, string>();
    this.#streams.set(stream, kept.set(seq, id));
    if (kept.size > MAX_A_STREAM) kept.delete(kept.keys().next().value!);
  }

  /** The position moves over these entries. */
  *passed(stream: string, entries: readonly Entry[]): Generator<Lost> {
    const kept = this.#streams.get(stream);
    if (!kept?.size) return;
    for (const { seq, key } of entries) {
      const id = kept.get(seq);
      if (id !== undefined && id !== key) yield { id, stream, seq };
      kept.delete(seq);
    }
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

/** What `send` resolves with: the message took effect, once. */
export interface Receipt {
  readonly id: string;
  readonly epoch: string | null;
  /** The last entry that the handler published on the message's stream. */
  readonly seq: number | null;
  /** What the handler returned. */
  readonly result: unknown;
  /** An earlier transmission did it. */
  readonly duplicate: boolean;
}

/** The promise of `send`; `id` is the idempotency key, known at once. */
export type Sending = Promise<Receipt> & { readonly id: string };

/** A message without an answer, as the application may see it. */
export interface QueueEntry {
  readonly id: string;
  readonly stream: string;
  readonly payload: unknown;
  /** "sent": the server may have it. Only "queued" ones are ever evicted. */
  readonly state: "queued" | "sent";
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** How often its handler raised. */
  readonly failures: number;
}

/** Where messages survive a reload. The default keeps nothing. */
export interface OutboxStore {
  /**
   * Called when `n` was given, before the first transmission: a message that might have arrived must come back
   * with its number. A promise delays the transmission.
   */
  save(message: QueueEntry & { readonly n: number; readonly producer: string }): void | Promise<void>;
  /** The message is answered, evicted or given up. */
  remove(id: string): void;
}

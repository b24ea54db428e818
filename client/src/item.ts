import type { Clock } from "./clock.ts";

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
  /** It came out of the store, from a page that is gone; nobody here waits for its answer. */
  readonly restored: boolean;
}

/** What a store keeps of a message: plain data, enough to send it from another page. */
export interface StoredMessage {
  readonly id: string;
  readonly stream: string;
  /** The encoded payload: what goes out is this text. */
  readonly text: string;
  /** Of the text in UTF-8. */
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** The outbox that took it. What one outbox took for one stream goes out in that order. */
  readonly origin: string;
  /** Its place there: 1, 2, 3… */
  readonly order: number;
  /** Who numbered it, and how (protocol 6.1); null: it was never sent. */
  readonly producer: string | null;
  readonly n: number | null;
}

/**
 * Where messages survive a reload. The default keeps nothing. `save` and `remove` are enough to keep them; the other
 * methods bring them back. What they throw costs persistence, never a message.
 */
export interface OutboxStore {
  /**
   * Called by `send`, and again when the message was numbered, before its first transmission: a message that might
   * have arrived must come back with its number. A promise delays the transmission.
   */
  save(message: StoredMessage): void | Promise<void>;
  /** The message is answered, evicted, withdrawn or given up. */
  remove(id: string): void;
  /**
   * Takes over what no living page looks after, ordered by origin and order. Called at the start, with every
   * connection, and now and then.
   */
  adopt?(): Promise<readonly StoredMessage[]>;
  /** Whether the message would survive this page. */
  holds?(id: string): boolean;
  /** Whether another page may have taken it over, and sent it, while this one was frozen or cached. */
  exposed?(id: string): boolean;
  /** This page gives up what is left: whoever adopts may have it. */
  release?(): void;
  /** Lets go of everything; `release` included. */
  close?(): void;
  /** Deletes all of the user: the end of a login. Works after `close`, too. */
  wipe?(): Promise<void>;
}

/** What a store knows of the client that opens it. */
export interface StoreClient {
  /** Opaque name of the user, given by the server. */
  readonly key: string | undefined;
  /** The consumer's address: messages for one are nothing to another. */
  readonly url: string;
  readonly clock: Clock;
  /** Tells the application. */
  emit<K extends keyof PersistenceEvents>(event: K, value: PersistenceEvents[K]): void;
  error(error: unknown): void;
}

/** Opens a store for one client; may be called for several. */
export type OpenStore = (client: StoreClient) => OutboxStore;

/** What a client with a store tells. */
export interface PersistenceEvents {
  /** Whether messages survive the page from now on, and why not. */
  persistence: { readonly available: boolean; readonly reason: string };
  /** Messages of pages that are gone wait here now. */
  restored: { readonly count: number };
  /** A restored message will not be sent (too old, too many), or the server refused it. */
  undelivered: { readonly entry: QueueEntry; readonly reason: string };
}

import type { UnknownFrame } from "./frames.ts";
import type { PersistenceEvents, QueueEntry, Sending } from "./item.ts";
import type { Position } from "./position.ts";
import type { Lost } from "./receipts.ts";
import type { Role, TabInfo } from "./sharing.ts";
import type { State, StateChange } from "./state-machine.ts";
import type { CoreSubscribeOptions, SubscribeOptions } from "./stream.ts";
import type { SyncState } from "./sync.ts";

/** What `client.on` of the core can listen for. */
export interface CoreEvents {
  stateChange: StateChange;
  queueChange: { readonly waiting: number };
  /** The outbox holds 80 % of its messages. */
  highWater: { readonly waiting: number };
  evict: { readonly entry: QueueEntry; readonly reason: string };
  /** The server acknowledged a message and lost it afterwards (protocol 6.6). */
  lost: Lost;
  /** Also a Rejected for each ERROR frame. Without a listener errors go to the console. */
  error: unknown;
  /** A server frame of a type that is not the protocol's. */
  message: UnknownFrame;
}

/** What `client.on` can listen for. */
export interface ClientEvents extends CoreEvents, PersistenceEvents {
  syncChange: SyncState;
  change: Snapshot;
  /** The server is there and doesn't speak with us; the likely causes. */
  handshake: { readonly causes: readonly string[] };
}

/** Everything a page shows of a client, immutable: a new object only when something in it changed. */
export interface Snapshot {
  readonly state: State;
  readonly sync: SyncState;
  /** Messages without an answer. */
  readonly waiting: number;
  /** Which attempt of this outage is made or waited for; 0 while connected. */
  readonly attempt: number;
  /** When the next attempt begins (milliseconds since 1970), while waiting for it. */
  readonly retryAt: number | null;
  readonly streams: Readonly<Record<string, { readonly seq: number; readonly kind: SyncState["kind"] }>>;
  readonly clientId: string;
  /** The server's name for this client, once WELCOME came. */
  readonly session: string | null;
  readonly role: Role;
  /** The tabs that share the connection, this one included; empty for a tab that shares nothing. */
  readonly tabs: readonly TabInfo[];
}

/** One subscriber of one stream. */
export interface CoreSubscription {
  readonly stream: string;
  readonly position: Position | null;
  /** Of the last applied entry; 0 for none. */
  readonly seq: number;
  /** Nothing newer was known to the server when its last answer came, and the connection stands. */
  readonly live: boolean;
  close(): void;
}

/** One subscriber of one stream. */
export interface Subscription extends CoreSubscription {
  readonly sync: SyncState;
}

/** A connection to one consumer, with its streams and its outbox. Made by the core's `connect`. */
export interface CoreClient {
  readonly clientId: string;
  readonly url: string;
  readonly state: State;
  /** Messages without an answer. */
  readonly waiting: number;
  /** The messages without an answer, oldest first. The same array until it changes. */
  readonly queue: readonly QueueEntry[];
  /** Aborted when the client closes. */
  readonly signal: AbortSignal;

  /** Listens until the returned function is called, `signal` aborts, or the client is closed. */
  on<K extends keyof CoreEvents>(
    event: K,
    handler: (value: CoreEvents[K]) => void,
    options?: { signal?: AbortSignal | undefined },
  ): () => void;

  /**
   * Follows a stream: a snapshot first, then every entry in order. Several subscribers of a stream share
   * one subscription at the server; when one joins, all get a snapshot.
   *
   * @throws PayloadError for a bad stream name or too many streams, ClosedError after `close`
   */
  subscribe(name: string, options?: CoreSubscribeOptions): CoreSubscription;

  /**
   * Sends a message; it is queued while there is no connection and sent again until its fate is known.
   * Aborting `signal` withdraws a message that was not sent yet.
   *
   * @returns a promise of the server's acknowledgement, with the message's `id`. It rejects with PayloadError,
   *   QueueOverflowError, Rejected, ClosedError (never sent) or OutcomeUnknown (sent, no answer).
   */
  send(stream: string, payload: unknown, options?: { signal?: AbortSignal | undefined }): Sending;

  /** Resolves when every message is answered; rejects with ClosedError when some were dropped. */
  drained(): Promise<void>;

  /** The user asks again: from FAILED, or instead of waiting for the next attempt. */
  retry(): void;

  /** Ends the client for good. Unsent messages reject with ClosedError, sent ones with OutcomeUnknown. */
  close(code?: number, reason?: string): void;
}

/** A connection to one consumer, shared by the tabs of this browser. Made by `connect`. */
export interface Client extends CoreClient {
  /** How fresh the subscribed streams are, as one. The same object until it changes. */
  readonly sync: SyncState;
  /** The same object until something in it changes: made for `useSyncExternalStore`. */
  readonly snapshot: Snapshot;
  /** What this tab is to the connection of this browser. */
  readonly role: Role;

  on<K extends keyof ClientEvents>(
    event: K,
    handler: (value: ClientEvents[K]) => void,
    options?: { signal?: AbortSignal | undefined },
  ): () => void;

  subscribe(name: string, options?: SubscribeOptions): Subscription;

  /** A leader gives the connection to another tab, if there is one. Nothing is lost. */
  resign(): void;

  /**
   * The user leaves: closes this client and those of the other tabs that share the connection, and deletes what was
   * persisted for them.
   */
  logout(): void;
}

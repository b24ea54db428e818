import { backoffCeiling } from "./backoff.ts";
import { systemClock } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Emitter, type Off } from "./emitter.ts";
import { ClosedError } from "./errors.ts";
import { isKnown, SUBPROTOCOL, type ServerFrame, type UnknownFrame, type Welcome } from "./frames.ts";
import { LamportClock } from "./lamport.ts";
import { browserSources, watchNetwork } from "./network.ts";
import type { Options } from "./options.ts";
import type { QueueEntry, Sending } from "./item.ts";
import { Outbox } from "./outbox.ts";
import type { Position } from "./position.ts";
import { secureRandom, uuid4 } from "./random.ts";
import { Receipts, type Lost } from "./receipts.ts";
import { noRecorder, safeRecorder } from "./recorder.ts";
import type { State, StateChange } from "./state-machine.ts";
import type { SubscribeOptions } from "./stream.ts";
import { Streams } from "./streams.ts";
import type { SyncState } from "./sync.ts";
import { resolveUrl, socketTransport, type SocketConstructor } from "./transport.ts";
import { View, type Snapshot } from "./view.ts";

export interface ClientEvents {
  stateChange: StateChange;
  syncChange: SyncState;
  queueChange: { readonly waiting: number };
  /** The outbox holds 80 % of its messages. */
  highWater: { readonly waiting: number };
  evict: { readonly entry: QueueEntry; readonly reason: string };
  /** The server acknowledged a message and lost it afterwards (protocol 6.6). */
  lost: Lost;
  /** Also a Rejected for each ERROR frame. Without a listener errors go to the console. */
  error: unknown;
  /** The server is there and doesn't speak with us; the likely causes. */
  handshake: { readonly causes: readonly string[] };
  /** A server frame of a type that is not the protocol's. */
  message: UnknownFrame;
  change: Snapshot;
}

/** One subscriber of one stream. */
export interface Subscription {
  readonly stream: string;
  readonly position: Position | null;
  /** Of the last applied entry; 0 for none. */
  readonly seq: number;
  readonly sync: SyncState;
  close(): void;
}

/** A connection to one consumer, with its streams and its outbox. Made by `connect`. */
export class Client {
  readonly clientId: string;
  readonly url: string;
  readonly #emitter: Emitter<ClientEvents>;
  readonly #connection: Connection;
  readonly #streams: Streams;
  readonly #outbox: Outbox;
  readonly #lamport = new LamportClock();
  readonly #receipts = new Receipts();
  readonly #view: View;
  /** Aborted by `close`: whatever listens for the client's life ends with it. */
  readonly #life = new AbortController();
  /** Take subscriptions off signals that outlive the client. */
  readonly #detachers = new Set<() => void>();
  readonly #traceparent: Options["traceparent"];
  #session: string | null = null;
  #identity: string | undefined;

  /** @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds */
  constructor(url: string | URL, options: Options = {}) {
    const { baseMs = 500, maxMs = 20_000, connectTimeoutMs = 8_000, stableMs = 5_000, signal } = options;
    const { maxAttempts = Infinity, maxQueue = 1_000, maxQueueBytes = 8 * 2 ** 20, networkAware = true } = options;
    const clock = options.clock ?? systemClock;
    const random = options.random ?? secureRandom;
    const recorder = options.recorder ? safeRecorder(options.recorder) : noRecorder;
    const lamport = this.#lamport;
    backoffCeiling(0, baseMs, maxMs);
    this.url = resolveUrl(url);
    this.clientId = options.clientId ?? uuid4();
    this.#traceparent = options.traceparent;
    this.#emitter = new Emitter((error) => (globalThis.reportError ?? console.error)(error));
    const error = (cause: unknown) => this.#error(cause);
    const changed = () => this.#view.touch();

    this.#streams = new Streams(
      { clock, random, recorder, lamport, baseMs, maxMs },
      {
        send: (frame) => this.#connection.send(JSON.stringify(frame)),
        error,
        changed,
        entries: (stream, entries) => {
          for (const lost of this.#receipts.passed(stream, entries)) {
            recorder.count("reconnect_messages_lost_total");
            this.#emitter.emit("lost", lost);
          }
        },
        jumped: (stream, seq) => this.#receipts.jumped(stream, seq),
        gone: (stream) => this.#receipts.forget(stream),
      },
    );
    this.#outbox = new Outbox(
      { clock, random, recorder, lamport, maxQueue, maxQueueBytes, store: options.store },
      {
        transmit: (text) => this.#connection.send(text),
        waitFor: (stream) => this.#streams.waitFor(stream),
        error,
        queueChange: (waiting) => {
          this.#emitter.emit("queueChange", { waiting });
          this.#view.touch();
        },
        evict: (entry, reason) => this.#emitter.emit("evict", { entry, reason }),
        highWater: (waiting) => this.#emitter.emit("highWater", { waiting }),
        acked: (stream, { id, seq }) => {
          const tracked = this.#streams.get(stream);
          if (tracked && typeof seq === "number" && seq > tracked.seq) this.#receipts.keep({ id, stream, seq });
        },
      },
    );
    const Socket = options.WebSocket ?? (globalThis.WebSocket as SocketConstructor | undefined);
    const open = options.transport ?? (Socket && socketTransport(this.url, Socket));
    if (!open) throw new TypeError("there is no WebSocket here: give one in the options");
    this.#connection = new Connection(
      { baseMs, maxMs, connectTimeoutMs, stableMs, maxAttempts, open, clock, random, recorder },
      {
        hello: (attempt) => this.#hello(attempt),
        welcome: (frame) => this.#welcome(frame),
        frame: (frame, size) => this.#frame(frame, size),
        down: () => {
          this.#streams.down();
          this.#outbox.down();
        },
        forget: () => this.#streams.forget(),
        stateChange: (change) => {
          if (change.to === "FAILED") this.#outbox.abandon(`the connection failed: ${change.reason}`);
          this.#emitter.emit("stateChange", change);
          this.#view.touch();
        },
        handshake: (causes) => this.#emitter.emit("handshake", { causes }),
        error,
        progress: changed,
      },
    );
    this.#view = new View(
      this.#connection,
      this.#streams,
      this.#outbox,
      () => ({ clientId: this.clientId, session: this.#session }),
      {
        syncChange: (sync) => this.#emitter.emit("syncChange", sync),
        change: (snapshot) => this.#emitter.emit("change", snapshot),
        error,
      },
    );
    if (networkAware) {
      watchNetwork(networkAware === true ? browserSources() : networkAware, clock, this.#life.signal, {
        wake: (cause) => this.#connection.wake(cause, () => this.#streams.probe()),
        suspend: (cause) => this.#connection.suspend(cause),
      });
    }
    signal?.addEventListener("abort", () => this.close(1000, "aborted"), { signal: this.#life.signal });
    if (signal?.aborted) this.close(1000, "aborted");
    else this.#connection.start();
  }

  get state(): State {
    return this.#connection.state;
  }

  /** How fresh the subscribed streams are, as one. The same object until it changes. */
  get sync(): SyncState {
    return this.#view.sync;
  }

  /** The same object until something in it changes: made for `useSyncExternalStore`. */
  get snapshot(): Snapshot {
    return this.#view.snapshot;
  }

  /** Messages without an answer. */
  get waiting(): number {
    return this.#outbox.waiting;
  }

  /** The messages without an answer, oldest first. The same array until it changes. */
  get queue(): readonly QueueEntry[] {
    return this.#outbox.queue;
  }

  /** Listens until the returned function is called, `signal` aborts, or the client is closed. */
  on<K extends keyof ClientEvents>(
    event: K,
    handler: (value: ClientEvents[K]) => void,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Off {
    return this.#emitter.on(event, handler, signal);
  }

  /**
   * Follows a stream: a snapshot first, then every entry in order. Several subscribers of a stream share
   * one subscription at the server; when one joins, all get a snapshot.
   *
   * @throws PayloadError for a bad stream name or too many streams, ClosedError after `close`
   */
  subscribe(name: string, options: SubscribeOptions = {}): Subscription {
    if (this.#life.signal.aborted) throw new ClosedError("the client is closed");
    const streams = this.#streams;
    const { stream, subscriber } = streams.add(name, options);
    const { signal } = options;
    const view = this.#view;
    const detach = () => {
      signal?.removeEventListener("abort", close);
      this.#detachers.delete(detach);
    };
    const close = () => {
      detach();
      streams.remove(stream, subscriber);
    };
    if (signal?.aborted) close();
    else if (signal) {
      signal.addEventListener("abort", close);
      this.#detachers.add(detach);
    }
    return {
      stream: name,
      get position() {
        return stream.cursor.position;
      },
      get seq() {
        return stream.seq;
      },
      get sync() {
        return view.syncOf(stream);
      },
      close,
    };
  }

  /**
   * Sends a message; it is queued while there is no connection and sent again until its fate is known.
   *
   * @param signal aborting withdraws a message that was not sent yet
   * @returns a promise of the server's acknowledgement, with the message's `id`. It rejects with PayloadError,
   *   QueueOverflowError, Rejected, ClosedError (never sent) or OutcomeUnknown (sent, no answer).
   */
  send(stream: string, payload: unknown, { signal }: { signal?: AbortSignal | undefined } = {}): Sending {
    const refusal = this.#life.signal.aborted
      ? new ClosedError("the client is closed")
      : this.state === "FAILED"
        ? new ClosedError("the connection failed; retry() first")
        : undefined;
    return this.#outbox.send(stream, payload, signal, refusal);
  }

  /** Resolves when every message is answered; rejects with ClosedError when some were dropped. */
  drained(): Promise<void> {
    return this.#outbox.drained();
  }

  /** The user asks again: from FAILED, or instead of waiting for the next attempt. */
  retry(): void {
    this.#connection.retry();
  }

  /** Ends the client for good. Unsent messages reject with ClosedError, sent ones with OutcomeUnknown. */
  close(code = 1000, reason = ""): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#connection.close(code, reason);
    this.#outbox.abandon("the client was closed");
    this.#view.refresh();
    this.#emitter.clear();
    for (const detach of [...this.#detachers]) detach();
  }

  /** Aborted when the client closes. */
  get signal(): AbortSignal {
    return this.#life.signal;
  }

  // -- frames ------------------------------------------------------------------------------------

  #hello(attempt: number): string {
    let traceparent: string | undefined;
    try {
      traceparent = this.#traceparent?.();
    } catch (error) {
      this.#error(error);
    }
    return JSON.stringify({
      type: "HELLO",
      protocol: SUBPROTOCOL,
      client_id: this.clientId,
      term: 0,
      attempt,
      clock: this.#lamport.time,
      streams: this.#streams.claims(),
      identity: this.#identity,
      traceparent,
    });
  }

  #welcome(frame: Welcome): void {
    this.#session = frame.session;
    this.#identity = frame.identity ?? this.#identity;
    this.#lamport.observe(frame.clock);
    this.#streams.welcome(frame);
    this.#outbox.open(frame.limits);
  }

  #frame(frame: ServerFrame | UnknownFrame, size: number): void {
    if (!isKnown(frame)) this.#emitter.emit("message", frame);
    else if (frame.type === "ACK") this.#outbox.ack(frame);
    else if (frame.type === "REJECT") this.#outbox.reject(frame);
    else if (this.#streams.receive(frame, size) && this.#outbox.waiting) this.#outbox.pump();
  }

  #error(error: unknown): void {
    if (!this.#emitter.emit("error", error)) console.error(error);
  }
}

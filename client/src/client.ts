import { createApplying } from "./applying.ts";
import { backoffCeiling } from "./backoff.ts";
import { systemClock } from "./clock.ts";
import { createConnection } from "./connection.ts";
import { createEmitter } from "./emitter.ts";
import { ClosedError } from "./errors.ts";
import { isKnown, limitsOf, SUBPROTOCOL } from "./frames.ts";
import type { Inner, InnerEvents } from "./inner.ts";
import type { StoreClient } from "./item.ts";
import type { Keeper } from "./keeper.ts";
import { LamportClock } from "./lamport.ts";
import type { Connection } from "./link.ts";
import { watchNetwork } from "./network.ts";
import type { CoreOptions } from "./options.ts";
import { createOutbox } from "./outbox.ts";
import type { PayloadCheck } from "./payload.ts";
import type { CoreClient, CoreSubscription } from "./public.ts";
import { secureRandom, uuid4 } from "./random.ts";
import { createRoster, type Roster } from "./roster.ts";
import type { Settings } from "./settings.ts";
import type { TabsHost, TabsLink } from "./sharing.ts";
import { onAbort } from "./signals.ts";
import { resolveUrl, socketTransport, type SocketConstructor } from "./transport.ts";

/** What a client shows of itself to what shares its connection. */
export interface Link extends Pick<TabsHost, "url" | "key" | "clientId" | "settings" | "signal" | "open"> {
  readonly roster: Roster;
  /** There from the first attempt on. */
  connection(): Connection;
}

/** What a bundle adds to the client. */
export interface Additions {
  /** Where this tab's connection comes from. Its own socket, unless given. */
  share?: ((link: Link) => TabsLink) | undefined;
  /** Where its messages survive the page. Nowhere, unless given. */
  keep?: ((client: StoreClient) => Keeper) | undefined;
  /** What a payload is asked before it is queued. */
  checking?: (() => PayloadCheck) | undefined;
  /** More for HELLO to say. */
  greeting?: (() => object) | undefined;
  /** Called when the client is made, before its first attempt. */
  prepare?: ((inner: Inner) => void) | undefined;
}

/** @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds */
export function createClient(
  address: string | URL,
  options: CoreOptions = {},
  { share, keep, checking, greeting, prepare }: Additions = {},
): CoreClient {
  const {
    clientId = uuid4(),
    key,
    baseMs = 500,
    maxMs = 20_000,
    connectTimeoutMs = 8_000,
    stableMs = 5_000,
    maxAttempts = Infinity,
    maxQueue = 1_000,
    maxQueueBytes = 8 * 2 ** 20,
    clock = systemClock,
    random = secureRandom,
    networkAware = true,
    WebSocket = globalThis.WebSocket as SocketConstructor | undefined,
  } = options;
  const url = resolveUrl(address);
  const open = options.transport ?? (WebSocket && socketTransport(url, WebSocket));
  if (!open) throw new TypeError("no WebSocket here: give one in the options");
  backoffCeiling(0, baseMs, maxMs);

  const { on, emit, clear } = createEmitter<InnerEvents>((cause) => (globalThis.reportError ?? console.error)(cause));
  /** Aborted by `close`: whatever listens for the client's life ends with it. */
  const life = new AbortController();
  const { signal } = life;
  const lamport = new LamportClock();
  let identity: string | undefined;

  const error = (cause: unknown) => {
    if (!emit("error", cause)) console.error(cause);
  };
  const changed = () => void emit("touch", undefined);
  const keeper = keep?.({ key, url, clock, emit, error });
  const chosen = { baseMs, maxMs, connectTimeoutMs, stableMs, maxAttempts, maxQueue, maxQueueBytes, clock, random };
  const settings: Settings = { ...chosen, clientId, keeper, checking, lamport, emit, error, changed };

  // -- the parts ---------------------------------------------------------------------------------

  const roster = createRoster(settings, (frame) => connection.send(JSON.stringify(frame)));
  const outbox = createOutbox(settings, {
    transmit(text) {
      const taken = connection.send(text);
      connection.expectAnswer();
      return taken;
    },
    waitFor: roster.waitFor,
    acked(stream, { id, epoch, seq }) {
      const tracked = roster.streams.get(stream);
      if (tracked && seq !== null && seq > tracked.seq) tracked.receipts.keep(seq, id, epoch);
    },
  });
  const takers = {
    ...createApplying(settings, roster),
    ACK: outbox.ack,
    REJECT: outbox.reject,
  } as Record<string, (frame: unknown, size: number) => void>;

  const connection = createConnection(settings, share?.({ url, key, clientId, settings, signal, open, roster, connection: () => connection }).open ?? open, {
    hello(attempt) {
      return JSON.stringify({
        type: "HELLO",
        protocol: SUBPROTOCOL,
        client_id: clientId,
        term: 0,
        attempt,
        key,
        clock: lamport.time,
        streams: roster.claims(),
        identity,
        ...greeting?.(),
      });
    },
    welcome(frame) {
      identity = frame.identity ?? identity;
      lamport.observe(frame.clock);
      const limits = limitsOf(frame.limits);
      roster.welcome(frame, limits);
      outbox.open(limits);
    },
    frame(frame, size) {
      if (!isKnown(frame)) return void emit("message", frame);
      takers[frame.type]!(frame, size);
      outbox.pump();
      changed();
    },
    down() {
      roster.silent(connection.heardAt);
      roster.down();
      outbox.down();
    },
    overdue() {
      if (connection.overdue) roster.silent(connection.heardAt);
      changed();
    },
    forget: roster.forget,
    stateChange(change) {
      if (change.to === "FAILED") outbox.abandon(`the connection failed: ${change.reason}`);
      emit("stateChange", change);
      changed();
    },
    unansweredSince: outbox.unansweredSince,
    probe: roster.probe,
  });

  // -- the facade --------------------------------------------------------------------------------

  function close(code = 1000, reason = ""): void {
    if (signal.aborted) return;
    life.abort();
    connection.close(code, reason);
    outbox.abandon("the client was closed", true);
    emit("closed", undefined);
    clear();
  }

  const client: CoreClient = {
    clientId,
    url,
    signal,
    close,
    drained: outbox.drained,
    retry: connection.retry,

    get state() {
      return connection.state;
    },
    get waiting() {
      return outbox.waiting;
    },
    get queue() {
      return outbox.queue;
    },

    on: (event, handler, { signal: until } = {}) => on(event, handler, until),

    subscribe(name, subscribing = {}) {
      if (signal.aborted) throw new ClosedError("the client is closed");
      const { stream, subscriber } = roster.add(name, subscribing);
      const end = () => {
        detach();
        stay();
        roster.remove(stream, subscriber);
      };
      const detach = onAbort(subscribing.signal, end);
      // A signal that outlives the client shall not hold it.
      const stay = onAbort(signal, detach);
      if (subscribing.signal?.aborted) end();
      const subscription: CoreSubscription = {
        stream: name,
        get position() {
          return stream.cursor.position;
        },
        get seq() {
          return stream.seq;
        },
        get live() {
          return stream.live;
        },
        close: end,
      };
      emit("subscribed", { subscription, stream });
      return subscription;
    },

    send(stream, payload, { signal: until } = {}) {
      const over = signal.aborted ? "the client is closed" : connection.state === "FAILED" ? "failed; retry() first" : "";
      return outbox.send(stream, payload, until, over ? new ClosedError(over) : undefined);
    },
  };
  prepare?.({ settings, client, connection, roster, outbox, signal, on });
  options.signal?.addEventListener("abort", () => close(1000, "aborted"), { signal });
  if (options.signal?.aborted) close(1000, "aborted");
  else {
    if (networkAware) watchNetwork(networkAware, signal, connection.wake);
    connection.start();
  }
  return client;
}

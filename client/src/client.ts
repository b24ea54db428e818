import { createApplying } from "./applying.ts";
import { backoffCeiling } from "./backoff.ts";
import { systemClock } from "./clock.ts";
import { createConnection } from "./connection.ts";
import { createEmitter } from "./emitter.ts";
import { ClosedError } from "./errors.ts";
import { isKnown, limitsOf, SUBPROTOCOL } from "./frames.ts";
import type { StoreClient } from "./item.ts";
import type { Keeper } from "./keeper.ts";
import { LamportClock } from "./lamport.ts";
import type { Connection } from "./link.ts";
import { browserSources, watchNetwork } from "./network.ts";
import type { Options } from "./options.ts";
import { createOutbox } from "./outbox.ts";
import type { Client, ClientEvents } from "./public.ts";
import { secureRandom, uuid4 } from "./random.ts";
import { environment, safeRecorder, type Report } from "./recorder.ts";
import { createRoster, type Roster } from "./roster.ts";
import type { Settings } from "./settings.ts";
import { alone, type TabsHost, type TabsLink } from "./sharing.ts";
import { onAbort } from "./signals.ts";
import { resolveUrl, socketTransport, type SocketConstructor } from "./transport.ts";
import { createView } from "./view.ts";

const DEFAULTS = {
  baseMs: 500,
  maxMs: 20_000,
  connectTimeoutMs: 8_000,
  stableMs: 5_000,
  maxAttempts: Infinity,
  maxQueue: 1_000,
  maxQueueBytes: 8 * 2 ** 20,
  clock: systemClock,
  random: secureRandom,
  networkAware: true,
};

/** What a client shows of itself to what shares its connection. */
export interface Link extends Pick<TabsHost, "url" | "key" | "clientId" | "settings" | "signal" | "open" | "logout"> {
  readonly roster: Roster;
  /** There from the first attempt on. */
  connection(): Connection;
}

/** What a bundle adds to the client. */
export interface Additions {
  /** Where this tab's connection comes from. Its own socket, unless given. */
  share?: ((link: Link) => TabsLink) | false | undefined;
  /** Where its messages survive the page. Nowhere, unless given. */
  keep?: ((client: StoreClient) => Keeper) | undefined;
}

/** @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds */
export function createClient(address: string | URL, options: Options = {}, { share, keep }: Additions = {}): Client {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
  const { networkAware, clientId = uuid4(), WebSocket = globalThis.WebSocket as SocketConstructor | undefined, ...chosen } = {
    ...DEFAULTS,
    ...given,
  } as typeof DEFAULTS & Options;
  const url = resolveUrl(address);
  const open = options.transport ?? (WebSocket && socketTransport(url, WebSocket));
  if (!open) throw new TypeError("no WebSocket here: give one in the options");
  backoffCeiling(0, chosen.baseMs, chosen.maxMs);

  const { on, emit, clear } = createEmitter<ClientEvents>((cause) => (globalThis.reportError ?? console.error)(cause));
  /** Aborted by `close`: whatever listens for the client's life ends with it. */
  const life = new AbortController();
  const { signal } = life;
  const lamport = new LamportClock();
  let identity: string | undefined;

  const error = (cause: unknown) => {
    if (!emit("error", cause)) console.error(cause);
  };
  const recorder = safeRecorder(options.recorder);
  const changed = () => view.touch();
  const { key } = options;
  const keeper = keep?.({ key, url, clock: chosen.clock, emit, error });
  const settings: Settings = { ...chosen, keeper, clientId, lamport, recorder, emit, error, changed };

  // -- the parts ---------------------------------------------------------------------------------

  const roster = createRoster(settings, (frame) => connection.send(JSON.stringify(frame)));
  const link = share
    ? share({ url, key, clientId, settings, signal, open, logout, roster, connection: () => connection })
    : alone({ open, clientId });
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

  const connection = createConnection(settings, link.open, {
    hello(attempt) {
      let traceparent: string | undefined;
      try {
        traceparent = options.traceparent?.();
      } catch (cause) {
        error(cause);
      }
      return JSON.stringify({
        type: "HELLO",
        protocol: SUBPROTOCOL,
        client_id: link.clientId,
        term: link.term,
        attempt,
        key,
        clock: lamport.time,
        streams: roster.claims(),
        identity,
        traceparent,
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
      const failed = change.to === "FAILED";
      if (failed) outbox.abandon(`the connection failed: ${change.reason}`);
      if (failed || change.from === "FAILED") link.failed(failed);
      emit("stateChange", change);
      changed();
    },
    unansweredSince: outbox.unansweredSince,
    probe: roster.probe,
  });
  const view = createView(settings, connection, link, roster, outbox);

  // -- the facade --------------------------------------------------------------------------------

  function close(code = 1000, reason = ""): void {
    if (signal.aborted) return;
    life.abort();
    connection.close(code, reason);
    outbox.abandon("the client was closed", true);
    view.refresh();
    clear();
  }

  function logout(): void {
    close(1000, "logout");
    keeper?.wipe().catch(error);
  }

  if (networkAware) {
    watchNetwork(networkAware === true ? browserSources() : networkAware, settings.clock, signal, connection);
  }
  options.signal?.addEventListener("abort", () => close(1000, "aborted"), { signal });
  if (options.signal?.aborted) close(1000, "aborted");
  else connection.start();

  const client: Client = {
    clientId,
    url,
    signal,
    close,
    drained: outbox.drained,
    retry: connection.retry,
    resign: link.resign,
    logout() {
      link.logout();
      logout();
    },

    get state() {
      return connection.state;
    },
    get sync() {
      return view.sync();
    },
    get snapshot() {
      return view.snapshot();
    },
    get role() {
      return link.role;
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
        close: end,
      };
    },

    send(stream, payload, { signal: until } = {}) {
      const over = signal.aborted ? "the client is closed" : connection.state === "FAILED" ? "failed; retry() first" : "";
      return outbox.send(stream, payload, until, over ? new ClosedError(over) : undefined);
    },
  };
  try {
    const report: Report = (metrics) =>
      connection.send(JSON.stringify({ type: "TELEMETRY", environment: environment(), metrics }));
    options.recorder?.attach?.(report);
    options.recorder?.follow?.(client);
  } catch (cause) {
    error(cause);
  }
  return client;
}

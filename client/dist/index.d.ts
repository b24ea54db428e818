/* reconnect_channels, BSD-3-Clause */
/** All that is public in the core. One object for a page, however many copies of this file it loads. */
declare const coreApi: {
    /**
     * Connects to a consumer and keeps connected.
     *
     * @param url absolute, or relative to the page ("/ws/board/1/")
     * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
     */
    connect: (url: string | URL, options?: CoreOptions) => CoreClient;
    StateTransitionError: typeof StateTransitionError;
    QueueOverflowError: typeof QueueOverflowError;
    OutcomeUnknown: typeof OutcomeUnknown;
    Rejected: typeof Rejected;
    ClosedError: typeof ClosedError;
    PayloadError: typeof PayloadError;
    FrameError: typeof FrameError;
};

type CoreApi = typeof coreApi;

/** Options of `telemetryRecorder`. */
interface TelemetryOptions {
    readonly clock?: Clock | undefined;
    /** Between two reports at least, in milliseconds: 11 000. A server ignores what comes within 10 s of the last. */
    readonly everyMs?: number | undefined;
}

/**
 * Sends what a client records to the server, for its own metrics: without labels, as what was added since the last
 * report. A report that the link didn't take merges into the next. One recorder serves one client.
 *
 * - a counter: its increase
 * - a histogram: `<name>` the largest value, `<name>_count` and `<name>_sum`; of attempts and outages only those that
 *   ended well, the others are counted in `reconnect_attempts_failed_total` and `reconnect_outages_failed_total`, and
 *   such attempts timed as `reconnect_failed_attempt_duration_seconds`
 * - a gauge: its value
 * - transitions of the connection's state: the latest 32, one by one
 */
declare function telemetryRecorder(options?: TelemetryOptions): Required<Recorder>;

/** What tabs of one name say to each other: in order, to all others, kept for nobody. */
interface Pipe {
    post(data: unknown): void;
    close(): void;
}

/** All of the browser that tab sharing touches; tests bring their own. */
interface TabsEnvironment {
    /** `navigator.locks`; missing on plain-http origins: then every tab is on its own. */
    readonly locks: Pick<LockManager, "request" | "query"> | undefined;
    /** @returns undefined where tabs can't talk to each other */
    openPipe(name: string, received: (data: unknown) => void): Pipe | undefined;
    /** `localStorage`; every access may throw. */
    readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
    readonly clock: Clock;
    readonly random: Random;
    readonly window: EventTarget | undefined;
    readonly document: (EventTarget & {
        readonly visibilityState?: string;
    }) | undefined;
    fetch(url: string, init?: {
        signal?: AbortSignal;
    }): Promise<{
        readonly ok: boolean;
        readonly status: number;
        json(): Promise<unknown>;
    }>;
}

interface TabsOptions {
    /** Instead of the client's `key`. */
    readonly key?: string | undefined;
    /** Where deltas are served over HTTP, with STREAM in the place of a stream's name ("/reconnect/streams/STREAM/delta"). */
    readonly deltaUrl?: string | undefined;
    /** With every tab hidden for so long, the connection rests until one is looked at, in milliseconds: never. */
    readonly hiddenDisconnectMs?: number | undefined;
    readonly environment?: TabsEnvironment | undefined;
}

/**
 * Lets the tabs of one browser, URL and identity share one connection (design 11.4).
 *
 * Without an identity key, Web Locks (plain-http origins) or a way for tabs to talk, each tab has a socket of its own.
 */
declare function shareTabs(options?: TabsOptions): Tabs;

/** What of BroadcastChannel is used. */
type Channel = Pick<BroadcastChannel, "postMessage" | "close" | "onmessage">;

/** All of the browser that persistence touches; tests bring their own. */
interface PersistenceEnvironment {
    /** `indexedDB`; where a site may not store anything, it is missing, or throws. */
    readonly indexedDB: () => IDBFactory | undefined;
    /** `localStorage`; where a site may not store anything, it is missing, or throws. */
    readonly localStorage: () => Storage | undefined;
    /** `navigator.locks`; missing on plain-http origins. */
    readonly locks: Pick<LockManager, "request" | "query"> | undefined;
    /** @returns undefined where tabs can't talk to each other */
    openChannel(name: string): Channel | undefined;
    readonly clock: Clock;
    readonly window: EventTarget | undefined;
    readonly document: EventTarget | undefined;
}

/** Options of `persistOutbox`; every one may be left out. */
interface PersistOptions {
    /**
     * Messages that are older when they are found are not sent any more, in milliseconds: 23 h. Stay below the server's
     * DEDUP_SECONDS (24 h): so long it knows which messages it has done.
     */
    readonly maxAgeMs?: number | undefined;
    /** How many messages a page takes over from pages that are gone: 1000. */
    readonly maxCount?: number | undefined;
    /** Their encoded payloads together, in bytes: 8 MiB. */
    readonly maxBytes?: number | undefined;
    /** Instead of the browser's own: tests. */
    readonly environment?: PersistenceEnvironment | undefined;
}

/**
 * Keeps messages in IndexedDB until they are answered: a reload, a crash or a closed tab loses nothing that `send`
 * accepted. Give it to `connect` as `store`.
 *
 * It stores under the identity key (`key` of `connect`): without one messages stay in memory. So they do where the
 * browser can't store them; the event `persistence` says so, once.
 *
 * @throws RangeError for caps that are not positive numbers
 */
declare function persistOutbox({ environment, ...options }?: PersistOptions): OpenStore;

/** Deletes all persisted messages of a user, of every tab and consumer: for pages that log out without a client. */
declare function wipeOutbox(key: string, environment?: PersistenceEnvironment): Promise<void>;

/**
 * The positions that `{% reconnect_positions %}` wrote: where the state stands that the page came with. For `subscribe`'s
 * `position`, so that nothing is missed between rendering and connecting, and nothing is fetched twice.
 */
declare function pagePositions(page?: Document | undefined): Readonly<Record<string, WirePosition>>;

/** Labels of a measurement: enums only, never a user, session or stream name (design 12). */
type Labels = Readonly<Record<string, string | number>>;

/** Where measurements go. Adapters (OpenTelemetry, RUM, TELEMETRY frames) implement it. */
interface Recorder {
    /** Adds to a counter. */
    count(name: string, value?: number, labels?: Labels): void;
    /** Records one value of a histogram. */
    observe(name: string, value: number, labels?: Labels): void;
    /** Sets a gauge. */
    gauge(name: string, value: number, labels?: Labels): void;
    /**
     * Called once by `connect`.
     *
     * @param report sends one TELEMETRY frame; @returns whether the link took it
     */
    attach?(report: Report): void;
    /** Measures what only the client's events tell, until it closes. Following a client again does nothing. */
    follow?(client: Client): void;
}

/** A transition of the connection's state: how many milliseconds ago, from and to. */
type Transition = readonly [age: number, from: string, to: string];

/** Sends measurements to the server. @returns whether the link took them */
type Report = (metrics: Readonly<Record<string, number>>, transitions?: readonly Transition[]) => boolean;

/** One recorder out of several. One that throws takes nothing from the others. */
declare function recorders(...list: readonly Recorder[]): Required<Recorder>;

/** Options of the core's `connect`; every one may be left out. */
interface CoreOptions {
    /**
     * Names this client to the server over all its reconnects; at most 200 characters. A new UUID unless given.
     * Use one value once: the server compares its attempt numbers, which begin at 1 in every new client.
     */
    readonly clientId?: string | undefined;
    /** The backoff's base in milliseconds: 500. */
    readonly baseMs?: number | undefined;
    /** The backoff's cap in milliseconds: 20 000. */
    readonly maxMs?: number | undefined;
    /** For socket and WELCOME together, in milliseconds: 8000. */
    readonly connectTimeoutMs?: number | undefined;
    /** A connection that holds so long resets the backoff, in milliseconds: 5000. */
    readonly stableMs?: number | undefined;
    /** Failed attempts in a row before FAILED: without end. */
    readonly maxAttempts?: number | undefined;
    /** Messages without an answer: 1000. */
    readonly maxQueue?: number | undefined;
    /** Their encoded payloads together, in bytes: 8 MiB. */
    readonly maxQueueBytes?: number | undefined;
    /** Aborting closes the client. */
    readonly signal?: AbortSignal | undefined;
    /** Instead of the global WebSocket: tests, network labs, Node. */
    readonly WebSocket?: SocketConstructor | undefined;
    /** Instead of a WebSocket: another tab that owns one. */
    readonly transport?: OpenTransport | undefined;
    /**
     * The opaque identity key that the server issued (`data-key` of `{% reconnect_client %}`'s script): a server refuses
     * a socket of anybody else, and tabs share and messages persist under it alone.
     */
    readonly key?: string | undefined;
    readonly clock?: Clock | undefined;
    readonly random?: Random | undefined;
    /** React to `online` and to getting visible; the whole client to page life and the like, too: true. Sources may be given instead. */
    readonly networkAware?: boolean | NetworkSources | undefined;
}

/** Options of `connect`; every one may be left out. */
interface Options extends CoreOptions {
    /** Where unanswered messages survive a reload: `persistOutbox()`. */
    readonly store?: OutboxStore | OpenStore | undefined;
    /** How this client shares one connection with the other tabs: `shareTabs()`. */
    readonly tabs?: Tabs | false | undefined;
    /** Where measurements go. */
    readonly recorder?: Recorder | undefined;
    /** The W3C trace context to send in HELLO. */
    readonly traceparent?: (() => string | undefined) | undefined;
}

/**
 * The wait in milliseconds before the next attempt: random between 0 and
 * `min(baseMs · 2^clamp(attempt, 0, 10), maxMs)` (protocol 7). The jitter goes downward: jitter that is
 * added and then capped would vanish exactly in the long outages that need it.
 *
 * @param attempt failures so far: 0, 1, 2…
 * @param random for tests; cryptographic unless given
 * @throws RangeError for bounds that are not positive finite numbers, and for an attempt that is NaN.
 */
declare function calculateBackoff(attempt: number, baseMs: number, maxMs: number, random?: Random): number;

/** How fresh what a page shows is (design 11.8). `waiting` counts messages without an answer. */
type SyncState = {
    readonly kind: "live";
    readonly waiting: number;
}
/** `n` entries came so far in this catching up; how many are left, nobody knows. */
 | {
    readonly kind: "catching-up";
    readonly n: number;
    readonly waiting: number;
}
/** Nothing is proved since `since` (milliseconds since 1970). */
 | {
    readonly kind: "stale";
    readonly since: number;
    readonly waiting: number;
};

/**
 * For people: "live", "3 waiting", "catching up (12)", "stale since 14:02:33"; the last two with
 * ", 3 waiting" where messages wait.
 */
declare function describe(sync: SyncState): string;

/** What a snapshot is, beside the state. */
interface SnapshotInfo {
    readonly reason: SnapshotReason;
    /** False: older or newer than `seq` says by a few entries; apply events idempotently. */
    readonly exact: boolean;
    /** True: the stream's beginning is missing (only its last entries follow). */
    readonly partial: boolean;
    readonly seq: number;
}

/** Which part of the stream a batch of entries is. */
interface EventsInfo {
    /** Exclusive. */
    readonly from: number;
    /** Inclusive. */
    readonly to: number;
    /** Nothing newer was known to the server. */
    readonly complete: boolean;
}

/** One subscriber's handlers. A throwing one is reported, and mended by one snapshot (protocol 5.6). */
interface CoreSubscribeOptions {
    /** Replaces the state of the stream, whatever was before. `state` is null where the application has no snapshot. */
    onSnapshot?(state: unknown, info: SnapshotInfo): void;
    /** Entries in order, without gaps or repeats. */
    onEvents?(entries: readonly Entry[], info: EventsInfo): void;
    /** Aborting closes the subscription. */
    signal?: AbortSignal | undefined;
    /**
     * Where the state stands that the page came with (`{% reconnect_positions %}`): only what is newer is fetched. Not
     * used where another subscriber was first.
     */
    position?: WirePosition | null | undefined;
}

/** What the whole client takes, too. */
interface SubscribeOptions extends CoreSubscribeOptions {
    onSync?(sync: SyncState): void;
}

/**
 * What a tab is to the browser's one connection: it owns it (leader), uses it (follower), waits to learn whose it is
 * (candidate), has its own and shares nothing (solo), or sleeps (suspended: in the back/forward cache, frozen, FAILED).
 */
type Role = "solo" | "candidate" | "leader" | "follower" | "suspended";

/** A tab that shares the connection. */
interface TabInfo {
    readonly id: string;
    readonly leader: boolean;
    /** This very tab. */
    readonly mine: boolean;
    readonly visible: boolean;
}

/** Of no use outside. */
interface TabsHost {}

/** Of no use outside. */
interface TabsLink {}

/** Made by `shareTabs`; called once by `connect`. */
type Tabs = (host: TabsHost) => TabsLink;

/** An acked message whose entry is not where the ack said. */
interface Lost {
    readonly id: string;
    readonly stream: string;
    readonly seq: number;
}

/** What `client.on` of the core can listen for. */
interface CoreEvents {
    stateChange: StateChange;
    queueChange: {
        readonly waiting: number;
    };
    /** The outbox holds 80 % of its messages. */
    highWater: {
        readonly waiting: number;
    };
    evict: {
        readonly entry: QueueEntry;
        readonly reason: string;
    };
    /** The server acknowledged a message and lost it afterwards (protocol 6.6). */
    lost: Lost;
    /** Also a Rejected for each ERROR frame. Without a listener errors go to the console. */
    error: unknown;
    /** A server frame of a type that is not the protocol's. */
    message: UnknownFrame;
}

/** What `client.on` can listen for. */
interface ClientEvents extends CoreEvents, PersistenceEvents {
    syncChange: SyncState;
    change: Snapshot;
    /** The server is there and doesn't speak with us; the likely causes. */
    handshake: {
        readonly causes: readonly string[];
    };
}

/** Everything a page shows of a client, immutable: a new object only when something in it changed. */
interface Snapshot {
    readonly state: State;
    readonly sync: SyncState;
    /** Messages without an answer. */
    readonly waiting: number;
    /** Which attempt of this outage is made or waited for; 0 while connected. */
    readonly attempt: number;
    /** When the next attempt begins (milliseconds since 1970), while waiting for it. */
    readonly retryAt: number | null;
    readonly streams: Readonly<Record<string, {
        readonly seq: number;
        readonly kind: SyncState["kind"];
    }>>;
    readonly clientId: string;
    /** The server's name for this client, once WELCOME came. */
    readonly session: string | null;
    readonly role: Role;
    /** The tabs that share the connection, this one included; empty for a tab that shares nothing. */
    readonly tabs: readonly TabInfo[];
}

/** One subscriber of one stream. */
interface CoreSubscription {
    readonly stream: string;
    readonly position: Position | null;
    /** Of the last applied entry; 0 for none. */
    readonly seq: number;
    /** Nothing newer was known to the server when its last answer came, and the connection stands. */
    readonly live: boolean;
    close(): void;
}

/** One subscriber of one stream. */
interface Subscription extends CoreSubscription {
    readonly sync: SyncState;
}

/** A connection to one consumer, with its streams and its outbox. Made by the core's `connect`. */
interface CoreClient {
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
    on<K extends keyof CoreEvents>(event: K, handler: (value: CoreEvents[K]) => void, options?: {
        signal?: AbortSignal | undefined;
    }): () => void;
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
    send(stream: string, payload: unknown, options?: {
        signal?: AbortSignal | undefined;
    }): Sending;
    /** Resolves when every message is answered; rejects with ClosedError when some were dropped. */
    drained(): Promise<void>;
    /** The user asks again: from FAILED, or instead of waiting for the next attempt. */
    retry(): void;
    /** Ends the client for good. Unsent messages reject with ClosedError, sent ones with OutcomeUnknown. */
    close(code?: number, reason?: string): void;
}

/** A connection to one consumer, shared by the tabs of this browser. Made by `connect`. */
interface Client extends CoreClient {
    /** How fresh the subscribed streams are, as one. The same object until it changes. */
    readonly sync: SyncState;
    /** The same object until something in it changes: made for `useSyncExternalStore`. */
    readonly snapshot: Snapshot;
    /** What this tab is to the connection of this browser. */
    readonly role: Role;
    on<K extends keyof ClientEvents>(event: K, handler: (value: ClientEvents[K]) => void, options?: {
        signal?: AbortSignal | undefined;
    }): () => void;
    subscribe(name: string, options?: SubscribeOptions): Subscription;
    /** A leader gives the connection to another tab, if there is one. Nothing is lost. */
    resign(): void;
    /**
     * The user leaves: closes this client and those of the other tabs that share the connection, and deletes what was
     * persisted for them.
     */
    logout(): void;
}

/** A number in [0, 1), uniform. */
type Random = () => number;

/** A UUIDv4. `crypto.randomUUID` is missing on plain-http origins, `getRandomValues` is not. */
declare function uuid4(): string;

/** What `send` resolves with: the message took effect, once. */
interface Receipt {
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
type Sending = Promise<Receipt> & {
    readonly id: string;
};

/** A message without an answer, as the application may see it. */
interface QueueEntry {
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
interface StoredMessage {
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
interface OutboxStore {
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
interface StoreClient {
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
type OpenStore = (client: StoreClient) => OutboxStore;

/** What a client with a store tells. */
interface PersistenceEvents {
    /** Whether messages survive the page from now on, and why not. */
    persistence: {
        readonly available: boolean;
        readonly reason: string;
    };
    /** Messages of pages that are gone wait here now. */
    restored: {
        readonly count: number;
    };
    /** A restored message will not be sent (too old, too many), or the server refused it. */
    undelivered: {
        readonly entry: QueueEntry;
        readonly reason: string;
    };
}

/** What is watched; parts that an environment lacks are left out. */
interface NetworkSources {
    readonly window?: EventTarget | undefined;
    readonly document?: (EventTarget & {
        readonly visibilityState?: string | undefined;
    }) | undefined;
    readonly connection?: (EventTarget & {
        readonly type?: string | undefined;
    }) | undefined;
}

/** How a transport ended. */
interface Ending {
    readonly code: number;
    readonly reason: string;
    /** The peer doesn't speak our subprotocol (protocol 1.2). */
    readonly stranger?: boolean;
    /** No failure: another way to the server is there. Open it at once. */
    readonly again?: boolean;
}

/** What a transport tells its owner. Nothing is called after `close()` or `ended`. */
interface TransportEvents {
    opened(): void;
    received(data: unknown): void;
    ended(ending: Ending): void;
}

/**
 * Carries frames to a server and back. The layers above don't know whether that is a socket or another
 * tab that owns one: a relay implements this and answers HELLO like a server.
 */
interface Transport {
    /** @returns whether the frame was handed over; not whether it arrives */
    send(text: string): boolean;
    /** Lets go at once; no event follows. */
    close(code: number, reason: string): void;
    /** True while it waits for another tab, which has no time limit. */
    readonly patient?: boolean;
}

type OpenTransport = (events: TransportEvents) => Transport;

/** The part of the WebSocket interface that is used; tests and network labs bring their own. */
interface SocketLike {
    readonly readyState: number;
    readonly protocol: string;
    onopen: ((event: never) => void) | null;
    onmessage: ((event: never) => void) | null;
    onerror: ((event: never) => void) | null;
    onclose: ((event: never) => void) | null;
    send(data: string): void;
    close(code?: number, reason?: string): void;
}

type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

/** Where a reader stands in a stream: one number proves a whole history (protocol 2). */
interface Position {
    readonly epoch: string;
    /** The last entry that was applied. */
    readonly seq: number;
    /** The fold over the ids of every entry up to `seq`. */
    readonly checksum: number;
}

/** A position as it travels. */
interface WirePosition {
    readonly epoch: string;
    readonly last_seq_id: number;
    readonly checksum: number;
}

/** One event of a stream (protocol 4). */
interface Entry {
    readonly seq: number;
    readonly id: string;
    readonly checksum: number;
    /** Lamport time. */
    readonly clock: number;
    /** The id of the message whose handler published it, or null. */
    readonly key: string | null;
    readonly payload: unknown;
    /** The W3C trace context in which it was published, while it is news and where that trace is recorded. */
    readonly traceparent?: string;
}

/** Why a stream got a snapshot; constants of the protocol, new ones may come. */
type SnapshotReason = "new" | "epoch" | "rewound" | "trimmed" | "diverged" | "gap" | "operator" | (string & {});

/** A frame of a type that this client doesn't know; it is handed to the application. */
interface UnknownFrame {
    readonly type: unknown;
    readonly [field: string]: unknown;
}

/** Where time comes from; tests pass their own. */
interface Clock {
    /** Monotonic milliseconds: for durations. */
    now(): number;
    /** Milliseconds since 1970: for people, and to notice that the machine slept. */
    wall(): number;
    setTimeout(run: () => void, ms: number): unknown;
    clearTimeout(handle: unknown): void;
}

/** The states of a connection, the blueprint's. CONNECTED means that WELCOME came. */
type State = "DISCONNECTED" | "RECONNECTING" | "CONNECTED" | "FAILED";

/** What `stateChange` tells. */
interface StateChange {
    readonly from: State;
    readonly to: State;
    /** Why, for people and logs. */
    readonly reason: string;
}

/** A state change that the machine doesn't allow (design 11.1): a bug, never a network condition. */
declare class StateTransitionError extends Error {
    readonly name = "StateTransitionError";
    readonly from: State;
    readonly to: State;
    constructor(from: State, to: State);
}

/** The outbox is full: the message was evicted, or, when everything in it was sent already, refused. */
declare class QueueOverflowError extends Error {
    readonly name = "QueueOverflowError";
}

/** The message was sent, its answer will never be known here: it took effect once or not at all. */
declare class OutcomeUnknown extends Error {
    /** It stays in the persisted outbox: another page, or `retry`, sends it. */
    readonly retained?: boolean;
    readonly name = "OutcomeUnknown";
}

/** The client is closed or has failed, and the message was never sent. */
declare class ClosedError extends Error {
    /** It stays in the persisted outbox: another page, or `retry`, sends it. */
    readonly retained?: boolean;
    readonly name = "ClosedError";
}

/** A payload or stream name that can't travel (protocol 1): nothing was queued. */
declare class PayloadError extends Error {
    readonly name = "PayloadError";
}

/** The server said no: REJECT of a message, or ERROR (protocol 4). */
declare class Rejected extends Error {
    readonly name = "Rejected";
    /** Like an HTTP status: 400, 403, 409, 410, 413, 422, 429, 500, 503. */
    readonly code: number;
    /** A constant of the protocol, or the application's own word. */
    readonly reason: string;
    /** Whatever the server adds for people or programs. */
    readonly detail: unknown;
    /** The streams that an ERROR speaks of. */
    readonly streams: readonly string[];
    constructor(code: number, reason: string, detail: unknown, streams?: readonly string[]);
}

/** A server frame that breaks the protocol; it is reported and skipped. */
declare class FrameError extends Error {
    readonly name = "FrameError";
}

/**
 * Connects to a consumer and keeps connected; tabs of one login share the connection, unless `tabs` is false.
 *
 * @param url absolute, or relative to the page ("/ws/board/1/")
 * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
 */
declare function connect(url: string | URL, options?: Options): Client;

/** All that is public. One object for a page, however many copies of this file it loads. */
declare const api: {
    StateTransitionError: typeof StateTransitionError;
    QueueOverflowError: typeof QueueOverflowError;
    OutcomeUnknown: typeof OutcomeUnknown;
    Rejected: typeof Rejected;
    ClosedError: typeof ClosedError;
    PayloadError: typeof PayloadError;
    FrameError: typeof FrameError;
    connect: typeof connect;
    clients: ReadonlySet<Client>;
    describe: typeof describe;
    calculateBackoff: typeof calculateBackoff;
    uuid4: typeof uuid4;
    shareTabs: typeof shareTabs;
    persistOutbox: typeof persistOutbox;
    wipeOutbox: typeof wipeOutbox;
    pagePositions: typeof pagePositions;
    recorders: typeof recorders;
    telemetryRecorder: typeof telemetryRecorder;
};

export { api as ReconnectChannels, api as default, connect };
export { calculateBackoff };
export { ClosedError, FrameError, OutcomeUnknown, PayloadError, QueueOverflowError, Rejected, StateTransitionError, };
export { pagePositions };
export { persistOutbox, wipeOutbox };
export { uuid4 };
export { recorders };
export { describe };
export { shareTabs };
export { telemetryRecorder };
export type { Clock };
export type { Entry, SnapshotReason, UnknownFrame };
export type { NetworkSources };
export type { CoreApi };
export type { CoreOptions, Options };
export type { OpenStore, OutboxStore, QueueEntry, Receipt, Sending, StoreClient, StoredMessage, };
export type { PersistOptions };
export type { Position };
export type { Client, ClientEvents, CoreClient, CoreEvents, CoreSubscription, Snapshot, Subscription, };
export type { Random };
export type { Lost };
export type { Labels, Recorder, Report, Transition };
export type { TelemetryOptions };
export type { State, StateChange };
export type { CoreSubscribeOptions, EventsInfo, SnapshotInfo, SubscribeOptions };
export type { SyncState };
export type { Ending, OpenTransport, SocketConstructor, SocketLike, Transport, TransportEvents };
export type { Role, TabInfo, Tabs };
export type { TabsEnvironment, TabsOptions };

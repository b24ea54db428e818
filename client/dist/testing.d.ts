/* reconnect_channels, BSD-3-Clause */
import type { Entry, SocketLike } from "./index.js";

/** A position as it travels. */
interface WirePosition {
    readonly epoch: string;
    readonly last_seq_id: number;
    readonly checksum: number;
}

type Frame = Record<string, any>;

/** A WebSocket without a network. Events reach the client one microtask each, like tasks in a browser. */
declare class FakeSocket extends EventTarget implements SocketLike {
    #private;
    readyState: number;
    protocol: string;
    onopen: SocketLike["onopen"];
    onmessage: SocketLike["onmessage"];
    onerror: SocketLike["onerror"];
    onclose: SocketLike["onclose"];
    /** What the client sent, decoded. */
    readonly sent: Frame[];
    /** How the client closed it. */
    closed: {
        code: number | undefined;
        reason: string | undefined;
    } | null;
    readonly url: string;
    readonly protocols: readonly string[];
    constructor(server: FakeServer, url: string, protocols: readonly string[]);
    /** Lets the handshake succeed. */
    open(protocol?: string): void;
    /** The server sends a frame; a string goes out as it is. */
    deliver(frame: Frame | string): void;
    /** The connection ends from the other side. */
    drop(code?: number, reason?: string): void;
    send(data: string): void;
    close(code?: number, reason?: string): void;
    /** The frames of one type that the client sent. */
    of(type: string): Frame[];
}

/** One stream's log. */
declare class FakeLog {
    epoch: string;
    entries: Entry[];
    /** What a snapshot holds; undefined: there is no snapshot hook. */
    state: unknown;
    get seq(): number;
    checksum(seq?: number): number;
    wire(seq?: number): WirePosition;
    append(payload: unknown, key?: string | null): Entry;
    /** The SYNC_DELTA from one seq to another. */
    delta(stream: string, from: number, to?: number, complete?: boolean): Frame;
    snapshot(stream: string, reason: string): Frame;
}

/**
 * A server of `reconnect.v1` that keeps its promises, small enough to read. To make it misbehave, set
 * `intercept` (return true to swallow a client's frame), or deliver frames by hand.
 */
declare class FakeServer {
    #private;
    readonly sockets: FakeSocket[];
    readonly logs: Map<string, FakeLog>;
    /** Answers to known messages by id: the idempotency store. */
    readonly answers: Map<string, Frame>;
    /** What took effect, in order. */
    readonly applied: {
        readonly id: string;
        readonly stream: string;
        readonly n: number;
        readonly payload: unknown;
    }[];
    /** Joined without being asked, as by `get_streams()`. */
    streams: string[];
    limits: Frame;
    /** Whether sockets open by themselves, and with which subprotocol. */
    accepts: boolean | string;
    intercept: ((socket: FakeSocket, frame: Frame) => boolean | void) | null;
    /** Whose socket it is: the identity key that WELCOME gives and HELLO may name; null: nobody's. */
    identify: (socket: FakeSocket) => string | null;
    /** Sockets that were told to go since a newer one of the same client came. */
    fenced: number;
    /** Give it to `connect` as `WebSocket`. */
    readonly WebSocket: new (url: string, protocols: string[]) => SocketLike;
    constructor();
    /** The newest socket. */
    get socket(): FakeSocket;
    log(stream: string): FakeLog;
    /** Appends to a log and pushes to who is subscribed. */
    publish(stream: string, payload: unknown, key?: string | null): Entry;
    welcome(socket: FakeSocket, fields?: Frame): void;
    receive(socket: FakeSocket, frame: Frame): void;
    /** Subscribes and recovers: a delta where the position is proved, else a snapshot. */
    join(socket: FakeSocket, name: string, position: WirePosition | null): void;
    ping(socket?: FakeSocket): void;
    /** What the HTTP endpoint answers to a claim: a SYNC_DELTA where it is proved, else a SYNC_SNAPSHOT (protocol 8). */
    delta(name: string, claim: WirePosition | null): Frame;
    /** Ends the newest socket, or the one given. */
    drop(code?: number, socket?: FakeSocket): void;
    /** Ends a socket for good, and says why before. */
    bye(socket: FakeSocket, code: number, reason: string, fields?: Frame): void;
    /** A socket is gone. */
    leave(socket: FakeSocket): void;
    /** The sockets that are open and were welcomed. */
    get connected(): FakeSocket[];
    /** The streams that the server serves a socket. */
    served(socket: FakeSocket): string[];
}

export type { Frame };
export { FakeSocket };
export { FakeLog };
export { FakeServer };

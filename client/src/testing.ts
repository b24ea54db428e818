/** Doubles for tests of this client and of applications that use it: a socket and a server in memory. */
import type { SocketLike } from "./transport.ts";
import { fold, type WirePosition } from "./position.ts";
import type { Entry } from "./frames.ts";

// Frames of both directions, as plain objects: a test may send what no typed server would.
// oxlint-disable-next-line no-explicit-any
export type Frame = Record<string, any>;

/** A WebSocket without a network. Events reach the client one microtask each, like tasks in a browser. */
export class FakeSocket extends EventTarget implements SocketLike {
  readyState = 0;
  protocol = "";
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onerror: SocketLike["onerror"] = null;
  onclose: SocketLike["onclose"] = null;
  /** What the client sent, decoded. */
  readonly sent: Frame[] = [];
  /** How the client closed it. */
  closed: { code: number | undefined; reason: string | undefined } | null = null;
  readonly url: string;
  readonly protocols: readonly string[];
  readonly #server: FakeServer;
  /** Events on their way: kept in order, one microtask each. */
  #queue: Promise<void> = Promise.resolve();

  constructor(server: FakeServer, url: string, protocols: readonly string[]) {
    super();
    this.#server = server;
    this.url = url;
    this.protocols = protocols;
  }

  /** Lets the handshake succeed. */
  open(protocol = this.protocols[0] ?? ""): void {
    this.#later(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.protocol = protocol;
      this.onopen?.({} as never);
    });
  }

  /** The server sends a frame; a string goes out as it is. */
  deliver(frame: Frame | string): void {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.#later(() => {
      if (this.readyState === 1) this.onmessage?.({ data } as never);
    });
  }

  /** The connection ends from the other side. */
  drop(code = 1006, reason = ""): void {
    this.#later(() => {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.onclose?.({ code, reason } as never);
    });
  }

  send(data: string): void {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    const frame = JSON.parse(data) as Frame;
    this.sent.push(frame);
    this.#later(() => {
      if (this.readyState === 1) this.#server.receive(this, frame);
    });
  }

  close(code?: number, reason?: string): void {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) throw new Error("InvalidAccessError");
    if (this.readyState >= 2) return;
    this.closed = { code, reason };
    this.readyState = 3;
    this.#later(() => {
      this.#server.leave(this);
      this.onclose?.({ code: code ?? 1005, reason: reason ?? "" } as never);
    });
  }

  /** The frames of one type that the client sent. */
  of(type: string): Frame[] {
    return this.sent.filter((frame) => frame["type"] === type);
  }

  #later(run: () => void): void {
    this.#queue = this.#queue.then(run);
  }
}

/** One stream's log. */
export class FakeLog {
  epoch = "e1";
  entries: Entry[] = [];
  /** What a snapshot holds; undefined: there is no snapshot hook. */
  state: unknown = undefined;

  get seq(): number {
    return this.entries.length;
  }

  checksum(seq = this.seq): number {
    return fold(
      0,
      this.entries.slice(0, seq).map((entry) => entry.id),
    );
  }

  wire(seq = this.seq): WirePosition {
    return { epoch: this.epoch, last_seq_id: seq, checksum: this.checksum(seq) };
  }

  append(payload: unknown, key: string | null = null): Entry {
    const seq = this.seq + 1;
    const id = `00000000-0000-4000-8000-${(seq * 7919 + this.epoch.length).toString(16).padStart(12, "0")}`;
    const entry = { seq, id, checksum: fold(this.checksum(), [id]), clock: seq, key, payload };
    this.entries.push(entry);
    return entry;
  }

  /** The SYNC_DELTA from one seq to another. */
  delta(stream: string, from: number, to = this.seq, complete = to === this.seq): Frame {
    return {
      type: "SYNC_DELTA",
      stream,
      epoch: this.epoch,
      from,
      to,
      checksum: this.checksum(to),
      complete,
      payload: this.entries.slice(from, to),
    };
  }

  snapshot(stream: string, reason: string): Frame {
    const seq = this.state === undefined ? 0 : this.seq;
    const { epoch } = this;
    const payload = this.state ?? null;
    const checksum = this.checksum(seq);
    return { type: "SYNC_SNAPSHOT", stream, epoch, seq, checksum, reason, exact: true, partial: false, payload };
  }
}

/**
 * A server of `reconnect.v1` that keeps its promises, small enough to read. To make it misbehave, set
 * `intercept` (return true to swallow a client's frame), or deliver frames by hand.
 */
export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  readonly logs = new Map<string, FakeLog>();
  /** Answers to known messages by id: the idempotency store. */
  readonly answers = new Map<string, Frame>();
  /** What took effect, in order. */
  readonly applied: { readonly id: string; readonly stream: string; readonly n: number; readonly payload: unknown }[] = [];
  /** Joined without being asked, as by `get_streams()`. */
  streams: string[] = [];
  limits: Frame = { rate: 50, burst: 1_000, in_flight: 16, ack_entries: 100, ack_bytes: 65_536, streams: 100 };
  /** Whether sockets open by themselves, and with which subprotocol. */
  accepts: boolean | string = true;
  intercept: ((socket: FakeSocket, frame: Frame) => boolean | void) | null = null;
  /** Whose socket it is: the identity key that WELCOME gives and HELLO may name; null: nobody's. */
  identify: (socket: FakeSocket) => string | null = () => null;
  /** Sockets that were told to go since a newer one of the same client came. */
  fenced = 0;
  /** The open socket of each client of each identity. */
  readonly #newest = new Map<string, { readonly socket: FakeSocket; readonly term: number; readonly attempt: number }>();
  #sessions = 0;
  readonly #ended = new WeakSet<FakeSocket>();
  readonly #subscriptions = new Map<FakeSocket, Set<string>>();
  readonly #last = new Map<string, number>();
  /** Give it to `connect` as `WebSocket`. */
  readonly WebSocket: new (url: string, protocols: string[]) => SocketLike;

  constructor() {
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(server, url, protocols);
        server.sockets.push(this);
        if (server.accepts === true) this.open();
        else if (typeof server.accepts === "string") this.open(server.accepts);
      }
    };
  }

  /** The newest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("nobody connected");
    return socket;
  }

  log(stream: string): FakeLog {
    const log = this.logs.get(stream) ?? new FakeLog();
    this.logs.set(stream, log);
    return log;
  }

  /** Appends to a log and pushes to who is subscribed. */
  publish(stream: string, payload: unknown, key: string | null = null): Entry {
    const log = this.log(stream);
    const entry = log.append(payload, key);
    for (const [socket, streams] of this.#subscriptions) {
      if (streams.has(stream)) socket.deliver(log.delta(stream, log.seq - 1));
    }
    return entry;
  }

  welcome(socket: FakeSocket, fields: Frame = {}): void {
    const frame = { session: `s${++this.#sessions}`, node: "n1", clock: 1, heartbeat_ms: 15_000, streams: this.streams, limits: this.limits };
    const key = this.identify(socket);
    socket.deliver({ type: "WELCOME", ...frame, ...(key === null ? {} : { key }), ...fields });
  }

  receive(socket: FakeSocket, frame: Frame): void {
    if (this.#ended.has(socket) || this.intercept?.(socket, frame)) return;
    const type = frame["type"] as string;
    if (type === "HELLO") {
      if (!this.#admit(socket, frame)) return;
      this.#subscriptions.set(socket, new Set());
      this.welcome(socket);
      const claims = { ...Object.fromEntries(this.streams.map((name) => [name, null])), ...frame["streams"] };
      for (const [name, position] of Object.entries(claims)) this.join(socket, name, position as WirePosition | null);
    } else if (type === "SUBSCRIBE") {
      socket.deliver({ type: "SUBSCRIBED", ref: frame["ref"] });
      for (const [name, position] of Object.entries(frame["streams"] as Frame)) this.join(socket, name, position);
    } else if (type === "UNSUBSCRIBE") {
      for (const name of frame["streams"] as string[]) this.#subscriptions.get(socket)?.delete(name);
      socket.deliver({ type: "UNSUBSCRIBED", ref: frame["ref"] });
    } else if (type === "MESSAGE") this.#message(socket, frame);
  }

  /** Subscribes and recovers: a delta where the position is proved, else a snapshot. */
  join(socket: FakeSocket, name: string, position: WirePosition | null): void {
    const log = this.log(name);
    this.#subscriptions.get(socket)?.add(name);
    if (this.#proved(log, position)) return socket.deliver(log.delta(name, position!.last_seq_id));
    const snapshot = this.#snapshot(name, position);
    socket.deliver(snapshot);
    socket.deliver(log.delta(name, snapshot["seq"]));
  }

  #proved(log: FakeLog, position: WirePosition | null): boolean {
    if (position?.epoch !== log.epoch || position.last_seq_id > log.seq) return false;
    return log.checksum(position.last_seq_id) === position.checksum;
  }

  #snapshot(name: string, position: WirePosition | null): Frame {
    const log = this.log(name);
    return log.snapshot(name, position === null ? "new" : position.epoch === log.epoch ? "diverged" : "epoch");
  }

  ping(socket = this.socket): void {
    const heads = Array.from(this.#subscriptions.get(socket) ?? [], (name) => [name, this.log(name).wire()]);
    socket.deliver({ type: "PING", t: 1, heads: Object.fromEntries(heads) });
  }

  /** What the HTTP endpoint answers to a claim: a SYNC_DELTA where it is proved, else a SYNC_SNAPSHOT (protocol 8). */
  delta(name: string, claim: WirePosition | null): Frame {
    const log = this.log(name);
    return this.#proved(log, claim) ? log.delta(name, claim!.last_seq_id) : this.#snapshot(name, claim);
  }

  /** Ends the newest socket, or the one given. */
  drop(code = 1006, socket = this.socket): void {
    this.leave(socket);
    socket.drop(code);
  }

  /** Ends a socket for good, and says why before. */
  bye(socket: FakeSocket, code: number, reason: string, fields: Frame = {}): void {
    this.#ended.add(socket);
    socket.deliver({ type: "BYE", code, reason, reconnect: code < 4500, retry_after_ms: [0, 0], ...fields });
    this.drop(code, socket);
  }

  /** A socket is gone. */
  leave(socket: FakeSocket): void {
    this.#subscriptions.delete(socket);
    for (const [client, { socket: newest }] of this.#newest) if (newest === socket) this.#newest.delete(client);
  }

  /** The sockets that are open and were welcomed. */
  get connected(): FakeSocket[] {
    return [...this.#subscriptions.keys()].filter(({ readyState }) => readyState === 1);
  }

  /** The streams that the server serves a socket. */
  served(socket: FakeSocket): string[] {
    return [...(this.#subscriptions.get(socket) ?? [])];
  }

  /** The newest (term, attempt) of a client wins; the older socket is told to go. */
  #admit(socket: FakeSocket, { client_id, term = 0, attempt = 0, key }: Frame): boolean {
    const identity = this.identify(socket);
    if (key !== undefined && key !== null && key !== identity) {
      this.bye(socket, 4501, "KEY");
      return false;
    }
    const client = JSON.stringify([identity, client_id]);
    const old = this.#newest.get(client);
    const open = old && old.socket !== socket && old.socket.readyState === 1;
    const older = open && (term < old.term || (term === old.term && attempt < old.attempt));
    if (open) {
      this.fenced++;
      this.bye(older ? socket : old.socket, 4509, "superseded", { term: older ? old.term : term });
    }
    if (!older) this.#newest.set(client, { socket, term, attempt });
    return !older;
  }

  #message(socket: FakeSocket, { id, producer, n, stream, payload, settled }: Frame): void {
    const known = this.answers.get(id);
    if (known) return socket.deliver({ ...known, duplicate: true });
    const lane = `${producer}/${stream}`;
    const last = Math.max(this.#last.get(lane) ?? 0, settled ?? 0);
    if (n !== last + 1) {
      const refusal = n <= last ? { code: 410, reason: "EXPIRED" } : { code: 409, reason: "ORDER", retry: true, retry_after_ms: 10 };
      return socket.deliver({ type: "REJECT", id, detail: null, retry: false, ...refusal });
    }
    this.#last.set(lane, n);
    this.applied.push({ id, stream, n, payload });
    const entry = this.publish(stream, payload, id);
    const answer = { type: "ACK", id, epoch: this.log(stream).epoch, seq: entry.seq, result: { n }, duplicate: false };
    this.answers.set(id, answer);
    socket.deliver(answer);
  }
}

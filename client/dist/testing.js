/* reconnect_channels, BSD-3-Clause */

// src/position.ts
var MODULUS = 2 ** 31 - 1;
var FACTOR = 31;
function advance(checksum, id) {
  return (checksum * FACTOR + parseInt(id.slice(-8), 16) % MODULUS) % MODULUS;
}
function fold(checksum, ids) {
  for (const id of ids) checksum = advance(checksum, id);
  return checksum;
}

// src/testing.ts
var FakeSocket = class extends EventTarget {
  readyState = 0;
  protocol = "";
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  /** What the client sent, decoded. */
  sent = [];
  /** How the client closed it. */
  closed = null;
  url;
  protocols;
  #server;
  /** Events on their way: kept in order, one microtask each. */
  #queue = Promise.resolve();
  constructor(server, url, protocols) {
    super();
    this.#server = server;
    this.url = url;
    this.protocols = protocols;
  }
  /** Lets the handshake succeed. */
  open(protocol = this.protocols[0] ?? "") {
    this.#later(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.protocol = protocol;
      this.onopen?.({});
    });
  }
  /** The server sends a frame; a string goes out as it is. */
  deliver(frame) {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.#later(() => {
      if (this.readyState === 1) this.onmessage?.({ data });
    });
  }
  /** The connection ends from the other side. */
  drop(code = 1006, reason = "") {
    this.#later(() => {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.onclose?.({ code, reason });
    });
  }
  send(data) {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    const frame = JSON.parse(data);
    this.sent.push(frame);
    this.#later(() => {
      if (this.readyState === 1) this.#server.receive(this, frame);
    });
  }
  close(code, reason) {
    if (code !== void 0 && code !== 1e3 && (code < 3e3 || code > 4999)) throw new Error("InvalidAccessError");
    if (this.readyState >= 2) return;
    this.closed = { code, reason };
    this.readyState = 3;
    this.#later(() => this.onclose?.({ code: code ?? 1005, reason: reason ?? "" }));
  }
  /** The frames of one type that the client sent. */
  of(type) {
    return this.sent.filter((frame) => frame["type"] === type);
  }
  #later(run) {
    this.#queue = this.#queue.then(run);
  }
};
var FakeLog = class {
  epoch = "e1";
  entries = [];
  /** What a snapshot holds; undefined: there is no snapshot hook. */
  state = void 0;
  get seq() {
    return this.entries.length;
  }
  checksum(seq = this.seq) {
    return fold(
      0,
      this.entries.slice(0, seq).map((entry) => entry.id)
    );
  }
  wire(seq = this.seq) {
    return { epoch: this.epoch, last_seq_id: seq, checksum: this.checksum(seq) };
  }
  append(payload, key = null) {
    const seq = this.seq + 1;
    const id = `00000000-0000-4000-8000-${(seq * 7919 + this.epoch.length).toString(16).padStart(12, "0")}`;
    const entry = { seq, id, checksum: fold(this.checksum(), [id]), clock: seq, key, payload };
    this.entries.push(entry);
    return entry;
  }
  /** The SYNC_DELTA from one seq to another. */
  delta(stream, from, to = this.seq, complete = to === this.seq) {
    return {
      type: "SYNC_DELTA",
      stream,
      epoch: this.epoch,
      from,
      to,
      checksum: this.checksum(to),
      complete,
      payload: this.entries.slice(from, to)
    };
  }
  snapshot(stream, reason) {
    const seq = this.state === void 0 ? 0 : this.seq;
    const { epoch } = this;
    const payload = this.state ?? null;
    const checksum = this.checksum(seq);
    return { type: "SYNC_SNAPSHOT", stream, epoch, seq, checksum, reason, exact: true, partial: false, payload };
  }
};
var FakeServer = class {
  sockets = [];
  logs = /* @__PURE__ */ new Map();
  /** Answers to known messages by id: the idempotency store. */
  answers = /* @__PURE__ */ new Map();
  /** What took effect, in order. */
  applied = [];
  /** Joined without being asked, as by `get_streams()`. */
  streams = [];
  limits = { rate: 50, burst: 1e3, in_flight: 16, ack_entries: 100, ack_bytes: 65536, streams: 100 };
  /** Whether sockets open by themselves, and with which subprotocol. */
  accepts = true;
  intercept = null;
  #subscriptions = /* @__PURE__ */ new Map();
  #last = /* @__PURE__ */ new Map();
  /** Give it to `connect` as `WebSocket`. */
  WebSocket;
  constructor() {
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(server, url, protocols);
        server.sockets.push(this);
        if (server.accepts === true) this.open();
        else if (typeof server.accepts === "string") this.open(server.accepts);
      }
    };
  }
  /** The newest socket. */
  get socket() {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("nobody connected");
    return socket;
  }
  log(stream) {
    const log = this.logs.get(stream) ?? new FakeLog();
    this.logs.set(stream, log);
    return log;
  }
  /** Appends to a log and pushes to who is subscribed. */
  publish(stream, payload, key = null) {
    const log = this.log(stream);
    const entry = log.append(payload, key);
    for (const [socket, streams] of this.#subscriptions) {
      if (streams.has(stream)) socket.deliver(log.delta(stream, log.seq - 1));
    }
    return entry;
  }
  welcome(socket, fields = {}) {
    const frame = { session: "s1", node: "n1", clock: 1, heartbeat_ms: 15e3, streams: this.streams, limits: this.limits };
    socket.deliver({ type: "WELCOME", ...frame, ...fields });
  }
  receive(socket, frame) {
    if (this.intercept?.(socket, frame)) return;
    const type = frame["type"];
    if (type === "HELLO") {
      this.#subscriptions.set(socket, /* @__PURE__ */ new Set());
      this.welcome(socket);
      const claims = { ...Object.fromEntries(this.streams.map((name) => [name, null])), ...frame["streams"] };
      for (const [name, position] of Object.entries(claims)) this.join(socket, name, position);
    } else if (type === "SUBSCRIBE") {
      socket.deliver({ type: "SUBSCRIBED", ref: frame["ref"] });
      for (const [name, position] of Object.entries(frame["streams"])) this.join(socket, name, position);
    } else if (type === "UNSUBSCRIBE") {
      for (const name of frame["streams"]) this.#subscriptions.get(socket)?.delete(name);
      socket.deliver({ type: "UNSUBSCRIBED", ref: frame["ref"] });
    } else if (type === "MESSAGE") this.#message(socket, frame);
  }
  /** Subscribes and recovers: a delta where the position is proved, else a snapshot. */
  join(socket, name, position) {
    const log = this.log(name);
    this.#subscriptions.get(socket)?.add(name);
    const proved = position?.epoch === log.epoch && position.last_seq_id <= log.seq && log.checksum(position.last_seq_id) === position.checksum;
    if (proved) return socket.deliver(log.delta(name, position.last_seq_id));
    const reason = position === null ? "new" : position.epoch === log.epoch ? "diverged" : "epoch";
    const snapshot = log.snapshot(name, reason);
    socket.deliver(snapshot);
    socket.deliver(log.delta(name, snapshot["seq"]));
  }
  ping(socket = this.socket) {
    const heads = Array.from(this.#subscriptions.get(socket) ?? [], (name) => [name, this.log(name).wire()]);
    socket.deliver({ type: "PING", t: 1, heads: Object.fromEntries(heads) });
  }
  /** Ends the newest socket, or the one given. */
  drop(code = 1006, socket = this.socket) {
    this.#subscriptions.delete(socket);
    socket.drop(code);
  }
  #message(socket, { id, producer, n, stream, payload, settled }) {
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
};
export {
  FakeLog,
  FakeServer,
  FakeSocket
};
//# sourceMappingURL=testing.js.map

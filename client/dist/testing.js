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
    this.#later(() => {
      this.#server.leave(this);
      this.onclose?.({ code: code ?? 1005, reason: reason ?? "" });
    });
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
  /** Whose socket it is: the identity key that WELCOME gives and HELLO may name; null: nobody's. */
  identify = () => null;
  /** Sockets that were told to go since a newer one of the same client came. */
  fenced = 0;
  /** The open socket of each client of each identity. */
  #newest = /* @__PURE__ */ new Map();
  #sessions = 0;
  #ended = /* @__PURE__ */ new WeakSet();
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
    const frame = { session: `s${++this.#sessions}`, node: "n1", clock: 1, heartbeat_ms: 15e3, streams: this.streams, limits: this.limits };
    const key = this.identify(socket);
    socket.deliver({ type: "WELCOME", ...frame, ...key === null ? {} : { key }, ...fields });
  }
  receive(socket, frame) {
    if (this.#ended.has(socket) || this.intercept?.(socket, frame)) return;
    const type = frame["type"];
    if (type === "HELLO") {
      if (!this.#admit(socket, frame)) return;
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
    if (this.#proved(log, position)) return socket.deliver(log.delta(name, position.last_seq_id));
    const snapshot = this.#snapshot(name, position);
    socket.deliver(snapshot);
    socket.deliver(log.delta(name, snapshot["seq"]));
  }
  #proved(log, position) {
    if (position?.epoch !== log.epoch || position.last_seq_id > log.seq) return false;
    return log.checksum(position.last_seq_id) === position.checksum;
  }
  #snapshot(name, position) {
    const log = this.log(name);
    return log.snapshot(name, position === null ? "new" : position.epoch === log.epoch ? "diverged" : "epoch");
  }
  ping(socket = this.socket) {
    const heads = Array.from(this.#subscriptions.get(socket) ?? [], (name) => [name, this.log(name).wire()]);
    socket.deliver({ type: "PING", t: 1, heads: Object.fromEntries(heads) });
  }
  /** What the HTTP endpoint answers to a claim: a SYNC_DELTA where it is proved, else a SYNC_SNAPSHOT (protocol 8). */
  delta(name, claim) {
    const log = this.log(name);
    return this.#proved(log, claim) ? log.delta(name, claim.last_seq_id) : this.#snapshot(name, claim);
  }
  /** Ends the newest socket, or the one given. */
  drop(code = 1006, socket = this.socket) {
    this.leave(socket);
    socket.drop(code);
  }
  /** Ends a socket for good, and says why before. */
  bye(socket, code, reason, fields = {}) {
    this.#ended.add(socket);
    socket.deliver({ type: "BYE", code, reason, reconnect: code < 4500, retry_after_ms: [0, 0], ...fields });
    this.drop(code, socket);
  }
  /** A socket is gone. */
  leave(socket) {
    this.#subscriptions.delete(socket);
    for (const [client, { socket: newest }] of this.#newest) if (newest === socket) this.#newest.delete(client);
  }
  /** The sockets that are open and were welcomed. */
  get connected() {
    return [...this.#subscriptions.keys()].filter(({ readyState }) => readyState === 1);
  }
  /** The streams that the server serves a socket. */
  served(socket) {
    return [...this.#subscriptions.get(socket) ?? []];
  }
  /** The newest (term, attempt) of a client wins; the older socket is told to go. */
  #admit(socket, { client_id, term = 0, attempt = 0, key }) {
    const identity = this.identify(socket);
    if (key !== void 0 && key !== null && key !== identity) {
      this.bye(socket, 4501, "KEY");
      return false;
    }
    const client = JSON.stringify([identity, client_id]);
    const old = this.#newest.get(client);
    const open = old && old.socket !== socket && old.socket.readyState === 1;
    const older = open && (term < old.term || term === old.term && attempt < old.attempt);
    if (open) {
      this.fenced++;
      this.bye(older ? socket : old.socket, 4509, "superseded", { term: older ? old.term : term });
    }
    if (!older) this.#newest.set(client, { socket, term, attempt });
    return !older;
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

/* reconnect_channels, BSD-3-Clause */

// src/random.ts
var secureRandom = () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
function uuid4() {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 15 | 64;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// src/backoff.ts
var MAX_DOUBLINGS = 10;
function backoffCeiling(attempt, baseMs, maxMs) {
  if (!(baseMs > 0 && maxMs > 0 && baseMs < Infinity && maxMs < Infinity) || Number.isNaN(attempt)) {
    throw new RangeError("Invalid backoff bounds");
  }
  return Math.min(baseMs * 2 ** Math.min(Math.max(attempt, 0), MAX_DOUBLINGS), maxMs);
}
function calculateBackoff(attempt, baseMs, maxMs, random = secureRandom) {
  return backoffCeiling(attempt, baseMs, maxMs) * random();
}

// src/clock.ts
var systemClock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle)
};
var MAX_DELAY_MS = 36e5;
function after(clock, ms, signal, run) {
  if (signal.aborted) return () => {
  };
  const stop = () => {
    clock.clearTimeout(handle);
    signal.removeEventListener("abort", stop);
  };
  const handle = clock.setTimeout(
    () => {
      signal.removeEventListener("abort", stop);
      run();
    },
    Math.min(Math.max(ms, 0), MAX_DELAY_MS)
  );
  signal.addEventListener("abort", stop);
  return stop;
}

// src/errors.ts
var StateTransitionError = class extends Error {
  name = "StateTransitionError";
  from;
  to;
  constructor(from, to) {
    super(`no transition from ${from} to ${to}`);
    this.from = from;
    this.to = to;
  }
};
var QueueOverflowError = class extends Error {
  name = "QueueOverflowError";
};
var OutcomeUnknown = class extends Error {
  name = "OutcomeUnknown";
};
var ClosedError = class extends Error {
  name = "ClosedError";
};
var PayloadError = class extends Error {
  name = "PayloadError";
};
var Rejected = class extends Error {
  name = "Rejected";
  /** Like an HTTP status: 400, 403, 409, 410, 413, 422, 429, 500, 503. */
  code;
  /** A constant of the protocol, or the application's own word. */
  reason;
  /** Whatever the server adds for people or programs. */
  detail;
  /** The streams that an ERROR speaks of. */
  streams;
  constructor(code, reason, detail, streams = []) {
    const text2 = typeof detail === "string" && detail ? `: ${detail}` : "";
    super(`${code} ${reason}${streams.length ? ` (${streams.join(", ")})` : ""}${text2}`);
    this.code = code;
    this.reason = reason;
    this.detail = detail;
    this.streams = streams;
  }
};
var FrameError = class extends Error {
  name = "FrameError";
};

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
function toWire(position) {
  return position && { epoch: position.epoch, last_seq_id: position.seq, checksum: position.checksum };
}
function fromWire(raw) {
  if (typeof raw !== "object" || raw === null) return null;
  const { epoch, last_seq_id: seq, checksum } = raw;
  if (typeof epoch !== "string" || !isCount(seq) || !isCount(checksum)) return null;
  return { epoch, seq, checksum };
}
function isCount(value) {
  return Number.isInteger(value) && value >= 0 && value <= 2 ** 53;
}

// src/frames.ts
var SUBPROTOCOL = "reconnect.v1";
var MAX_FRAME = 131072;
var text = (value) => typeof value === "string";
var flag = (value) => typeof value === "boolean";
var object = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
var texts = (value) => Array.isArray(value) && value.every(text);
var maybe = (check) => (value) => value === void 0 || value === null || check(value);
var entry = (value) => object(value) && isCount(value.seq) && /^[0-9a-f-]{36}$/.test(String(value.id));
var entries = (value) => Array.isArray(value) && value.every(entry);
var SHAPES = {
  WELCOME: { clock: isCount, streams: texts, limits: object, identity: maybe(text) },
  SYNC_DELTA: {
    stream: text,
    epoch: text,
    from: isCount,
    to: isCount,
    checksum: isCount,
    complete: flag,
    payload: entries
  },
  SYNC_SNAPSHOT: { stream: text, epoch: text, seq: isCount, checksum: isCount },
  SUBSCRIBED: { ref: isCount },
  UNSUBSCRIBED: { ref: isCount },
  ACK: { id: text, epoch: maybe(text), seq: maybe(isCount) },
  REJECT: { id: text, code: isCount, reason: text },
  ERROR: { code: isCount, reason: text, streams: maybe(texts), ref: maybe(isCount) },
  PING: { heads: object },
  BYE: { code: isCount, reconnect: flag }
};
function readFrame(data) {
  let frame;
  try {
    if (typeof data !== "string") throw new TypeError("not a text frame");
    frame = JSON.parse(data);
  } catch (error) {
    throw new FrameError("a server frame is not JSON", { cause: error });
  }
  if (!object(frame)) throw new FrameError("a server frame is not an object");
  const { type } = frame;
  if (isKnown(frame)) {
    for (const [field, check] of Object.entries(SHAPES[type])) {
      if (!check(frame[field])) throw new FrameError(`${type}: bad field ${field}`);
    }
  }
  return frame;
}
function isKnown(frame) {
  return typeof frame.type === "string" && Object.hasOwn(SHAPES, frame.type);
}
function waitOf(value, fallback) {
  return typeof value === "number" && value >= 0 ? value : fallback;
}
function isTerminal(code) {
  return code >= 4500 && code <= 4999;
}

// src/comeback.ts
var INVALID_SEQ_MS = 6e4;
var INVALID_SEQ = 4e3;
var Comeback = class {
  /** Ends in a row without a stable connection between them. */
  failures = 0;
  /** Monotonic time before which the server doesn't want us, whatever the network says. */
  notBefore = 0;
  #invalidSeqs = [];
  #settings;
  #forget;
  constructor(settings, forget) {
    this.#settings = settings;
    this.#forget = forget;
  }
  /** A connection held, or the user asks again: all begins anew. */
  reset() {
    this.failures = this.notBefore = 0;
  }
  /** Why not to come back; empty: come back. */
  refusal({ code, reconnect }, reason) {
    if (reconnect === void 0 ? isTerminal(code) : !reconnect) return reason;
    return this.failures >= this.#settings.maxAttempts ? `gave up after ${this.failures} attempts: ${reason}` : "";
  }
  /** The wait in milliseconds. */
  delay({ code, window }) {
    const { clock, baseMs, maxMs, random, recorder } = this.#settings;
    const now = clock.now();
    if (window) {
      const [min, max] = window;
      this.notBefore = now + min;
      return min + random() * (max - min);
    }
    let ceiling = backoffCeiling(this.failures, baseMs, maxMs);
    if (code === INVALID_SEQ) {
      this.#invalidSeqs = [...this.#invalidSeqs.filter((at) => now - at < INVALID_SEQ_MS), now];
      const { length } = this.#invalidSeqs;
      if (length === 2) this.#forget();
      if (length <= 2) ceiling = baseMs;
    }
    if (ceiling >= maxMs) recorder.count("reconnect_backoff_capped_total");
    return ceiling * random();
  }
};

// src/handshake.ts
var IN_VAIN = 3;
var NO_SUBPROTOCOL = [
  "the consumer lacks DeltaSyncMixin or DedupMixin",
  "the URL leads to another consumer",
  "a proxy drops the header Sec-WebSocket-Protocol"
];
var NO_WELCOME = ["a proxy or middleware swallows frames", "the server can't reach its database", ...NO_SUBPROTOCOL];
var NO_OPEN = [
  "the server can't be reached at this URL",
  "the Origin is not in ALLOWED_ORIGINS",
  // Chromium fails the handshake where the answer names no subprotocol; others open the socket.
  ...NO_SUBPROTOCOL
];
var Handshakes = class {
  #opened = 0;
  #unopened = 0;
  #ever = false;
  welcomed() {
    this.#opened = this.#unopened = 0;
    this.#ever = true;
  }
  /** An attempt failed. @returns the likely causes, when it is time to tell them */
  failed(end, opened) {
    if (end.reconnect !== void 0) return;
    if (end.stranger) return NO_SUBPROTOCOL;
    if (opened) return ++this.#opened % IN_VAIN ? void 0 : NO_WELCOME;
    return !this.#ever && ++this.#unopened === IN_VAIN ? NO_OPEN : void 0;
  }
};

// src/liveness.ts
var DEAD_AFTER_MS = 25e3;
var PROBE_MS = 3e3;
var REARM_MS = 1e3;
var Liveness = class {
  /** Wall time of the last frame: since then nothing is proved. */
  heardAt;
  #heard;
  #armed = 0;
  #deadAfterMs = DEAD_AFTER_MS;
  #stopWatch = () => {
  };
  #stopProbe = null;
  #clock;
  #onDead;
  #signal;
  constructor(clock, signal, onDead) {
    this.#clock = clock;
    this.#signal = signal;
    this.#onDead = onDead;
    this.#heard = clock.now();
    this.heardAt = clock.wall();
    this.#arm(this.#deadAfterMs);
  }
  /** A server with a slower heartbeat is given its beat and the usual grace. */
  expect(heartbeatMs) {
    if (typeof heartbeatMs === "number") this.#deadAfterMs = Math.max(DEAD_AFTER_MS, heartbeatMs + 1e4);
    this.#arm(this.#deadAfterMs);
  }
  /** Any frame came. */
  heard() {
    this.#heard = this.#clock.now();
    this.heardAt = this.#clock.wall();
    this.#stopProbe?.();
    this.#stopProbe = null;
    if (this.#heard - this.#armed >= REARM_MS) this.#arm(this.#deadAfterMs);
  }
  /** Asks for a sign of life with `send`; none within 3 s is the end. */
  probe(send) {
    if (this.#stopProbe) return;
    this.#stopProbe = after(this.#clock, PROBE_MS, this.#signal, () => this.#onDead("no answer to a probe"));
    send();
  }
  #arm(ms) {
    this.#stopWatch();
    this.#armed = this.#clock.now();
    this.#stopWatch = after(this.#clock, ms, this.#signal, () => {
      const left = this.#deadAfterMs - (this.#clock.now() - this.#heard);
      if (left > 0) this.#arm(left);
      else this.#onDead("silence");
    });
  }
};

// src/recorder.ts
var noRecorder = { count() {
}, observe() {
}, gauge() {
} };
function safeRecorder(recorder) {
  const guard = (kind) => (name, value, labels) => {
    try {
      recorder[kind](name, value, labels);
    } catch {
    }
  };
  return { count: guard("count"), observe: guard("observe"), gauge: guard("gauge") };
}
function environment(userAgent = globalThis.navigator?.userAgent ?? "") {
  if (/chrom(e|ium)\//i.test(userAgent)) return "chromium";
  if (/firefox\//i.test(userAgent)) return "firefox";
  return /safari\//i.test(userAgent) ? "safari" : "other";
}

// src/state-machine.ts
var TRANSITIONS = {
  DISCONNECTED: ["RECONNECTING"],
  RECONNECTING: ["CONNECTED", "FAILED", "DISCONNECTED"],
  CONNECTED: ["DISCONNECTED"],
  FAILED: ["DISCONNECTED"]
};
var StateMachine = class {
  #state = "DISCONNECTED";
  #scope = new AbortController();
  #recorder;
  #onChange;
  constructor(recorder, onChange) {
    this.#recorder = recorder;
    this.#onChange = onChange;
  }
  get state() {
    return this.#state;
  }
  /** Aborted when the present state is left. */
  get signal() {
    return this.#scope.signal;
  }
  /**
   * Goes to `to`; staying is a no-op.
   *
   * @throws StateTransitionError when the table doesn't list it; the state stays.
   */
  transition(to, reason) {
    const from = this.#state;
    if (from === to) return;
    if (!TRANSITIONS[from].includes(to)) {
      this.#recorder.count("reconnect_fsm_invalid_transitions_total", 1, { from, to });
      throw new StateTransitionError(from, to);
    }
    const left = this.#scope;
    this.#scope = new AbortController();
    this.#state = to;
    try {
      left.abort(reason);
    } catch {
    }
    this.#recorder.count("reconnect_fsm_transitions_total", 1, { from, to });
    this.#onChange({ from, to, reason });
  }
};

// src/connection.ts
var WAKE_EVERY_MS = 1e3;
var RESTARTS = ["online", "connection", "resume", "clock"];
var Connection = class {
  /** Wall time of the next attempt, while waiting for it. */
  retryAt = null;
  /** Wall time of the last frame that was heard. */
  heardAt;
  #settings;
  #events;
  #machine;
  #attempt = null;
  #attempts = 0;
  #comeback;
  #handshakes = new Handshakes();
  #stable = false;
  #closed = false;
  #suspended = false;
  #liveness = null;
  #stopSleep = () => {
  };
  #wokeAt = -WAKE_EVERY_MS;
  constructor(settings, events) {
    this.#settings = settings;
    this.#events = events;
    this.heardAt = settings.clock.wall();
    this.#comeback = new Comeback(settings, () => events.forget());
    this.#machine = new StateMachine(settings.recorder, (change) => events.stateChange(change));
  }
  get state() {
    return this.#machine.state;
  }
  /** A call, where a comparison would let the compiler believe that the state stays. */
  #is(state) {
    return this.#machine.state === state;
  }
  /** Which attempt of this outage is made or waited for; 0 while connected. */
  get attempt() {
    return this.#is("CONNECTED") ? 0 : this.#comeback.failures + 1;
  }
  start() {
    this.#reconnect("connect", () => this.#try());
  }
  /** @returns whether the link took the frame */
  send(text2) {
    return this.#is("CONNECTED") && (this.#attempt?.transport?.send(text2) ?? false);
  }
  /** For good. */
  close(code, reason) {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave(reason || "closed", code, reason);
  }
  /** The page sleeps: the server shall not count a dead socket, we come back on `wake`. */
  suspend(cause) {
    if (this.#closed || this.#is("FAILED") || this.#suspended) return;
    this.#suspended = true;
    this.#leave(cause, 1e3, cause);
  }
  /** The user asks again: out of FAILED, or out of a wait. */
  retry() {
    if (this.#closed) return;
    if (this.#is("FAILED")) {
      this.#comeback.reset();
      this.#machine.transition("DISCONNECTED", "retry");
      if (this.#is("DISCONNECTED") && !this.#closed) this.#reconnect("retry", () => this.#try());
    } else if (this.#suspended) this.wake("user");
    else if (this.#is("RECONNECTING") && this.#attempt === null) this.#try();
  }
  /** The network or the page came to life (design 11.3). */
  wake(cause, probe) {
    if (this.#closed) return;
    const now = this.#settings.clock.now();
    if (this.#suspended) {
      this.#suspended = false;
      this.#wokeAt = now;
      if (this.#is("DISCONNECTED")) this.#reconnect(cause, () => this.#try());
    } else if (this.#is("CONNECTED")) {
      if (now - this.#wokeAt < WAKE_EVERY_MS) return;
      this.#wokeAt = now;
      if (probe) this.#liveness?.probe(probe);
    } else if (this.#is("RECONNECTING")) {
      if (this.#attempt === null) {
        const due = Math.max(now, this.#wokeAt + WAKE_EVERY_MS, this.#comeback.notBefore);
        if (due <= now) this.#wakeUp(now);
        else if (this.retryAt !== null && due - now < this.retryAt - this.#settings.clock.wall()) this.#sleep(due - now, true);
      } else if (RESTARTS.includes(cause) && now - this.#attempt.startedAt >= WAKE_EVERY_MS) {
        this.#measure("aborted");
        this.#wakeUp(now);
      }
    }
  }
  #wakeUp(now) {
    this.#wokeAt = now;
    this.#try();
  }
  // -- attempts ----------------------------------------------------------------------------------
  #try() {
    const { clock, connectTimeoutMs, open } = this.#settings;
    this.#stopSleep();
    this.#letGo(1e3, "a new attempt");
    this.retryAt = null;
    const scope2 = new AbortController();
    const attempt = {
      number: ++this.#attempts,
      startedAt: clock.now(),
      scope: scope2,
      transport: null,
      opened: false
    };
    this.#attempt = attempt;
    this.#events.progress();
    const current = () => this.#attempt === attempt;
    const ended = (ending) => current() && this.#ended(ending);
    after(clock, connectTimeoutMs, scope2.signal, () => ended({ code: 1006, reason: "connect timeout" }));
    try {
      attempt.transport = open({
        opened: () => current() && this.#opened(attempt),
        received: (data) => current() && this.#received(data),
        ended
      });
    } catch (error) {
      this.#events.error(error);
      ended({ code: 1006, reason: String(error) });
    }
  }
  #opened(attempt) {
    attempt.opened = true;
    attempt.transport?.send(this.#events.hello(attempt.number));
  }
  #received(data) {
    this.#liveness?.heard();
    try {
      const frame = readFrame(data);
      if (!isKnown(frame)) {
        if (this.#is("CONNECTED")) this.#events.frame(frame, 0);
      } else if (frame.type === "BYE") this.#bye(frame);
      else if (frame.type === "WELCOME") this.#welcome(frame);
      else if (this.#is("CONNECTED") || frame.type === "ERROR") this.#events.frame(frame, String(data).length);
    } catch (error) {
      this.#events.error(error);
    }
  }
  #welcome(frame) {
    if (!this.#is("RECONNECTING")) return;
    const { clock, stableMs } = this.#settings;
    const attempt = this.#attempt;
    this.#measure("connected");
    attempt?.scope.abort();
    this.#handshakes.welcomed();
    this.#stable = false;
    this.#machine.transition("CONNECTED", "welcome");
    if (this.#attempt !== attempt || !this.#is("CONNECTED")) return;
    const { signal } = this.#machine;
    this.#liveness = new Liveness(clock, signal, (reason) => this.#ended({ code: 1006, reason }));
    this.#liveness.expect(frame.heartbeat_ms);
    after(clock, stableMs, signal, () => {
      this.#stable = true;
      this.#comeback.reset();
    });
    this.#events.welcome(frame);
  }
  /** Acted upon at once: a close that follows may come late, or with another code. */
  #bye({ code, reason, reconnect, retry_after_ms: window }) {
    const [min, max] = Array.isArray(window) ? window : [0, 0];
    const end = { code, reason: String(reason), reconnect };
    this.#ended(max > 0 && min >= 0 && max >= min ? { ...end, window: [min, max] } : end);
  }
  // -- endings -----------------------------------------------------------------------------------
  #ended(end) {
    const attempt = this.#attempt;
    const reason = `${end.code}${end.reason ? ` ${end.reason}` : ""}`;
    if (this.#is("CONNECTED")) {
      if (!this.#stable) this.#comeback.failures++;
      this.#leave(reason);
      if (this.#closed || !this.#is("DISCONNECTED")) return;
      this.#reconnect(reason, () => this.#next(end, reason));
    } else if (this.#is("RECONNECTING")) {
      this.#measure(end.reason === "connect timeout" ? "timeout" : "failed");
      this.#letGo(1e3, "");
      this.#comeback.failures++;
      const causes = this.#handshakes.failed(end, attempt?.opened ?? false);
      if (causes) this.#events.handshake(causes);
      if (this.#is("RECONNECTING") && this.#attempt === null) this.#next(end, reason);
    }
  }
  #next(end, reason) {
    const refusal = this.#comeback.refusal(end, reason);
    if (refusal) this.#machine.transition("FAILED", refusal);
    else this.#sleep(this.#comeback.delay(end));
  }
  #sleep(ms, quiet = false) {
    const { clock, recorder } = this.#settings;
    this.#stopSleep();
    this.retryAt = clock.wall() + ms;
    if (!quiet) recorder.observe("reconnect_backoff_delay_seconds", ms / 1e3);
    this.#stopSleep = after(clock, ms, this.#machine.signal, () => {
      if (quiet) this.#wokeAt = clock.now();
      this.#try();
    });
    this.#events.progress();
  }
  /** DISCONNECTED to RECONNECTING, and on, unless a listener has interfered. */
  #reconnect(reason, then) {
    this.#machine.transition("RECONNECTING", reason);
    if (this.#is("RECONNECTING") && this.#attempt === null) then();
  }
  /** Into DISCONNECTED from wherever we are. */
  #leave(why, code = 1e3, reason = "") {
    const connected = this.#is("CONNECTED");
    this.#stopSleep();
    this.retryAt = null;
    if (this.#liveness) this.heardAt = this.#liveness.heardAt;
    this.#liveness = null;
    this.#letGo(code, reason);
    if (connected) this.#events.down();
    this.#machine.transition("DISCONNECTED", why);
  }
  /** The old socket is torn down before a new one opens. */
  #letGo(code, reason) {
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.scope.abort();
    attempt?.transport?.close(code, reason);
  }
  #measure(outcome) {
    const attempt = this.#attempt;
    if (!attempt) return;
    const seconds = (this.#settings.clock.now() - attempt.startedAt) / 1e3;
    this.#settings.recorder.observe("reconnect_attempt_duration_seconds", seconds, {
      outcome,
      environment: environment()
    });
  }
};

// src/emitter.ts
var Emitter = class {
  #listeners = /* @__PURE__ */ new Map();
  #offs = /* @__PURE__ */ new Set();
  #onThrow;
  constructor(onThrow) {
    this.#onThrow = onThrow;
  }
  on(event, listener, signal) {
    if (signal?.aborted) return () => {
    };
    const entry2 = (value) => listener(value);
    const listeners = this.#listeners.get(event) ?? /* @__PURE__ */ new Set();
    this.#listeners.set(event, listeners.add(entry2));
    const off = () => {
      listeners.delete(entry2);
      this.#offs.delete(off);
      signal?.removeEventListener("abort", off);
    };
    signal?.addEventListener("abort", off);
    this.#offs.add(off);
    return off;
  }
  /** @returns whether anybody listened */
  emit(event, value) {
    const listeners = this.#listeners.get(event);
    if (!listeners?.size) return false;
    for (const listener of [...listeners]) {
      try {
        listener(value);
      } catch (error) {
        this.#onThrow(error);
      }
    }
    return true;
  }
  clear() {
    for (const off of [...this.#offs]) off();
  }
};

// src/lamport.ts
var LamportClock = class {
  #time = 0;
  get time() {
    return this.#time;
  }
  /** Takes a time that another party showed; nonsense is ignored. */
  observe(time) {
    if (Number.isSafeInteger(time) && time > this.#time) this.#time = time;
  }
  tick() {
    return ++this.#time;
  }
};

// src/network.ts
function browserSources() {
  const { window, document, navigator } = globalThis;
  return { window, document, connection: navigator?.connection };
}
var TICK_MS = 5e3;
var JUMP_MS = 2e4;
var HIDDEN_JUMP_MS = 9e4;
function watchNetwork(sources, clock, signal, { wake, suspend }) {
  const { window, document, connection } = sources;
  const listen = (target, type2, run) => target?.addEventListener(type2, run, { signal });
  listen(window, "online", () => wake("online"));
  listen(window, "pageshow", () => wake("pageshow"));
  listen(window, "pagehide", () => suspend("pagehide"));
  listen(document, "visibilitychange", () => {
    if (document?.visibilityState === "visible") wake("visible");
  });
  listen(document, "freeze", () => suspend("freeze"));
  listen(document, "resume", () => wake("resume"));
  let type = connection?.type;
  listen(connection, "change", () => {
    const before = type;
    type = connection?.type;
    if (type === void 0 || type !== before) wake("connection");
  });
  let last = clock.wall();
  const tick = () => {
    const gap = clock.wall() - last;
    last += gap;
    const hidden = document?.visibilityState === "hidden";
    if (gap < 0 || gap > (hidden ? HIDDEN_JUMP_MS : JUMP_MS)) wake("clock");
    after(clock, TICK_MS, signal, tick);
  };
  after(clock, TICK_MS, signal, tick);
}

// src/bucket.ts
var TokenBucket = class {
  #tokens;
  #at;
  #rate;
  #burst;
  constructor(rate, burst, now) {
    this.#rate = rate;
    this.#burst = this.#tokens = burst;
    this.#at = now;
  }
  /** Takes one token and returns 0, or returns the milliseconds until there is one. */
  take(now) {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#rate / 1e3);
    this.#at = now;
    if (this.#tokens < 1) return Math.ceil((1 - this.#tokens) * 1e3 / this.#rate);
    this.#tokens -= 1;
    return 0;
  }
};

// src/item.ts
function view({ id, stream, value: payload, n, createdAt, failures }) {
  return Object.freeze({ id, stream, payload, state: n === null ? "queued" : "sent", createdAt, failures });
}

// src/lane.ts
var Lane = class {
  /** The last `n` that was given. */
  lastN = 0;
  /** Items in order; the sent ones are a prefix. */
  items = /* @__PURE__ */ new Set();
  /** Monotonic time before which nothing of this stream is sent again. */
  resumeAt = 0;
  /** Retryable refusals in a row. */
  retries = 0;
  /** A number is being persisted. */
  saving = false;
  /** The highest `n` such that every one up to it needs no answer any more. */
  get settled() {
    for (const { n } of this.items) if (n !== null) return n - 1;
    return this.lastN;
  }
};

// src/payload.ts
var MAX_DEPTH = 32;
var MAX_VALUES = 1e3;
var MAX_INTEGER = 2 ** 53;
var EXPONENT_FROM = 1e21;
var STREAM_NAME = /^[A-Za-z0-9._:-]{1,100}$/;
var LONE_SURROGATE = /[\uD800-\uDFFF]/u;
var MAX_MESSAGE_BYTES = 65536;
function checkStream(name) {
  if (!isStream(name)) throw new PayloadError("a stream name is 1 to 100 of A-Z a-z 0-9 . _ : -");
}
function isStream(name) {
  return typeof name === "string" && STREAM_NAME.test(name);
}
function encodePayload(payload, maxBytes = MAX_MESSAGE_BYTES) {
  let text2;
  try {
    text2 = JSON.stringify(payload, refuseSilentLoss);
  } catch (error) {
    throw error instanceof PayloadError ? error : new PayloadError(`can't be encoded: ${String(error)}`, { cause: error });
  }
  if (text2 === void 0) throw new PayloadError("undefined can't be encoded");
  const bytes = new TextEncoder().encode(text2).length;
  if (bytes > maxBytes) throw new PayloadError(`more than ${maxBytes} bytes`);
  const value = JSON.parse(text2);
  checkValue(value);
  return { text: text2, bytes, value };
}
function refuseSilentLoss(_key, value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new PayloadError("NaN and Infinity are not JSON");
  if (typeof value === "function" || typeof value === "symbol") throw new PayloadError(`a ${typeof value} is not JSON`);
  return value;
}
function checkValue(root) {
  let values = 0;
  let level = [root];
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    const deeper = [];
    values += level.length;
    if (values > MAX_VALUES) throw new PayloadError(`more than ${MAX_VALUES} values`);
    for (const value of level) {
      if (typeof value === "string") checkText(value);
      else if (typeof value === "number") {
        const size = Math.abs(value);
        if (size > MAX_INTEGER && size < EXPONENT_FROM) throw new PayloadError("an integer beyond 2^53");
      } else if (Array.isArray(value)) deeper.push(...value);
      else if (value) {
        for (const [key, item] of Object.entries(value)) {
          if (key === "__proto__") throw new PayloadError("the key __proto__ is refused");
          checkText(key);
          deeper.push(item);
        }
      }
    }
    if (!deeper.length) return;
    level = deeper;
  }
  throw new PayloadError(`deeper than ${MAX_DEPTH} levels`);
}
function checkText(text2) {
  if (text2.includes("\0")) throw new PayloadError("a string holds NUL, which databases can't store");
  if (LONE_SURROGATE.test(text2)) throw new PayloadError("a string holds a lone surrogate");
}

// src/outbox.ts
var MAX_FAILURES = 5;
var HIGH_WATER = 0.8;
var MAX_RETRY_MS = 5e3;
var Outbox = class {
  producer = uuid4();
  #items = /* @__PURE__ */ new Map();
  #lanes = /* @__PURE__ */ new Map();
  #settings;
  #events;
  #link = null;
  #bucket = new TokenBucket(1, 1, 0);
  #inFlightLimit = 16;
  #messageBytes = MAX_MESSAGE_BYTES;
  #bytes = 0;
  #sentBytes = 0;
  #sent = 0;
  #high = false;
  #flushes = { attempted: 0, succeeded: 0 };
  #stopTimer = () => {
  };
  #timerAt = Infinity;
  #queue = null;
  #drained = [];
  constructor(settings, events) {
    this.#settings = settings;
    this.#events = events;
  }
  get waiting() {
    return this.#items.size;
  }
  waitingOn(stream) {
    return this.#lanes.get(stream)?.items.size ?? 0;
  }
  /** The same array until something changes. */
  get queue() {
    return this.#queue ??= Object.freeze(Array.from(this.#items.values(), view));
  }
  /** Resolves when nothing waits; rejects with ClosedError when what waited was dropped. */
  drained() {
    const promise = new Promise((resolve, reject) => {
      if (this.#items.size) this.#drained.push({ resolve, reject });
      else resolve();
    });
    promise.catch(() => {
    });
    return promise;
  }
  /**
   * Queues a message. Every fault rejects the promise: PayloadError at once, QueueOverflowError when it is
   * evicted or doesn't fit, Rejected by the server, ClosedError, OutcomeUnknown.
   */
  send(stream, payload, signal, refusal) {
    const id = uuid4();
    let evicted = [];
    const promise = new Promise((resolve, reject) => {
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const { text: text2, bytes, value } = encodePayload(payload, this.#messageBytes);
        evicted = this.#makeRoom(bytes);
        const lane = this.#lane(stream);
        const item = {
          id,
          stream,
          lane,
          text: text2,
          value,
          bytes,
          createdAt: this.#settings.clock.wall(),
          resolve,
          reject,
          n: null,
          inFlight: false,
          failures: 0,
          flushed: false,
          detach: () => signal?.removeEventListener("abort", abort)
        };
        const abort = () => this.#abort(item, signal?.reason);
        signal?.addEventListener("abort", abort);
        this.#items.set(id, item);
        lane.items.add(item);
        this.#bytes += bytes;
      } catch (error) {
        reject(error);
      }
    });
    promise.catch(() => {
    });
    if (this.#items.has(id)) {
      for (const [item, reason] of evicted) this.#events.evict(view(item), reason);
      this.#changed();
      this.pump();
    }
    return Object.assign(promise, { id });
  }
  // -- the link ----------------------------------------------------------------------------------
  /** A new connection: what was sent and not answered goes again, then the rest (protocol 6.2). */
  open(limits) {
    const { clock, recorder } = this.#settings;
    this.#link = new AbortController();
    const positive = (value, fallback) => waitOf(value, fallback) || fallback;
    this.#bucket = new TokenBucket(positive(limits["rate"], 50), positive(limits["burst"], 1e3), clock.now());
    this.#inFlightLimit = positive(limits["in_flight"], 16);
    this.#messageBytes = Math.min(positive(limits["message_bytes"], MAX_MESSAGE_BYTES), MAX_MESSAGE_BYTES);
    for (const lane of this.#lanes.values()) lane.resumeAt = lane.retries = 0;
    for (const item of this.#items.values()) item.flushed = true;
    this.#flushes.attempted += this.#items.size;
    recorder.count("reconnect_flush_attempted_total", this.#items.size);
    this.pump();
  }
  down() {
    this.#link?.abort();
    this.#link = null;
    this.#timerAt = Infinity;
    for (const item of this.#items.values()) item.inFlight = false;
  }
  /** Nothing will be sent any more: every promise settles and is dropped (design 11.1). */
  abandon(reason) {
    this.down();
    for (const item of [...this.#items.values()]) {
      this.#remove(item);
      item.reject(item.n === null ? new ClosedError(reason) : new OutcomeUnknown(reason));
    }
    for (const { reject } of this.#drained.splice(0)) reject(new ClosedError(reason));
    this.#changed();
  }
  /** Sends what may be sent now. Cheap to call too often. */
  pump() {
    if (!this.#link) return;
    const held = /* @__PURE__ */ new Set();
    let room = this.#inFlightLimit;
    for (const item of this.#items.values()) if (item.inFlight) room--;
    for (const fresh of [false, true]) {
      for (const item of this.#items.values()) {
        if (item.inFlight || item.n === null !== fresh || held.has(item.lane)) continue;
        if (room <= 0) return;
        const wait = this.#hold(item);
        if (wait > 0) {
          held.add(item.lane);
          this.#schedule(wait);
          continue;
        }
        const pause = this.#bucket.take(this.#settings.clock.now());
        if (pause > 0) return this.#schedule(pause);
        if (item.n === null && !this.#number(item)) {
          held.add(item.lane);
          continue;
        }
        if (!this.#transmit(item)) return;
        room--;
      }
    }
  }
  ack(frame) {
    const item = this.#items.get(frame.id);
    if (!item) return;
    item.lane.retries = 0;
    if (item.flushed) {
      const { recorder } = this.#settings;
      this.#flushes.succeeded++;
      recorder.count("reconnect_flush_succeeded_total");
      recorder.gauge("reconnect_flush_success_rate", this.#flushes.succeeded / this.#flushes.attempted);
    }
    this.#remove(item);
    this.#events.acked(item.stream, frame);
    const { id, epoch = null, seq = null, result = null, duplicate = false } = frame;
    item.resolve({ id, epoch, seq, result, duplicate });
    this.#changed();
    this.pump();
  }
  reject(frame) {
    const item = this.#items.get(frame.id);
    if (!item || item.n === null) return;
    const { code, reason, detail, retry } = frame;
    const error = new Rejected(code, reason, detail);
    const failed = retry === true && reason === "FAILED" && ++item.failures >= MAX_FAILURES;
    if (retry !== true || failed) {
      this.#remove(item);
      item.reject(error);
      if (failed) this.#events.error(error);
    } else {
      this.#retryLater(item, frame);
    }
    this.#changed();
    this.pump();
  }
  // -- parts -------------------------------------------------------------------------------------
  #retryLater(item, { reason, retry_after_ms }) {
    const { clock, random } = this.#settings;
    const { lane } = item;
    item.inFlight = false;
    if (reason === "ORDER") {
      for (const older of lane.items) {
        if (older === item) break;
        older.inFlight = false;
      }
    }
    const wait = waitOf(retry_after_ms, 0);
    const jitter = random() * Math.max(wait / 2, Math.min(50 * 2 ** Math.min(lane.retries++, 10), MAX_RETRY_MS));
    lane.resumeAt = Math.max(lane.resumeAt, clock.now() + wait + jitter);
  }
  /** How long this item must wait, 0 = not: its stream is syncing, or an earlier one was put off. */
  #hold({ lane, stream }) {
    if (lane.saving) return Infinity;
    return Math.max(lane.resumeAt - this.#settings.clock.now(), this.#events.waitFor(stream));
  }
  /** @returns whether it may be sent now, not only after its number was persisted */
  #number(item) {
    const { lane } = item;
    item.n = ++lane.lastN;
    this.#sent++;
    this.#sentBytes += item.bytes;
    this.#queue = null;
    const { store } = this.#settings;
    if (!store) return true;
    const resume = () => {
      lane.saving = false;
      this.pump();
    };
    try {
      const saved = store.save({ ...view(item), n: item.n, producer: this.producer });
      if (!saved) return true;
      lane.saving = true;
      saved.then(resume, (error) => {
        this.#events.error(error);
        resume();
      });
      return false;
    } catch (error) {
      this.#events.error(error);
      return true;
    }
  }
  #transmit(item) {
    const { id, n, stream, lane, text: text2 } = item;
    const clock = this.#settings.lamport.tick();
    const head = { type: "MESSAGE", id, producer: this.producer, n, stream, settled: lane.settled, clock };
    item.inFlight = this.#events.transmit(`${JSON.stringify(head).slice(0, -1)},"payload":${text2}}`);
    return item.inFlight;
  }
  /** @returns what had to go */
  #makeRoom(bytes) {
    const { maxQueue, maxQueueBytes, recorder } = this.#settings;
    if (this.#sent + 1 > maxQueue || this.#sentBytes + bytes > maxQueueBytes) {
      recorder.count("reconnect_outbox_refused_total");
      throw new QueueOverflowError("everything in the outbox was sent already and waits for an answer");
    }
    const evicted = [];
    for (const item of this.#items.values()) {
      const reason = this.#items.size >= maxQueue ? "count" : "bytes";
      if (reason === "bytes" && this.#bytes + bytes <= maxQueueBytes) break;
      if (item.n !== null) continue;
      this.#remove(item);
      recorder.count("reconnect_outbox_evicted_total", 1, { reason });
      item.reject(new QueueOverflowError(`evicted by newer messages (${reason})`));
      evicted.push([item, reason]);
    }
    return evicted;
  }
  #abort(item, reason) {
    if (!this.#items.has(item.id)) return;
    if (item.n === null) {
      this.#remove(item);
      item.reject(reason);
      this.#changed();
      this.pump();
    } else {
      item.reject(new OutcomeUnknown("aborted after it was sent", { cause: reason }));
    }
  }
  #remove(item) {
    item.detach();
    this.#items.delete(item.id);
    item.lane.items.delete(item);
    this.#bytes -= item.bytes;
    if (item.n !== null) {
      this.#sent--;
      this.#sentBytes -= item.bytes;
    }
    try {
      this.#settings.store?.remove(item.id);
    } catch (error) {
      this.#events.error(error);
    }
  }
  #changed() {
    this.#queue = null;
    const waiting = this.#items.size;
    this.#settings.recorder.observe("ws_queue_depth", waiting);
    this.#events.queueChange(waiting);
    const high = waiting >= this.#settings.maxQueue * HIGH_WATER;
    if (high && !this.#high) this.#events.highWater(waiting);
    this.#high = high;
    if (!waiting) for (const { resolve } of this.#drained.splice(0)) resolve();
  }
  #schedule(ms) {
    if (!this.#link || ms === Infinity) return;
    const at = this.#settings.clock.now() + ms;
    if (at >= this.#timerAt) return;
    this.#stopTimer();
    this.#timerAt = at;
    this.#stopTimer = after(this.#settings.clock, ms, this.#link.signal, () => {
      this.#timerAt = Infinity;
      this.pump();
    });
  }
  #lane(stream) {
    const lane = this.#lanes.get(stream) ?? new Lane();
    this.#lanes.set(stream, lane);
    return lane;
  }
};

// src/receipts.ts
var MAX_A_STREAM = 1e3;
var Receipts = class {
  #streams = /* @__PURE__ */ new Map();
  keep({ id, stream, seq }) {
    const kept = this.#streams.get(stream) ?? /* @__PURE__ */ new Map();
    this.#streams.set(stream, kept.set(seq, id));
    if (kept.size > MAX_A_STREAM) kept.delete(kept.keys().next().value);
  }
  /** The position moves over these entries. */
  *passed(stream, entries2) {
    const kept = this.#streams.get(stream);
    if (!kept?.size) return;
    for (const { seq, key } of entries2) {
      const id = kept.get(seq);
      if (id !== void 0 && id !== key) yield { id, stream, seq };
      kept.delete(seq);
    }
  }
  /** A snapshot leads to `seq`: what lies below can no longer be compared. */
  jumped(stream, seq) {
    const kept = this.#streams.get(stream);
    for (const at of kept?.keys() ?? []) if (at <= seq) kept?.delete(at);
  }
  forget(stream) {
    this.#streams.delete(stream);
  }
};

// src/enrolment.ts
function claim(stream) {
  return stream.wantsSnapshot ? null : toWire(stream.cursor.position);
}
function ignores(stream) {
  return !stream.joined || stream.ref !== null || stream.dirty;
}
var Enrolment = class {
  #ref = 0;
  #scheduled = false;
  #streams;
  #events;
  constructor(streams, events) {
    this.#streams = streams;
    this.#events = events;
  }
  /** Will be named in a SUBSCRIBE; those of one turn of the event loop share it. */
  want(stream) {
    stream.stopRetry?.();
    stream.stopRetry = null;
    stream.dirty = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
  /** Names them now. Without a link HELLO does. */
  flush() {
    if (!this.#streams.connected) return;
    const wanted = [...this.#streams].filter((stream) => stream.dirty);
    if (!wanted.length) return;
    const ref = ++this.#ref;
    for (const stream of wanted) {
      stream.cursor.dropParts();
      stream.dirty = false;
      stream.joined = true;
      stream.ref = ref;
      stream.catchUp(this.#events.now());
    }
    const streams = Object.fromEntries(wanted.map((stream) => [stream.name, claim(stream)]));
    this.#events.send({ type: "SUBSCRIBE", ref, streams });
    this.#events.changed();
  }
  leave(streams) {
    this.#events.send({ type: "UNSUBSCRIBE", ref: ++this.#ref, streams });
  }
  /** A SUBSCRIBE of nothing, which a living server answers at once. */
  probe() {
    this.#events.send({ type: "SUBSCRIBE", ref: ++this.#ref, streams: {} });
  }
};

// src/cursor.ts
var Cursor = class {
  position = null;
  #parts = null;
  /** A snapshot is on its way in parts. */
  get collecting() {
    return this.#parts !== null;
  }
  forget() {
    this.position = null;
    this.#parts = null;
  }
  dropParts() {
    this.#parts = null;
  }
  delta({ epoch, from, to, checksum, payload }) {
    const { position } = this;
    if (position?.epoch !== epoch) return { kind: "refused", why: "epoch" };
    if (payload.length !== to - from || payload.some((entry2, index) => entry2.seq !== from + index + 1)) {
      return { kind: "refused", why: "malformed" };
    }
    if (from > position.seq) return { kind: "refused", why: "hole" };
    if (to < position.seq) return { kind: "repeat" };
    const entries2 = payload.slice(position.seq - from);
    const ids = entries2.map((entry2) => entry2.id);
    if (fold(position.checksum, ids) !== checksum) return { kind: "refused", why: "checksum" };
    if (!entries2.length && from < to) return { kind: "repeat" };
    this.position = { epoch, seq: to, checksum };
    return { kind: "applied", entries: entries2 };
  }
  snapshot(frame) {
    const { epoch, seq, checksum } = frame;
    let state = frame.payload;
    if (frame.part !== void 0) {
      const collected = this.#collect(frame);
      if (!collected) return { kind: "refused" };
      if (collected.chunks.length < collected.parts) return { kind: "part", part: collected.chunks.length };
      try {
        state = JSON.parse(collected.chunks.join(""));
      } catch {
        this.#parts = null;
        return { kind: "refused" };
      }
    }
    this.#parts = null;
    this.position = { epoch, seq, checksum };
    return { kind: "applied", state: state ?? null };
  }
  #collect({ epoch, seq, checksum, part, parts, chunk }) {
    if (part === 1) this.#parts = { epoch, seq, checksum, parts: parts ?? 0, chunks: [] };
    const old = this.#parts;
    const continues = old !== null && old.epoch === epoch && old.seq === seq && old.parts === parts && old.chunks.length + 1 === part && part <= parts && typeof chunk === "string";
    if (!continues) return this.#parts = null;
    old.chunks.push(chunk);
    return old;
  }
};

// src/stream.ts
var MEND_AGAIN_MS = 3e4;
var Stream = class {
  cursor = new Cursor();
  subscribers = /* @__PURE__ */ new Set();
  /** The server serves it on this socket, or was asked to. */
  joined = false;
  /** Joined by the server itself: stays when the last subscriber goes. */
  uninvited = false;
  /** The SUBSCRIBE whose answer is awaited: until then sync frames are those of an older subscription. */
  ref = null;
  /** To be named in the next SUBSCRIBE. */
  dirty = false;
  /** Somebody needs the state, not only what changed since the position. */
  wantsSnapshot = false;
  /** A delta with `complete` came since it was joined (protocol 5.5). */
  live = false;
  /** Monotonic time at which catching up, or being live, began. */
  changedAt;
  /** Entries of this catching up. */
  caughtUp = 0;
  /** Wall time of the last proof that this is the newest. */
  verifiedAt;
  /** Wall time since which a handler's failure has spoilt the screen. */
  brokenAt = null;
  /** The server can't verify its own head. */
  unverified = false;
  #mendedAt = null;
  /** Frames refused in a row. */
  heals = 0;
  stopRetry = null;
  /** Applied since the last ACK. */
  entries = 0;
  size = 0;
  name;
  constructor(name, now, wall) {
    this.name = name;
    this.changedAt = now;
    this.verifiedAt = wall;
  }
  get seq() {
    return this.cursor.position?.seq ?? 0;
  }
  /** The socket is gone, or the server ended the subscription. */
  part() {
    this.joined = this.live = false;
    this.ref = null;
    this.cursor.dropParts();
    this.stopRetry?.();
    this.stopRetry = null;
    this.entries = this.size = 0;
  }
  catchUp(now) {
    this.live = false;
    this.caughtUp = 0;
    this.changedAt = now;
  }
  goLive(now, wall) {
    if (!this.live) this.changedAt = now;
    this.live = true;
    this.heals = 0;
    this.prove(wall);
  }
  prove(wall) {
    this.unverified = false;
    this.verifiedAt = wall;
  }
  /** A handler threw. @returns whether a snapshot may mend it */
  break(now, wall) {
    this.brokenAt ??= wall;
    if (this.#mendedAt !== null && !(this.live && now - Math.max(this.changedAt, this.#mendedAt) >= MEND_AGAIN_MS)) {
      return false;
    }
    this.#mendedAt = now;
    return true;
  }
  sync(connected, waiting) {
    if (this.brokenAt !== null) return { kind: "stale", since: this.brokenAt, waiting };
    if (!connected || this.unverified) return { kind: "stale", since: this.verifiedAt, waiting };
    return this.live ? { kind: "live", waiting } : { kind: "catching-up", n: this.caughtUp, waiting };
  }
};

// src/streams.ts
var SYNC_WAIT_MS = 1e4;
var DOUBT_AFTER = 3;
var DEFAULTS = { streams: 100, ack_entries: 100, ack_bytes: 64 * 1024 };
var Streams = class {
  #streams = /* @__PURE__ */ new Map();
  #settings;
  #events;
  #link = null;
  #greeted = /* @__PURE__ */ new Set();
  #enrolment;
  #limits = DEFAULTS;
  constructor(settings, events) {
    this.#settings = settings;
    this.#events = events;
    this.#enrolment = new Enrolment(this, {
      now: () => settings.clock.now(),
      send: (frame) => this.#send(frame),
      changed: () => events.changed()
    });
  }
  [Symbol.iterator]() {
    return this.#streams.values();
  }
  get(name) {
    return this.#streams.get(name);
  }
  get connected() {
    return this.#link !== null;
  }
  /** How long a message for this stream still waits: 0 = not at all (protocol 6.2). */
  waitFor(name) {
    const stream = this.#streams.get(name);
    if (!stream || stream.live) return 0;
    return Math.max(0, stream.changedAt + SYNC_WAIT_MS - this.#settings.clock.now());
  }
  // -- subscribers -------------------------------------------------------------------------------
  /** @throws PayloadError for a bad name, or more streams than a socket carries */
  add(name, options) {
    checkStream(name);
    let stream = this.#streams.get(name);
    if (!stream) {
      if (this.#streams.size >= this.#limits.streams) {
        throw new PayloadError(`at most ${this.#limits.streams} streams a socket`);
      }
      stream = this.#track(name);
      this.#enrolment.want(stream);
    } else if (stream.cursor.position || stream.joined) {
      stream.wantsSnapshot = true;
      if (!stream.stopRetry) this.#enrolment.want(stream);
    }
    const subscriber = { options, sync: null };
    stream.subscribers.add(subscriber);
    this.#events.changed();
    return { stream, subscriber };
  }
  remove(stream, subscriber) {
    stream.subscribers.delete(subscriber);
    if (stream.subscribers.size || stream.uninvited || this.#streams.get(stream.name) !== stream) return;
    this.#drop(stream);
    if (stream.joined) this.#enrolment.leave([stream.name]);
    stream.part();
  }
  // -- the link ----------------------------------------------------------------------------------
  /** Asks for a sign of life (design 11.3). */
  probe() {
    this.#enrolment.probe();
  }
  /** The positions for HELLO: everything is resumed at once (protocol 3). */
  claims() {
    this.#greeted = new Set([...this.#streams.values()].slice(0, this.#limits.streams));
    for (const stream of this.#greeted) stream.dirty = false;
    return Object.fromEntries(Array.from(this.#greeted, (stream) => [stream.name, claim(stream)]));
  }
  /** WELCOME answers for the streams of HELLO (protocol 5.3). */
  welcome({ streams, limits }) {
    this.#link = new AbortController();
    this.#limits = Object.fromEntries(
      Object.entries(DEFAULTS).map(([name, value]) => [name, waitOf(limits[name], value) || value])
    );
    const now = this.#settings.clock.now();
    const left = [];
    for (const stream of this.#greeted) {
      stream.joined = true;
      if (!this.#streams.has(stream.name) && !streams.includes(stream.name)) left.push(stream.name);
    }
    for (const name of streams) {
      if (!isStream(name)) continue;
      const stream = this.#streams.get(name) ?? this.#track(name);
      stream.joined = stream.uninvited = true;
    }
    for (const stream of this) {
      stream.catchUp(now);
      if (!stream.joined) stream.dirty = true;
    }
    this.#greeted.clear();
    if (left.length) this.#enrolment.leave(left);
    this.#enrolment.flush();
    this.#events.changed();
  }
  down() {
    this.#link?.abort();
    this.#link = null;
    for (const stream of this) stream.part();
    this.#events.changed();
  }
  /** Everything forgotten, as after repeated INVALID_SEQ (protocol 5.8). */
  forget() {
    for (const stream of this) stream.cursor.forget();
  }
  /** @returns whether the frame was for the streams */
  receive(frame, size) {
    switch (frame.type) {
      case "SYNC_DELTA":
        this.#delta(frame, size);
        return true;
      case "SYNC_SNAPSHOT":
        this.#snapshot(frame);
        return true;
      case "SUBSCRIBED":
      case "UNSUBSCRIBED":
        this.#answered(frame.ref);
        return true;
      case "PING":
        this.#ping(frame);
        return true;
      case "ERROR":
        this.#error(frame);
        return true;
      default:
        return false;
    }
  }
  // -- frames ------------------------------------------------------------------------------------
  #delta(frame, size) {
    const stream = this.#streams.get(frame.stream);
    if (!stream || ignores(stream)) return;
    const outcome = stream.cursor.delta(frame);
    if (outcome.kind === "refused") {
      this.#settings.recorder.count("reconnect_frames_refused_total", 1, { why: outcome.why });
      this.#heal(stream);
      return;
    }
    if (outcome.kind === "repeat") return;
    const { clock, lamport } = this.#settings;
    const { entries: entries2 } = outcome;
    const { from, to, complete } = frame;
    if (!stream.live) stream.caughtUp += entries2.length;
    if (complete) stream.goLive(clock.now(), clock.wall());
    for (const entry2 of entries2) lamport.observe(entry2.clock);
    if (entries2.length) {
      this.#events.entries(stream.name, entries2);
      const first = entries2[0].seq - 1;
      this.#call(stream, ({ onEvents }) => onEvents?.(entries2, { from: Math.max(from, first), to, complete }));
    }
    stream.entries += entries2.length;
    stream.size += size;
    if (!complete || stream.entries >= this.#limits.ack_entries || stream.size >= this.#limits.ack_bytes) {
      this.#acknowledge(stream);
    }
    this.#events.changed();
  }
  #snapshot(frame) {
    const stream = this.#streams.get(frame.stream);
    if (!stream || ignores(stream)) return;
    const outcome = stream.cursor.snapshot(frame);
    if (outcome.kind === "part") {
      this.#send({ type: "ACK", streams: {}, parts: { [stream.name]: outcome.part } });
    } else if (outcome.kind === "refused") {
      this.#heal(stream);
    } else {
      const { clock } = this.#settings;
      const { reason, exact = true, partial = false, seq } = frame;
      stream.catchUp(clock.now());
      stream.wantsSnapshot = false;
      stream.brokenAt = null;
      stream.verifiedAt = clock.wall();
      this.#events.jumped(stream.name, seq);
      this.#call(stream, ({ onSnapshot }) => onSnapshot?.(outcome.state, { reason, exact, partial, seq }));
      this.#acknowledge(stream);
      this.#events.changed();
    }
  }
  #answered(ref) {
    for (const stream of this) {
      if (stream.ref !== ref) continue;
      stream.ref = null;
      stream.catchUp(this.#settings.clock.now());
    }
    this.#events.changed();
  }
  #ping({ t, heads }) {
    const streams = {};
    for (const stream of this) {
      if (!ignores(stream) && stream.cursor.position) {
        streams[stream.name] = toWire(stream.cursor.position);
        stream.entries = stream.size = 0;
      }
    }
    this.#send({ type: "PONG", t, streams });
    for (const stream of this) {
      if (ignores(stream) || stream.cursor.collecting) continue;
      const head = fromWire(Object.hasOwn(heads, stream.name) ? heads[stream.name] : null);
      const { position } = stream.cursor;
      if (!head) stream.unverified = stream.live;
      else if (head.epoch === position?.epoch) {
        const lost = head.seq > position.seq || head.seq === position.seq && head.checksum !== position.checksum;
        if (lost) this.#heal(stream);
        else if (stream.live) stream.prove(this.#settings.clock.wall());
      }
    }
    this.#events.changed();
  }
  #error({ code, reason, detail, ref, streams = [], retry_after_ms: wait }) {
    this.#events.error(new Rejected(code, reason, detail, streams));
    for (const name of streams ?? []) {
      const stream = this.#streams.get(name);
      if (!stream) continue;
      if (typeof ref === "number" && stream.ref !== null && ref < stream.ref) continue;
      if (reason === "INVALID_SEQ") stream.cursor.forget();
      else if (code === 503 || code === 429) {
        const { clock, random, baseMs } = this.#settings;
        stream.part();
        const ms = waitOf(wait, baseMs * 2) * (1 + random() / 2);
        if (this.#link) stream.stopRetry = after(clock, ms, this.#link.signal, () => this.#enrolment.want(stream));
      } else if (code === 403 || code === 413) {
        stream.part();
        this.#drop(stream);
        for (const { options } of stream.subscribers) {
          try {
            options.onSync?.(stream.sync(false, 0));
          } catch (error) {
            this.#events.error(error);
          }
        }
        stream.subscribers.clear();
      }
    }
    this.#events.changed();
  }
  // -- what follows ------------------------------------------------------------------------------
  /** Hands something to every subscriber. One that throws spoils the stream, not the others (protocol 5.6). */
  #call(stream, run) {
    let failed = false;
    for (const subscriber of [...stream.subscribers]) {
      try {
        if (stream.subscribers.has(subscriber)) run(subscriber.options);
      } catch (error) {
        failed = true;
        this.#events.error(error);
      }
    }
    const { clock } = this.#settings;
    if (failed && this.#streams.get(stream.name) === stream && stream.break(clock.now(), clock.wall())) {
      stream.wantsSnapshot = true;
      this.#enrolment.want(stream);
    }
  }
  /** Continuity can't be proved: ask again from the position that is (protocol 5.1). */
  #heal(stream) {
    if (stream.stopRetry || !this.#link) return;
    const { clock, random, baseMs, maxMs, recorder } = this.#settings;
    const tried = stream.heals++;
    recorder.count("reconnect_holes_healed_total");
    stream.cursor.dropParts();
    if (tried >= DOUBT_AFTER) stream.cursor.forget();
    if (!tried) return this.#enrolment.want(stream);
    const ms = calculateBackoff(tried, baseMs, maxMs, random);
    stream.stopRetry = after(clock, ms, this.#link.signal, () => this.#enrolment.want(stream));
  }
  #acknowledge(stream) {
    if (ignores(stream)) return;
    stream.entries = stream.size = 0;
    this.#send({ type: "ACK", streams: { [stream.name]: toWire(stream.cursor.position) } });
  }
  #send(frame) {
    if (this.#link) this.#events.send(frame);
  }
  #track(name) {
    const { clock } = this.#settings;
    const stream = new Stream(name, clock.now(), clock.wall());
    this.#streams.set(name, stream);
    return stream;
  }
  #drop(stream) {
    this.#streams.delete(stream.name);
    this.#events.gone(stream.name);
    this.#events.changed();
  }
};

// src/transport.ts
var OPEN = 1;
function socketTransport(url, Socket) {
  return (events) => {
    const socket = new Socket(url, [SUBPROTOCOL]);
    const detach = () => {
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
    };
    const close = (code, reason) => {
      detach();
      try {
        socket.close(code, reason);
      } catch {
        try {
          socket.close();
        } catch {
        }
      }
    };
    const end = (ending) => {
      detach();
      events.ended(ending);
    };
    let opened = false;
    socket.onopen = () => {
      opened = true;
      if (socket.protocol === SUBPROTOCOL) return events.opened();
      close(1e3, "no subprotocol");
      events.ended({ code: 1006, reason: "the server chose no subprotocol", stranger: true });
    };
    socket.onmessage = (event) => events.received(event.data);
    socket.onclose = (event) => end({ code: event.code ?? 1006, reason: event.reason ?? "" });
    socket.onerror = () => {
      if (!opened) end({ code: 1006, reason: "can't connect" });
    };
    return {
      send(text2) {
        if (socket.readyState !== OPEN || text2.length > MAX_FRAME) return false;
        try {
          socket.send(text2);
          return true;
        } catch {
          return false;
        }
      },
      close
    };
  };
}
function resolveUrl(url, base = globalThis.location?.href) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(resolved.protocol)) throw new TypeError(`not a WebSocket URL: ${resolved.href}`);
  resolved.hash = "";
  return resolved.href;
}

// src/sync.ts
function sameSync(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
function worst(states, waiting) {
  let since = Infinity;
  let n = 0;
  let behind = false;
  for (const state of states) {
    if (state.kind === "stale") since = Math.min(since, state.since);
    if (state.kind === "catching-up") {
      behind = true;
      n += state.n;
    }
  }
  if (since < Infinity) return { kind: "stale", since, waiting };
  return behind ? { kind: "catching-up", n, waiting } : { kind: "live", waiting };
}
function describe(sync) {
  const waiting = sync.waiting ? `${sync.waiting} waiting` : "";
  if (sync.kind === "live") return waiting || "live";
  const text2 = sync.kind === "stale" ? `stale since ${new Date(sync.since).toTimeString().slice(0, 8)}` : `catching up (${sync.n})`;
  return waiting ? `${text2}, ${waiting}` : text2;
}

// src/view.ts
var View = class {
  #sync = null;
  #toldSync = null;
  #snapshot = null;
  #toldSnapshot = null;
  #stale = true;
  #scheduled = false;
  #connection;
  #streams;
  #outbox;
  #names;
  #tell;
  constructor(connection, streams, outbox, names, tell) {
    this.#connection = connection;
    this.#streams = streams;
    this.#outbox = outbox;
    this.#names = names;
    this.#tell = tell;
  }
  syncOf(stream) {
    const tracked = this.#streams.get(stream.name) === stream;
    return stream.sync(tracked && this.#streams.connected, this.#outbox.waitingOn(stream.name));
  }
  get sync() {
    const next = this.#computeSync();
    if (!this.#sync || !sameSync(this.#sync, next)) this.#sync = Object.freeze(next);
    return this.#sync;
  }
  get snapshot() {
    if (this.#stale || !this.#snapshot) {
      this.#stale = false;
      const next = this.#computeSnapshot();
      if (!this.#snapshot || JSON.stringify(next) !== JSON.stringify(this.#snapshot)) {
        this.#snapshot = Object.freeze(next);
      }
    }
    return this.#snapshot;
  }
  /** Something may have changed: told when this turn of the event loop is done. */
  touch() {
    this.#stale = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.refresh();
    });
  }
  /** Tells what changed since it was last told. */
  refresh() {
    this.#stale = true;
    for (const stream of this.#streams) {
      const sync2 = this.syncOf(stream);
      for (const subscriber of [...stream.subscribers]) {
        if (subscriber.sync && sameSync(subscriber.sync, sync2)) continue;
        subscriber.sync = sync2;
        try {
          subscriber.options.onSync?.(sync2);
        } catch (error) {
          this.#tell.error(error);
        }
      }
    }
    const { sync, snapshot } = this;
    if (sync !== this.#toldSync) this.#tell.syncChange(this.#toldSync = sync);
    if (snapshot !== this.#toldSnapshot) this.#tell.change(this.#toldSnapshot = snapshot);
  }
  #computeSync() {
    const states = [];
    for (const stream of this.#streams) if (stream.subscribers.size) states.push(this.syncOf(stream));
    const { waiting } = this.#outbox;
    if (states.length || this.#streams.connected) return worst(states, waiting);
    return { kind: "stale", since: this.#connection.heardAt, waiting };
  }
  #computeSnapshot() {
    const { state, attempt, retryAt } = this.#connection;
    const streams = {};
    for (const stream of this.#streams) {
      streams[stream.name] = Object.freeze({ seq: stream.seq, kind: this.syncOf(stream).kind });
    }
    Object.freeze(streams);
    return { state, sync: this.sync, waiting: this.#outbox.waiting, attempt, retryAt, streams, ...this.#names() };
  }
};

// src/client.ts
var Client = class {
  clientId;
  url;
  #emitter;
  #connection;
  #streams;
  #outbox;
  #lamport = new LamportClock();
  #receipts = new Receipts();
  #view;
  /** Aborted by `close`: whatever listens for the client's life ends with it. */
  #life = new AbortController();
  /** Take subscriptions off signals that outlive the client. */
  #detachers = /* @__PURE__ */ new Set();
  #traceparent;
  #session = null;
  #identity;
  /** @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds */
  constructor(url, options = {}) {
    const { baseMs = 500, maxMs = 2e4, connectTimeoutMs = 8e3, stableMs = 5e3, signal } = options;
    const { maxAttempts = Infinity, maxQueue = 1e3, maxQueueBytes = 8 * 2 ** 20, networkAware = true } = options;
    const clock = options.clock ?? systemClock;
    const random = options.random ?? secureRandom;
    const recorder = options.recorder ? safeRecorder(options.recorder) : noRecorder;
    const lamport = this.#lamport;
    backoffCeiling(0, baseMs, maxMs);
    this.url = resolveUrl(url);
    this.clientId = options.clientId ?? uuid4();
    this.#traceparent = options.traceparent;
    this.#emitter = new Emitter((error2) => (globalThis.reportError ?? console.error)(error2));
    const error = (cause) => this.#error(cause);
    const changed = () => this.#view.touch();
    this.#streams = new Streams(
      { clock, random, recorder, lamport, baseMs, maxMs },
      {
        send: (frame) => this.#connection.send(JSON.stringify(frame)),
        error,
        changed,
        entries: (stream, entries2) => {
          for (const lost of this.#receipts.passed(stream, entries2)) {
            recorder.count("reconnect_messages_lost_total");
            this.#emitter.emit("lost", lost);
          }
        },
        jumped: (stream, seq) => this.#receipts.jumped(stream, seq),
        gone: (stream) => this.#receipts.forget(stream)
      }
    );
    this.#outbox = new Outbox(
      { clock, random, recorder, lamport, maxQueue, maxQueueBytes, store: options.store },
      {
        transmit: (text2) => this.#connection.send(text2),
        waitFor: (stream) => this.#streams.waitFor(stream),
        error,
        queueChange: (waiting) => {
          this.#emitter.emit("queueChange", { waiting });
          this.#view.touch();
        },
        evict: (entry2, reason) => this.#emitter.emit("evict", { entry: entry2, reason }),
        highWater: (waiting) => this.#emitter.emit("highWater", { waiting }),
        acked: (stream, { id, seq }) => {
          const tracked = this.#streams.get(stream);
          if (tracked && typeof seq === "number" && seq > tracked.seq) this.#receipts.keep({ id, stream, seq });
        }
      }
    );
    const Socket = options.WebSocket ?? globalThis.WebSocket;
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
        progress: changed
      }
    );
    this.#view = new View(
      this.#connection,
      this.#streams,
      this.#outbox,
      () => ({ clientId: this.clientId, session: this.#session }),
      {
        syncChange: (sync) => this.#emitter.emit("syncChange", sync),
        change: (snapshot) => this.#emitter.emit("change", snapshot),
        error
      }
    );
    if (networkAware) {
      watchNetwork(networkAware === true ? browserSources() : networkAware, clock, this.#life.signal, {
        wake: (cause) => this.#connection.wake(cause, () => this.#streams.probe()),
        suspend: (cause) => this.#connection.suspend(cause)
      });
    }
    signal?.addEventListener("abort", () => this.close(1e3, "aborted"), { signal: this.#life.signal });
    if (signal?.aborted) this.close(1e3, "aborted");
    else this.#connection.start();
  }
  get state() {
    return this.#connection.state;
  }
  /** How fresh the subscribed streams are, as one. The same object until it changes. */
  get sync() {
    return this.#view.sync;
  }
  /** The same object until something in it changes: made for `useSyncExternalStore`. */
  get snapshot() {
    return this.#view.snapshot;
  }
  /** Messages without an answer. */
  get waiting() {
    return this.#outbox.waiting;
  }
  /** The messages without an answer, oldest first. The same array until it changes. */
  get queue() {
    return this.#outbox.queue;
  }
  /** Listens until the returned function is called, `signal` aborts, or the client is closed. */
  on(event, handler, { signal } = {}) {
    return this.#emitter.on(event, handler, signal);
  }
  /**
   * Follows a stream: a snapshot first, then every entry in order. Several subscribers of a stream share
   * one subscription at the server; when one joins, all get a snapshot.
   *
   * @throws PayloadError for a bad stream name or too many streams, ClosedError after `close`
   */
  subscribe(name, options = {}) {
    if (this.#life.signal.aborted) throw new ClosedError("the client is closed");
    const streams = this.#streams;
    const { stream, subscriber } = streams.add(name, options);
    const { signal } = options;
    const view2 = this.#view;
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
        return view2.syncOf(stream);
      },
      close
    };
  }
  /**
   * Sends a message; it is queued while there is no connection and sent again until its fate is known.
   *
   * @param signal aborting withdraws a message that was not sent yet
   * @returns a promise of the server's acknowledgement, with the message's `id`. It rejects with PayloadError,
   *   QueueOverflowError, Rejected, ClosedError (never sent) or OutcomeUnknown (sent, no answer).
   */
  send(stream, payload, { signal } = {}) {
    const refusal = this.#life.signal.aborted ? new ClosedError("the client is closed") : this.state === "FAILED" ? new ClosedError("the connection failed; retry() first") : void 0;
    return this.#outbox.send(stream, payload, signal, refusal);
  }
  /** Resolves when every message is answered; rejects with ClosedError when some were dropped. */
  drained() {
    return this.#outbox.drained();
  }
  /** The user asks again: from FAILED, or instead of waiting for the next attempt. */
  retry() {
    this.#connection.retry();
  }
  /** Ends the client for good. Unsent messages reject with ClosedError, sent ones with OutcomeUnknown. */
  close(code = 1e3, reason = "") {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#connection.close(code, reason);
    this.#outbox.abandon("the client was closed");
    this.#view.refresh();
    this.#emitter.clear();
    for (const detach of [...this.#detachers]) detach();
  }
  /** Aborted when the client closes. */
  get signal() {
    return this.#life.signal;
  }
  // -- frames ------------------------------------------------------------------------------------
  #hello(attempt) {
    let traceparent;
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
      traceparent
    });
  }
  #welcome(frame) {
    this.#session = frame.session;
    this.#identity = frame.identity ?? this.#identity;
    this.#lamport.observe(frame.clock);
    this.#streams.welcome(frame);
    this.#outbox.open(frame.limits);
  }
  #frame(frame, size) {
    if (!isKnown(frame)) this.#emitter.emit("message", frame);
    else if (frame.type === "ACK") this.#outbox.ack(frame);
    else if (frame.type === "REJECT") this.#outbox.reject(frame);
    else if (this.#streams.receive(frame, size) && this.#outbox.waiting) this.#outbox.pump();
  }
  #error(error) {
    if (!this.#emitter.emit("error", error)) console.error(error);
  }
};

// src/api.ts
var clients = /* @__PURE__ */ new Set();
function connect(url, options) {
  const client = new Client(url, options);
  if (!client.signal.aborted) {
    clients.add(client);
    client.signal.addEventListener("abort", () => clients.delete(client));
  }
  return client;
}
var api = {
  connect,
  clients,
  describe,
  calculateBackoff,
  uuid4,
  StateTransitionError,
  QueueOverflowError,
  OutcomeUnknown,
  Rejected,
  ClosedError,
  PayloadError,
  FrameError
};

// src/index.ts
var KEY = /* @__PURE__ */ Symbol.for("reconnect_channels.v1");
var scope = globalThis;
var ReconnectChannels = scope[KEY] ??= Object.freeze(api);
scope.ReconnectChannels ??= ReconnectChannels;
var {
  connect: connect2,
  describe: describe2,
  calculateBackoff: calculateBackoff2,
  uuid4: uuid42,
  StateTransitionError: StateTransitionError2,
  QueueOverflowError: QueueOverflowError2,
  OutcomeUnknown: OutcomeUnknown2,
  Rejected: Rejected2,
  ClosedError: ClosedError2,
  PayloadError: PayloadError2,
  FrameError: FrameError2
} = ReconnectChannels;
var index_default = ReconnectChannels;
export {
  ClosedError2 as ClosedError,
  FrameError2 as FrameError,
  OutcomeUnknown2 as OutcomeUnknown,
  PayloadError2 as PayloadError,
  QueueOverflowError2 as QueueOverflowError,
  ReconnectChannels,
  Rejected2 as Rejected,
  StateTransitionError2 as StateTransitionError,
  calculateBackoff2 as calculateBackoff,
  connect2 as connect,
  index_default as default,
  describe2 as describe,
  uuid42 as uuid4
};
//# sourceMappingURL=reconnect-channels.js.map

/* reconnect_channels, BSD-3-Clause */

// src/random.ts
var secureRandom = () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
function uuid4() {
  return "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(
    /[xy]/g,
    (digit) => Math.floor(secureRandom() * (digit === "x" ? 16 : 4) + (digit === "x" ? 0 : 8)).toString(16)
  );
}

// src/backoff.ts
var MAX_DOUBLINGS = 10;
function backoffCeiling(attempt2, baseMs, maxMs) {
  if (!(baseMs > 0 && maxMs > 0 && baseMs < Infinity && maxMs < Infinity) || Number.isNaN(attempt2)) {
    throw new RangeError("Invalid backoff bounds");
  }
  return Math.min(baseMs * 2 ** Math.min(Math.max(attempt2, 0), MAX_DOUBLINGS), maxMs);
}
function calculateBackoff(attempt2, baseMs, maxMs, random = secureRandom) {
  return backoffCeiling(attempt2, baseMs, maxMs) * random();
}

// src/signals.ts
function onAbort(signal, run2) {
  signal?.addEventListener("abort", run2);
  return () => signal?.removeEventListener("abort", run2);
}

// src/clock.ts
var systemClock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (run2, ms) => setTimeout(run2, ms),
  clearTimeout: (handle) => clearTimeout(handle)
};
var MAX_DELAY_MS = 36e5;
function after(clock, ms, signal, run2) {
  if (signal.aborted) return () => {
  };
  const handle = clock.setTimeout(
    () => {
      detach();
      run2();
    },
    Math.min(Math.max(ms, 0), MAX_DELAY_MS)
  );
  const stop = () => {
    clock.clearTimeout(handle);
    detach();
  };
  const detach = onAbort(signal, stop);
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
function advance(checksum, id2) {
  return (checksum * FACTOR + parseInt(id2.slice(-8), 16) % MODULUS) % MODULUS;
}
function fold(checksum, ids) {
  for (const id2 of ids) checksum = advance(checksum, id2);
  return checksum;
}
function toWire(position2) {
  return position2 && { epoch: position2.epoch, last_seq_id: position2.seq, checksum: position2.checksum };
}
function fromWire(raw) {
  const { epoch, last_seq_id: seq, checksum } = raw ?? {};
  return typeof epoch === "string" && isCount(seq) && isCount(checksum) ? { epoch, seq, checksum } : null;
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
    if (typeof data !== "string") throw new TypeError("not text");
    frame = JSON.parse(data);
  } catch (error) {
    throw new FrameError("a frame is not JSON", { cause: error });
  }
  if (!object(frame)) throw new FrameError("a frame is not an object");
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
var LIMITS = {
  message_bytes: 65536,
  streams: 100,
  rate: 50,
  burst: 1e3,
  in_flight: 16,
  ack_entries: 250,
  ack_bytes: 196608
};
function limitsOf(limits = {}) {
  const read = Object.entries(LIMITS).map(([name, fallback]) => [name, positive(limits[name], fallback)]);
  return Object.fromEntries(read);
}
function positive(value, fallback) {
  return typeof value === "number" && value > 0 ? value : fallback;
}
function isTerminal(code) {
  return code >= 4500 && code <= 4999;
}

// src/applying.ts
var DOUBT_AFTER = 3;
var ACK_AFTER = 5e3;
function createApplying(settings, roster) {
  const { clock, random, emit, lamport, baseMs, maxMs } = settings;
  const { streams } = roster;
  function delta(frame, size) {
    const stream = streams.get(frame.stream);
    if (!stream || stream.ignores || stream.wantsSnapshot) return;
    const outcome = stream.cursor.delta(frame);
    if (typeof outcome === "string" && outcome !== "repeat") {
      emit("refused", outcome);
      return heal(stream);
    }
    const { epoch, to, complete } = frame;
    if (outcome === "repeat" && !(complete && to === stream.seq)) return;
    const entries2 = outcome === "repeat" ? [] : outcome;
    if (!stream.live) stream.caughtUp += entries2.length;
    if (complete) stream.goLive(clock.now());
    if (stream.live) stream.prove(clock.wall());
    for (const entry2 of entries2) lamport.observe(entry2.clock);
    if (entries2.length) {
      for (const lost of stream.receipts.passed(stream.name, epoch, entries2)) emit("lost", lost);
      const from = entries2[0].seq - 1;
      call(stream, ({ onEvents }) => onEvents?.(entries2, { from, to, complete }));
    }
    stream.unackedEntries += entries2.length;
    stream.unackedSize += size;
    stream.unackedSince ||= clock.now();
    const { ack_entries, ack_bytes } = roster.limits;
    if (!complete || stream.unackedEntries >= ack_entries || stream.unackedSize >= ack_bytes || clock.now() - stream.unackedSince > ACK_AFTER)
      acknowledge(stream);
  }
  function snapshot(frame) {
    const stream = streams.get(frame.stream);
    if (!stream || stream.ignores) return;
    const outcome = stream.cursor.snapshot(frame);
    if (outcome.kind === "refused") return heal(stream);
    if (outcome.kind === "part") {
      return roster.send({ type: "ACK", streams: {}, parts: { [stream.name]: outcome.part } });
    }
    const { reason, exact = true, partial = false, seq } = frame;
    stream.catchUp(clock.now());
    stream.prove(clock.wall());
    stream.wantsSnapshot = false;
    stream.brokenAt = null;
    stream.receipts.jumped(seq);
    call(stream, ({ onSnapshot }) => onSnapshot?.(outcome.state, { reason, exact, partial, seq }));
    acknowledge(stream);
  }
  function ping({ t, heads }) {
    const positions = {};
    for (const stream of streams.values()) {
      if (stream.ignores || !stream.cursor.position) continue;
      positions[stream.name] = toWire(stream.cursor.position);
      stream.acknowledged();
    }
    roster.send({ type: "PONG", t, streams: positions });
    for (const stream of streams.values()) {
      if (stream.ignores) continue;
      const { position: position2, collecting } = stream.cursor;
      const head = fromWire(Object.hasOwn(heads, stream.name) ? heads[stream.name] : null);
      if (!head) stream.unverified ||= stream.live;
      else if (head.epoch === position2?.epoch && !collecting) {
        const lost = head.seq > position2.seq || head.seq === position2.seq && head.checksum !== position2.checksum;
        if (lost) heal(stream);
        else if (stream.live) stream.prove(clock.wall());
      }
    }
  }
  function error({ code, reason, detail, ref, streams: named, retry_after_ms }) {
    const names = named ?? [];
    settings.error(new Rejected(code, reason, detail, names));
    for (const name of names) {
      const stream = streams.get(name);
      if (!stream || ref && stream.ref && ref < stream.ref) continue;
      if (reason === "INVALID_SEQ") stream.cursor.forget();
      else if (code === 503 || code === 429) {
        stream.part();
        wantIn(stream, positive(retry_after_ms, baseMs * 2) * (1 + random() / 2));
      } else if (code === 403 || code === 413) {
        stream.part();
        roster.drop(stream);
        emit("denied", stream);
        stream.subscribers.clear();
      }
    }
  }
  function call(stream, run2) {
    let failed = false;
    for (const subscriber of [...stream.subscribers]) {
      try {
        if (stream.subscribers.has(subscriber)) run2(subscriber.handlers);
      } catch (cause) {
        failed = true;
        settings.error(cause);
      }
    }
    if (failed && streams.get(stream.name) === stream && stream.break(clock.now(), clock.wall())) {
      stream.wantsSnapshot = true;
      roster.want(stream);
    }
  }
  function heal(stream) {
    if (stream.stopRetry) return;
    emit("heal", stream.name);
    stream.cursor.dropParts();
    if (stream.heals >= DOUBT_AFTER) stream.cursor.forget();
    const tried = stream.heals++;
    if (tried) wantIn(stream, calculateBackoff(tried, baseMs, maxMs, random));
    else roster.want(stream);
  }
  function wantIn(stream, ms) {
    if (roster.link) stream.stopRetry = after(clock, ms, roster.link, () => roster.want(stream));
  }
  function acknowledge(stream) {
    if (stream.ignores) return;
    stream.acknowledged();
    roster.send({ type: "ACK", streams: { [stream.name]: toWire(stream.cursor.position) } });
  }
  const { answered } = roster;
  return { SYNC_DELTA: delta, SYNC_SNAPSHOT: snapshot, SUBSCRIBED: answered, UNSUBSCRIBED: answered, PING: ping, ERROR: error };
}

// src/attempt.ts
function createAttempt({ clock, connectTimeoutMs, emit, error }) {
  const startedAt = clock.now();
  const opening = new AbortController();
  let transport = null;
  let opened = false;
  let over = false;
  const age = () => clock.now() - startedAt;
  const send = (text2) => transport?.send(text2) ?? false;
  return {
    get opened() {
      return opened;
    },
    age,
    send,
    start(open, { hello, received, ended }) {
      const end = (ending) => {
        if (!over) ended(ending);
      };
      after(clock, connectTimeoutMs, opening.signal, () => {
        if (!transport?.patient) end({ code: 1006, reason: "connect timeout" });
      });
      try {
        transport = open({
          opened() {
            if (over) return;
            opened = true;
            send(hello());
          },
          received(data) {
            if (!over) received(data);
          },
          ended: end
        });
      } catch (cause) {
        error(cause);
        end({ code: 1006, reason: String(cause) });
      }
    },
    settle(outcome, end) {
      opening.abort();
      emit("attempt", { outcome, ms: age(), opened, end });
    },
    letGo(code, reason) {
      over = true;
      opening.abort();
      transport?.close(code, reason);
    }
  };
}

// src/comeback.ts
var INVALID_SEQ_MS = 6e4;
var INVALID_SEQ = 4e3;
function endOf({ code, reason, reconnect, retry_after_ms: window }) {
  const [min, max] = Array.isArray(window) ? window : [0, 0];
  const end = { code, reason: String(reason), reconnect };
  return max > 0 && min >= 0 && max >= min ? { ...end, window: [min, max] } : end;
}
function createComeback(settings, forget) {
  const { clock, baseMs, maxMs, maxAttempts, random, emit } = settings;
  let invalidSeqs = [];
  const comeback = {
    failures: 0,
    notBefore: 0,
    reset() {
      comeback.failures = comeback.notBefore = 0;
    },
    refusal({ code, reconnect = !isTerminal(code) }, reason) {
      if (!reconnect) return reason;
      return comeback.failures < maxAttempts ? "" : `gave up after ${comeback.failures} attempts: ${reason}`;
    },
    delay({ code, window }) {
      const now = clock.now();
      if (window) {
        const [min, max] = window;
        comeback.notBefore = now + min;
        return min + random() * (max - min);
      }
      let ceiling = backoffCeiling(comeback.failures, baseMs, maxMs);
      if (code === INVALID_SEQ) {
        invalidSeqs = [...invalidSeqs.filter((at) => now - at < INVALID_SEQ_MS), now];
        if (invalidSeqs.length === 2) forget();
        if (invalidSeqs.length <= 2) ceiling = baseMs;
      }
      if (ceiling >= maxMs) emit("capped", ceiling);
      return ceiling * random();
    }
  };
  return comeback;
}

// src/liveness.ts
var DEAD_MS = 25e3;
var LATE_MS = 3e3;
var GIVE_UP_MS = 1e4;
var ANSWER_MS = 5e3;
var PROBE_MS = 3e3;
var REARM_MS = 1e3;
function watchLiveness(clock, signal, heartbeatMs, events) {
  const beatMs = positive(heartbeatMs, 15e3);
  const lateMs = beatMs + LATE_MS;
  const deadMs = Math.max(DEAD_MS, beatMs + GIVE_UP_MS);
  let heardAt = clock.now();
  let armedAt = heardAt;
  let overdue = false;
  let stopWatch = () => {
  };
  let stopProbe = null;
  const probe = () => {
    if (stopProbe) return;
    stopProbe = after(clock, PROBE_MS, signal, () => events.dead("no answer to a probe"));
    events.probe();
  };
  const look = () => {
    stopWatch();
    armedAt = clock.now();
    const silent = armedAt - heardAt;
    if (silent >= deadMs) return events.dead("silence");
    if (overdue !== (overdue = silent >= lateMs)) events.overdue();
    const answerIn = Math.max(heardAt, events.unansweredSince()) + ANSWER_MS - armedAt;
    if (answerIn <= 0) probe();
    const next = Math.min((overdue ? deadMs : lateMs) - silent, stopProbe ? Infinity : answerIn);
    stopWatch = after(clock, next, signal, look);
  };
  look();
  return {
    get overdue() {
      return overdue;
    },
    heard() {
      heardAt = clock.now();
      if (overdue || stopProbe || heardAt - armedAt >= REARM_MS) {
        stopProbe?.();
        stopProbe = null;
        look();
      }
    },
    probe,
    look
  };
}

// src/state-machine.ts
var TRANSITIONS = {
  DISCONNECTED: ["RECONNECTING"],
  RECONNECTING: ["CONNECTED", "FAILED", "DISCONNECTED"],
  CONNECTED: ["DISCONNECTED"],
  FAILED: ["DISCONNECTED"]
};
var StateMachine = class {
  state = "DISCONNECTED";
  #scope = new AbortController();
  #emit;
  #onChange;
  constructor(emit, onChange) {
    this.#emit = emit;
    this.#onChange = onChange;
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
    const from = this.state;
    if (from === to) return;
    if (!TRANSITIONS[from].includes(to)) {
      this.#emit("illegal", { from, to });
      throw new StateTransitionError(from, to);
    }
    const left = this.#scope;
    this.#scope = new AbortController();
    this.state = to;
    try {
      left.abort(reason);
    } catch {
    }
    this.#onChange({ from, to, reason });
  }
};

// src/connection.ts
var WAKE_EVERY_MS = 1e3;
var RESTARTS = ["online", "connection", "resume", "clock"];
function createConnection(settings, open, events) {
  const { clock, emit, changed } = settings;
  const machine = new StateMachine(emit, events.stateChange);
  const comeback = createComeback(settings, events.forget);
  let attempt2 = null;
  let attempts = 0;
  let liveness = null;
  let heardAt = clock.wall();
  let retryAt = null;
  let session = null;
  let stopSleep = () => {
  };
  let wokeAt = -WAKE_EVERY_MS;
  let stable = false;
  let closed = false;
  let suspended = false;
  const is = (state) => machine.state === state;
  function tryNow() {
    stopSleep();
    letGo(1e3, "a new attempt");
    retryAt = null;
    attempts++;
    attempt2 = createAttempt(settings);
    changed();
    attempt2?.start(open, { hello: () => events.hello(attempts), received, ended });
  }
  function received(data) {
    heardAt = clock.wall();
    liveness?.heard();
    try {
      const frame = readFrame(data);
      if (frame.type === "BYE") ended(endOf(frame));
      else if (frame.type === "WELCOME") welcome(frame);
      else if (is("CONNECTED") || frame.type === "ERROR") events.frame(frame, String(data).length);
    } catch (error) {
      settings.error(error);
    }
  }
  function welcome(frame) {
    if (!is("RECONNECTING")) return;
    session = frame.session;
    const mine = attempt2;
    mine?.settle("connected");
    stable = false;
    machine.transition("CONNECTED", "welcome");
    if (attempt2 !== mine || !is("CONNECTED")) return;
    const { signal } = machine;
    liveness = watchLiveness(clock, signal, frame.heartbeat_ms, {
      unansweredSince: events.unansweredSince,
      probe: events.probe,
      overdue: events.overdue,
      dead: (reason) => ended({ code: 1006, reason })
    });
    after(clock, settings.stableMs, signal, () => {
      stable = true;
      comeback.reset();
    });
    events.welcome(frame);
  }
  function ended(end) {
    if (end.again) return restart(end.reason);
    const reason = `${end.code} ${end.reason}`.trim();
    if (is("CONNECTED")) {
      if (!stable) comeback.failures++;
      leave(reason);
      reconnect(reason, () => comeBack(end, reason));
    } else if (is("RECONNECTING")) {
      const failed = attempt2;
      letGo(1e3, "");
      comeback.failures++;
      failed?.settle("failed", end);
      if (is("RECONNECTING") && !attempt2) comeBack(end, reason);
    }
  }
  function comeBack(end, reason) {
    const refusal = comeback.refusal(end, reason);
    if (refusal) return machine.transition("FAILED", refusal);
    const ms = comeback.delay(end);
    emit("backoff", ms);
    sleep(ms, tryNow);
  }
  function sleep(ms, then) {
    stopSleep();
    retryAt = clock.wall() + ms;
    stopSleep = after(clock, ms, machine.signal, then);
    changed();
  }
  function reconnect(reason, then) {
    if (closed || !is("DISCONNECTED")) return;
    machine.transition("RECONNECTING", reason);
    if (is("RECONNECTING") && !attempt2) then();
  }
  function leave(why, code = 1e3, reason = "") {
    stopSleep();
    retryAt = liveness = null;
    letGo(code, reason);
    if (is("CONNECTED")) events.down();
    machine.transition("DISCONNECTED", why);
  }
  function letGo(code, reason) {
    const old = attempt2;
    attempt2 = null;
    old?.letGo(code, reason);
  }
  function restart(reason) {
    if (is("CONNECTED")) {
      leave(reason);
      reconnect(reason, tryNow);
    } else if (is("RECONNECTING")) tryNow();
  }
  function wakeUp() {
    wokeAt = clock.now();
    tryNow();
  }
  function wake(cause) {
    const now = clock.now();
    if (closed) return;
    if (suspended) {
      suspended = false;
      wokeAt = now;
      reconnect(cause, tryNow);
    } else if (is("CONNECTED")) {
      if (now - wokeAt < WAKE_EVERY_MS) return;
      wokeAt = now;
      liveness?.probe();
    } else if (attempt2) {
      if (RESTARTS.includes(cause) && attempt2.age() >= WAKE_EVERY_MS) {
        attempt2.settle("aborted");
        wakeUp();
      }
    } else if (retryAt !== null) {
      const wait = Math.max(now, wokeAt + WAKE_EVERY_MS, comeback.notBefore) - now;
      if (!wait) wakeUp();
      else if (wait < retryAt - clock.wall()) sleep(wait, wakeUp);
    }
  }
  return {
    get state() {
      return machine.state;
    },
    get attempt() {
      return is("CONNECTED") ? 0 : comeback.failures + 1;
    },
    get retryAt() {
      return retryAt;
    },
    get session() {
      return session;
    },
    get heardAt() {
      return heardAt;
    },
    get overdue() {
      return liveness?.overdue ?? false;
    },
    start: () => reconnect("connect", tryNow),
    send: (text2) => is("CONNECTED") && (attempt2?.send(text2) ?? false),
    expectAnswer: () => liveness?.look(),
    close(code, reason) {
      if (closed) return;
      closed = true;
      leave(reason || "closed", code, reason);
    },
    suspend(cause) {
      if (closed || suspended || is("FAILED")) return;
      suspended = true;
      leave(cause, 1e3, cause);
    },
    retry() {
      if (closed) return;
      if (is("FAILED")) {
        comeback.reset();
        machine.transition("DISCONNECTED", "retry");
        reconnect("retry", tryNow);
      } else if (suspended) wake("user");
      else if (is("RECONNECTING") && !attempt2) tryNow();
    },
    restart,
    wake
  };
}

// src/emitter.ts
function createEmitter(onThrow) {
  const listeners = /* @__PURE__ */ new Map();
  return {
    on(event, listener, signal) {
      const off = () => {
        listeners.delete(off);
        detach();
      };
      const detach = onAbort(signal, off);
      if (!signal?.aborted) listeners.set(off, { event, listener });
      return off;
    },
    emit(event, value) {
      let heard = false;
      for (const entry2 of [...listeners.values()]) {
        if (entry2.event !== event) continue;
        heard = true;
        try {
          entry2.listener(value);
        } catch (error) {
          onThrow(error);
        }
      }
      return heard;
    },
    clear() {
      for (const off of [...listeners.keys()]) off();
    }
  };
}

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
function watchNetwork(given, signal, wake) {
  const { window, document } = given === true ? globalThis : given;
  window?.addEventListener("online", () => wake("online"), { signal });
  document?.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible") wake("visible");
    },
    { signal }
  );
}

// src/bucket.ts
function tokenBucket(rate, burst, start) {
  let tokens = burst;
  let at = start;
  return (now) => {
    tokens = Math.min(burst, tokens + (now - at) * rate / 1e3);
    at = now;
    if (tokens < 1) return Math.ceil((1 - tokens) * 1e3 / rate);
    tokens--;
    return 0;
  };
}

// src/deferred.ts
function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {
  });
  return { promise, resolve, reject };
}

// src/lane.ts
var MAX_RETRY_MS = 5e3;
var unsent = () => ({
  saving: false,
  sentAt: Infinity,
  overdueAt: 0,
  asked: 0,
  failures: 0,
  detach: () => {
  }
});
function view({ id: id2, stream, value: payload, n, createdAt, failures, restored }) {
  return Object.freeze({ id: id2, stream, payload, state: n === null ? "queued" : "sent", createdAt, failures, restored });
}
var Lane = class {
  stream;
  /** Gives new numbers. Restored messages keep those of the producer that they had. */
  producer;
  /** The last `n` that was given. */
  lastN = 0;
  /** Items in order; the sent ones are a prefix. */
  items = /* @__PURE__ */ new Set();
  /** Monotonic time before which nothing of this stream is sent again. */
  resumeAt = 0;
  /** Retryable refusals in a row. */
  retries = 0;
  constructor(stream, producer) {
    this.stream = stream;
    this.producer = producer;
  }
  /** A retryable refusal: nothing is sent again before `wait` and some jitter, which grows, have passed. */
  putOff(now, wait, random) {
    const jitter = random() * Math.max(wait / 2, Math.min(50 * 2 ** Math.min(this.retries++, 10), MAX_RETRY_MS));
    this.resumeAt = Math.max(this.resumeAt, now + wait + jitter);
  }
  /**
   * The server keeps order within a producer. Where a lane passes from one to the next, what the older one numbered
   * is answered first.
   */
  blocks(item) {
    const [first] = this.items;
    return (first.producer ?? this.producer) !== (item.producer ?? this.producer);
  }
  /** The highest `n` such that every one up to it needs no answer any more. */
  get settled() {
    for (const { n } of this.items) if (n !== null) return n - 1;
    return this.lastN;
  }
};

// src/payload.ts
var MAX_DEPTH = 32;
var STREAM_NAME = /^[A-Za-z0-9._:-]{1,100}$/;
var BAD_TEXT = /(?<!\\)(\\\\)*\\u(0000|d)/;
var MAX_MESSAGE_BYTES = 65536;
function checkStream(name) {
  refuse(!isStream(name), `a stream name has 1 to 100 of A-Z a-z 0-9 . _ : -`);
}
function isStream(name) {
  return typeof name === "string" && STREAM_NAME.test(name);
}
function encodePayload(payload, maxBytes = MAX_MESSAGE_BYTES, checking) {
  let text2;
  try {
    text2 = JSON.stringify(payload, readable(checking?.()));
  } catch (cause) {
    throw cause instanceof PayloadError ? cause : new PayloadError(`not JSON: ${String(cause)}`, { cause });
  }
  if (text2 === void 0) throw new PayloadError("undefined is not JSON");
  refuse(BAD_TEXT.test(text2), "NUL or a lone surrogate");
  const bytes = new TextEncoder().encode(text2).length;
  refuse(bytes > maxBytes, `more than ${maxBytes} bytes`);
  return { text: text2, bytes, value: JSON.parse(text2) };
}
function refuse(condition, reason) {
  if (condition) throw new PayloadError(reason);
}
function readable(check) {
  const levels = /* @__PURE__ */ new Map();
  return function(key, value) {
    const type = typeof value;
    const level = (levels.get(this) ?? -1) + 1;
    levels.set(value, level);
    const lost = type === "function" || type === "symbol" || type === "number" && !Number.isFinite(value);
    refuse(lost, `${String(value)} is not JSON`);
    refuse(level > MAX_DEPTH, `more than ${MAX_DEPTH} levels`);
    check?.(key, value);
    return value;
  };
}

// src/queue.ts
var HIGH_WATER = 0.8;
function createQueue(settings) {
  const { maxQueue, maxQueueBytes, keeper, emit } = settings;
  const items = /* @__PURE__ */ new Map();
  const lanes = /* @__PURE__ */ new Map();
  let entries2 = null;
  let high = false;
  let waiters = [];
  let restored = 0;
  function remove2(item, kept = false) {
    item.detach();
    items.delete(item.id);
    item.lane.items.delete(item);
    if (item.restored) restored--;
    if (!kept) keeper?.remove(item.id);
  }
  function insert(item) {
    items.set(item.id, item);
    item.lane.items.add(item);
  }
  return {
    items,
    lanes,
    remove: remove2,
    clear: () => lanes.clear(),
    get entries() {
      return entries2 ??= Object.freeze(Array.from(items.values(), view));
    },
    lane(name, stream, producer) {
      const lane = lanes.get(name) ?? new Lane(stream, producer);
      lanes.set(name, lane);
      return lane;
    },
    add(item) {
      const own = [...items.values()].filter((old) => !old.restored);
      let count = own.length + 1 - maxQueue;
      let bytes = item.bytes - maxQueueBytes;
      for (const old of own) bytes += old.bytes;
      const evicted = [];
      for (const old of own) {
        if (count <= 0 && bytes <= 0) break;
        if (old.n !== null || keeper?.exposed(old.id)) continue;
        evicted.push({ old, reason: count > 0 ? "count" : "bytes" });
        count--;
        bytes -= old.bytes;
      }
      if (count > 0 || bytes > 0) {
        emit("overflow", items.size);
        throw new QueueOverflowError("full of messages that wait for an answer");
      }
      for (const { old, reason } of evicted) {
        remove2(old);
        old.reject(new QueueOverflowError(`evicted (${reason})`));
      }
      insert(item);
      return () => {
        for (const { old, reason } of evicted) emit("evict", { entry: view(old), reason });
      };
    },
    restore(item) {
      insert(item);
      restored++;
    },
    number(item) {
      item.n = ++item.lane.lastN;
      item.producer = item.lane.producer;
      entries2 = null;
    },
    changed() {
      entries2 = null;
      const waiting = items.size;
      emit("queueChange", { waiting });
      settings.changed();
      const wasHigh = high;
      high = waiting - restored >= maxQueue * HIGH_WATER;
      if (high && !wasHigh) emit("highWater", { waiting });
      if (!waiting) for (const { resolve } of waiters.splice(0)) resolve();
    },
    drained() {
      const waiter = deferred();
      if (items.size) waiters.push(waiter);
      else waiter.resolve();
      return waiter.promise;
    },
    dropped(reason) {
      for (const { reject } of waiters.splice(0)) reject(new ClosedError(reason));
    }
  };
}

// src/outbox.ts
var MAX_FAILURES = 5;
var ANSWER_MS2 = 1e4;
function createOutbox(settings, events) {
  const { clock, random, lamport, keeper, emit } = settings;
  let producer = uuid4();
  let order = 0;
  const queue = createQueue(settings);
  const { items } = queue;
  let link = null;
  let limits = limitsOf();
  let takeToken = tokenBucket(1, 1, 0);
  let stopTimer = () => {
  };
  let timerAt = Infinity;
  function pump() {
    if (!link) return;
    const held = /* @__PURE__ */ new Set();
    const unsaved = /* @__PURE__ */ new Set();
    let room = limits.in_flight;
    for (const item of items.values()) {
      const overdueIn = item.overdueAt - clock.now();
      if (overdueIn <= 0) item.sentAt = Infinity;
      if (item.sentAt === Infinity) continue;
      room--;
      pumpIn(overdueIn);
    }
    const inTurn = [...items.values()].sort((a, b) => Number(a.n === null) - Number(b.n === null));
    for (const item of inTurn) {
      const { lane } = item;
      if (item.sentAt < Infinity || held.has(lane) || lane.blocks(item)) continue;
      if (room <= 0) return;
      const wait = Math.max(lane.resumeAt - clock.now(), events.waitFor(item.stream));
      if (wait > 0) {
        pumpIn(wait);
        held.add(lane);
        continue;
      }
      if (keeper && item.n === null) number(item);
      if (item.saving) unsaved.add(lane);
      if (!unsaved.has(lane)) {
        const pause = takeToken(clock.now());
        if (pause > 0) return pumpIn(pause);
        if (item.n === null) number(item);
        if (!transmit(item)) return;
      }
      room--;
    }
  }
  function number(item) {
    queue.number(item);
    const saved = keeper?.save(item);
    if (!saved) return;
    item.saving = true;
    void saved.then(() => {
      item.saving = false;
      pump();
    });
  }
  function transmit(item) {
    const { id: id2, n, stream, lane, text: text2 } = item;
    const head = { type: "MESSAGE", id: id2, producer: item.producer, n, stream, settled: lane.settled, clock: lamport.tick() };
    item.sentAt = clock.now();
    const patience = ANSWER_MS2 * 2 ** item.asked++;
    item.overdueAt = item.sentAt + patience;
    pumpIn(patience);
    const taken = events.transmit(`${JSON.stringify(head).slice(0, -1)},"payload":${text2}}`);
    if (!taken) item.sentAt = Infinity;
    return taken;
  }
  function pumpIn(ms) {
    const at = clock.now() + ms;
    if (!link || at >= timerAt) return;
    stopTimer();
    timerAt = at;
    stopTimer = after(clock, ms, link.signal, () => {
      timerAt = Infinity;
      pump();
    });
  }
  function retryLater(item, { reason, retry_after_ms }) {
    item.sentAt = Infinity;
    item.asked = 0;
    for (const older of item.lane.items) {
      if (reason !== "ORDER" || older === item) break;
      older.sentAt = Infinity;
    }
    item.lane.putOff(clock.now(), positive(retry_after_ms, 0), random);
  }
  function withdraw(item, cause) {
    if (item.n !== null || keeper?.exposed(item.id)) {
      return item.reject(new OutcomeUnknown("aborted after it was sent", { cause }));
    }
    queue.remove(item);
    item.reject(cause);
    changed();
  }
  function changed() {
    queue.changed();
    pump();
  }
  function down() {
    link?.abort();
    link = null;
    timerAt = Infinity;
    for (const item of items.values()) {
      item.sentAt = Infinity;
      item.asked = 0;
    }
  }
  return {
    get waiting() {
      return items.size;
    },
    get queue() {
      return queue.entries;
    },
    waitingOn(stream) {
      let waiting = 0;
      for (const lane of queue.lanes.values()) if (lane.stream === stream) waiting += lane.items.size;
      return waiting;
    },
    unansweredSince: () => Math.min(...Array.from(items.values(), ({ sentAt }) => sentAt)),
    messages: queue,
    drained: queue.drained,
    changed,
    down,
    pump,
    send(stream, payload, signal, refusal) {
      const id2 = uuid4();
      const { promise, resolve, reject } = deferred();
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const encoded = encodePayload(payload, limits.message_bytes, settings.checking);
        const place = { id: id2, stream, lane: queue.lane(stream, stream, producer), origin: producer, order: ++order };
        const fresh = { n: null, producer: null, restored: false, ...unsent() };
        const item = { ...place, ...encoded, createdAt: clock.wall(), resolve, reject, ...fresh };
        const tell = queue.add(item);
        item.detach = onAbort(signal, () => withdraw(item, signal?.reason));
        void keeper?.save(item);
        tell();
        changed();
      } catch (error) {
        reject(error);
      }
      return Object.assign(promise, { id: id2 });
    },
    open(given) {
      link = new AbortController();
      limits = given;
      takeToken = tokenBucket(limits.rate, limits.burst, clock.now());
      for (const lane of queue.lanes.values()) lane.resumeAt = lane.retries = 0;
      emit("flush", Array.from(items.keys()));
      pump();
    },
    abandon(reason, final = false) {
      down();
      let kept = false;
      for (const item of [...items.values()]) {
        const { n, restored } = item;
        const retained = (!final || restored || n !== null) && keeper?.holds(item.id) === true;
        queue.remove(item, retained);
        kept ||= retained;
        if (!restored) item.reject(Object.assign(n === null ? new ClosedError(reason) : new OutcomeUnknown(reason), { retained }));
      }
      if (final) {
        keeper?.close();
      } else if (kept) {
        keeper?.release();
        queue.clear();
        producer = uuid4();
        order = 0;
      }
      queue.dropped(reason);
      queue.changed();
    },
    ack(frame) {
      const item = items.get(frame.id);
      if (!item) return;
      item.lane.retries = 0;
      emit("acked", frame.id);
      queue.remove(item);
      events.acked(item.stream, frame);
      const { id: id2, epoch = null, seq = null, result = null, duplicate = false } = frame;
      item.resolve({ id: id2, epoch, seq, result, duplicate });
      changed();
    },
    reject(frame) {
      const item = items.get(frame.id);
      if (!item || item.n === null) return;
      const { code, reason, detail, retry } = frame;
      const failed = retry === true && reason === "FAILED" && ++item.failures >= MAX_FAILURES;
      if (retry !== true || failed) {
        const error = new Rejected(code, reason, detail);
        queue.remove(item);
        item.reject(error);
        if (failed) settings.error(error);
      } else {
        retryLater(item, frame);
      }
      changed();
    }
  };
}

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
    const { position: position2 } = this;
    if (position2?.epoch !== epoch) return "epoch";
    if (payload.length !== to - from || payload.some((entry2, index) => entry2.seq !== from + index + 1)) {
      return "malformed";
    }
    if (from > position2.seq) return "hole";
    if (to < position2.seq) return "repeat";
    const entries2 = payload.slice(position2.seq - from);
    const ids = entries2.map((entry2) => entry2.id);
    if (fold(position2.checksum, ids) !== checksum) return "checksum";
    if (!entries2.length && from < to) return "repeat";
    this.position = { epoch, seq: to, checksum };
    return entries2;
  }
  snapshot(frame) {
    const { epoch, seq, checksum } = frame;
    let state = frame.payload;
    if (frame.part !== void 0) {
      const chunks = this.#collect(frame);
      if (chunks && chunks.length < frame.parts) return { kind: "part", part: chunks.length };
      this.#parts = null;
      try {
        state = JSON.parse((chunks ?? []).join(""));
      } catch {
        return { kind: "refused" };
      }
    }
    this.#parts = null;
    this.position = { epoch, seq, checksum };
    return { kind: "applied", state: state ?? null };
  }
  /** @returns the chunks so far; none for a part that doesn't continue them */
  #collect({ epoch, seq, part, parts, chunk }) {
    const whole = JSON.stringify([epoch, seq, parts]);
    if (part === 1) this.#parts = { whole, chunks: [] };
    const old = this.#parts;
    if (old?.whole !== whole || old.chunks.length + 1 !== part || !(part <= parts) || typeof chunk !== "string") return;
    old.chunks.push(chunk);
    return old.chunks;
  }
};

// src/receipts.ts
var MAX_RECEIPTS = 1e3;
var Receipts = class {
  /** The message and the epoch that an ack named with a seq. */
  #kept = /* @__PURE__ */ new Map();
  keep(seq, id2, epoch) {
    const kept = this.#kept.set(seq, { id: id2, epoch });
    if (kept.size > MAX_RECEIPTS) kept.delete(kept.keys().next().value);
  }
  /** The position moves over these entries. @returns the messages that are not among them, and should be */
  passed(stream, epoch, entries2) {
    return entries2.flatMap(({ seq, key }) => {
      const receipt = this.#kept.get(seq);
      this.#kept.delete(seq);
      return receipt?.epoch === epoch && receipt.id !== key ? [{ id: receipt.id, stream, seq }] : [];
    });
  }
  /** A snapshot leads to `seq`: what lies below can no longer be compared. */
  jumped(seq) {
    for (const at of this.#kept.keys()) if (at <= seq) this.#kept.delete(at);
  }
};

// src/stream.ts
var MEND_AGAIN_MS = 3e4;
var Stream = class {
  name;
  cursor = new Cursor();
  receipts = new Receipts();
  subscribers = /* @__PURE__ */ new Set();
  /** The server serves it on this socket, or was asked to. */
  joined = false;
  /** Joined by the server itself: stays when the last subscriber goes. */
  uninvited = false;
  /** Followed for other tabs: stays as long as they want it. */
  held = false;
  /** The SUBSCRIBE whose answer is awaited: until then sync frames are those of an older subscription. */
  ref = null;
  /** To be named in the next SUBSCRIBE. */
  dirty = false;
  /** Somebody needs the state, not only what changed since the position. */
  wantsSnapshot = false;
  /** A delta with `complete` came since it was joined (protocol 5.5). */
  live = false;
  /** The server can't verify its own head. */
  unverified = false;
  /** Monotonic time at which catching up, or being live, began. */
  changedAt;
  /** Entries of this catching up. */
  caughtUp = 0;
  /** Wall time of the last proof that this is the newest. */
  verifiedAt;
  /** Wall time since which a handler's failure has spoilt the screen. */
  brokenAt = null;
  /** Monotonic time of the last snapshot that was asked for to mend that. */
  mendedAt = -Infinity;
  /** Frames refused in a row. */
  heals = 0;
  /** Ends the wait for another SUBSCRIBE. */
  stopRetry = null;
  /** Applied since the last ACK. */
  unackedEntries = 0;
  unackedSize = 0;
  unackedSince = 0;
  constructor(name, now, wall) {
    this.name = name;
    this.changedAt = now;
    this.verifiedAt = wall;
  }
  get seq() {
    return this.cursor.position?.seq ?? 0;
  }
  /** What it brings to HELLO and SUBSCRIBE: where it stands, or null for "I have nothing". */
  get claim() {
    return this.wantsSnapshot ? null : toWire(this.cursor.position);
  }
  /** Between a SUBSCRIBE and its answer, sync frames are those of the older subscription (protocol 5.3). */
  get ignores() {
    return !this.joined || this.ref !== null || this.dirty;
  }
  /** The socket is gone, or the server ended the subscription. */
  part() {
    this.joined = this.live = false;
    this.ref = null;
    this.acknowledged();
    this.cursor.dropParts();
    this.dropRetry();
  }
  /** The server was told where this stands. */
  acknowledged() {
    this.unackedEntries = this.unackedSize = this.unackedSince = 0;
  }
  dropRetry() {
    this.stopRetry?.();
    this.stopRetry = null;
  }
  catchUp(now) {
    this.live = false;
    this.caughtUp = 0;
    this.changedAt = now;
  }
  goLive(now) {
    if (!this.live) this.changedAt = now;
    this.live = true;
    this.heals = 0;
  }
  /** What is shown is the newest. */
  prove(wall) {
    this.unverified = false;
    this.verifiedAt = wall;
  }
  /** A handler threw. @returns whether a snapshot may mend it */
  break(now, wall) {
    this.brokenAt ??= wall;
    const again = this.mendedAt > -Infinity;
    if (again && !(this.live && now - Math.max(this.changedAt, this.mendedAt) >= MEND_AGAIN_MS)) return false;
    this.mendedAt = now;
    return true;
  }
};

// src/turn.ts
function onceATurn(run2) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      run2();
    });
  };
}

// src/roster.ts
var SYNC_WAIT_MS = 1e4;
function createRoster({ clock, changed }, transmit) {
  const streams = /* @__PURE__ */ new Map();
  let greeted = [];
  let link = null;
  let limits = limitsOf();
  let ref = 0;
  const flushSoon = onceATurn(flush);
  function track(name) {
    const stream = new Stream(name, clock.now(), clock.wall());
    streams.set(name, stream);
    return stream;
  }
  function drop(stream) {
    streams.delete(stream.name);
    changed();
  }
  function send(frame) {
    if (link) transmit(frame);
  }
  function leave(names) {
    send({ type: "UNSUBSCRIBE", ref: ++ref, streams: names });
  }
  function want(stream) {
    stream.dropRetry();
    stream.dirty = true;
    flushSoon();
  }
  function flush() {
    const wanted = [...streams.values()].filter((stream) => stream.dirty);
    if (!link || !wanted.length) return;
    ref++;
    for (const stream of wanted) {
      stream.cursor.dropParts();
      stream.dirty = false;
      stream.joined = true;
      stream.ref = ref;
      stream.catchUp(clock.now());
    }
    send({ type: "SUBSCRIBE", ref, streams: claimsOf(wanted) });
    changed();
  }
  function enter(name, position2) {
    if (streams.size >= limits.streams) return;
    const stream = track(name);
    stream.cursor.position = fromWire(position2);
    want(stream);
    return stream;
  }
  function unused(stream) {
    if (stream.subscribers.size || stream.held || stream.uninvited || streams.get(stream.name) !== stream) return;
    drop(stream);
    if (stream.joined) leave([stream.name]);
    stream.part();
  }
  function silent(since) {
    for (const stream of streams.values()) if (stream.live && !stream.unverified) stream.prove(since);
  }
  return {
    streams,
    get limits() {
      return limits;
    },
    get link() {
      return link && link.signal;
    },
    drop,
    want,
    enter,
    unused,
    send,
    silent,
    probe: () => send({ type: "SUBSCRIBE", ref: ++ref, streams: {} }),
    add(name, options) {
      checkStream(name);
      let stream = streams.get(name);
      if (!stream) {
        stream = enter(name, options.position);
        if (!stream) throw new PayloadError(`at most ${limits.streams} streams a socket`);
      } else if (stream.cursor.position || stream.joined) {
        stream.wantsSnapshot = true;
        if (!stream.stopRetry) want(stream);
      }
      const subscriber = { handlers: options };
      stream.subscribers.add(subscriber);
      changed();
      return { stream, subscriber };
    },
    remove(stream, subscriber) {
      stream.subscribers.delete(subscriber);
      unused(stream);
    },
    answered({ ref: answer }) {
      for (const stream of streams.values()) {
        if (stream.ref !== answer) continue;
        stream.ref = null;
        stream.catchUp(clock.now());
      }
    },
    waitFor(name) {
      const stream = streams.get(name);
      return !stream || stream.live ? 0 : Math.max(0, stream.changedAt + SYNC_WAIT_MS - clock.now());
    },
    claims() {
      greeted = [...streams.values()].slice(0, limits.streams);
      for (const stream of greeted) stream.dirty = false;
      return claimsOf(greeted);
    },
    welcome({ streams: uninvited }, given) {
      link = new AbortController();
      limits = given;
      const left = greeted.map(({ name }) => name).filter((name) => !streams.has(name) && !uninvited.includes(name));
      for (const stream of greeted) stream.joined = true;
      greeted = [];
      for (const name of uninvited.filter(isStream)) {
        const stream = streams.get(name) ?? track(name);
        stream.joined = stream.uninvited = true;
      }
      for (const stream of streams.values()) {
        stream.catchUp(clock.now());
        if (!stream.joined) stream.dirty = true;
      }
      if (left.length) leave(left);
      flush();
      changed();
    },
    down() {
      link?.abort();
      link = null;
      for (const stream of streams.values()) stream.part();
      changed();
    },
    forget() {
      for (const { cursor } of streams.values()) cursor.forget();
    }
  };
}
function claimsOf(streams) {
  return Object.fromEntries(streams.map((stream) => [stream.name, stream.claim]));
}

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

// src/client.ts
function createClient(address, options = {}, { share: share2, keep, checking, greeting, prepare } = {}) {
  const {
    clientId = uuid4(),
    key,
    baseMs = 500,
    maxMs = 2e4,
    connectTimeoutMs = 8e3,
    stableMs = 5e3,
    maxAttempts = Infinity,
    maxQueue = 1e3,
    maxQueueBytes = 8 * 2 ** 20,
    clock = systemClock,
    random = secureRandom,
    networkAware = true,
    WebSocket = globalThis.WebSocket
  } = options;
  const url = resolveUrl(address);
  const open = options.transport ?? (WebSocket && socketTransport(url, WebSocket));
  if (!open) throw new TypeError("no WebSocket here: give one in the options");
  backoffCeiling(0, baseMs, maxMs);
  const { on, emit, clear } = createEmitter((cause) => (globalThis.reportError ?? console.error)(cause));
  const life = new AbortController();
  const { signal } = life;
  const lamport = new LamportClock();
  let identity;
  const error = (cause) => {
    if (!emit("error", cause)) console.error(cause);
  };
  const changed = () => void emit("touch", void 0);
  const keeper = keep?.({ key, url, clock, emit, error });
  const chosen = { baseMs, maxMs, connectTimeoutMs, stableMs, maxAttempts, maxQueue, maxQueueBytes, clock, random };
  const settings = { ...chosen, clientId, keeper, checking, lamport, emit, error, changed };
  const roster = createRoster(settings, (frame) => connection.send(JSON.stringify(frame)));
  const outbox = createOutbox(settings, {
    transmit(text2) {
      const taken = connection.send(text2);
      connection.expectAnswer();
      return taken;
    },
    waitFor: roster.waitFor,
    acked(stream, { id: id2, epoch, seq }) {
      const tracked = roster.streams.get(stream);
      if (tracked && seq !== null && seq > tracked.seq) tracked.receipts.keep(seq, id2, epoch);
    }
  });
  const takers = {
    ...createApplying(settings, roster),
    ACK: outbox.ack,
    REJECT: outbox.reject
  };
  const connection = createConnection(settings, share2?.({ url, key, clientId, settings, signal, open, roster, connection: () => connection }).open ?? open, {
    hello(attempt2) {
      return JSON.stringify({
        type: "HELLO",
        protocol: SUBPROTOCOL,
        client_id: clientId,
        term: 0,
        attempt: attempt2,
        key,
        clock: lamport.time,
        streams: roster.claims(),
        identity,
        ...greeting?.()
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
      takers[frame.type](frame, size);
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
    probe: roster.probe
  });
  function close(code = 1e3, reason = "") {
    if (signal.aborted) return;
    life.abort();
    connection.close(code, reason);
    outbox.abandon("the client was closed", true);
    emit("closed", void 0);
    clear();
  }
  const client = {
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
      const stay = onAbort(signal, detach);
      if (subscribing.signal?.aborted) end();
      const subscription = {
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
        close: end
      };
      emit("subscribed", { subscription, stream });
      return subscription;
    },
    send(stream, payload, { signal: until } = {}) {
      const over = signal.aborted ? "the client is closed" : connection.state === "FAILED" ? "failed; retry() first" : "";
      return outbox.send(stream, payload, until, over ? new ClosedError(over) : void 0);
    }
  };
  prepare?.({ settings, client, connection, roster, outbox, signal, on });
  options.signal?.addEventListener("abort", () => close(1e3, "aborted"), { signal });
  if (options.signal?.aborted) close(1e3, "aborted");
  else {
    if (networkAware) watchNetwork(networkAware, signal, connection.wake);
    connection.start();
  }
  return client;
}

// src/api.ts
var coreApi = {
  /**
   * Connects to a consumer and keeps connected.
   *
   * @param url absolute, or relative to the page ("/ws/board/1/")
   * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
   */
  connect: (url, options) => createClient(url, options),
  StateTransitionError,
  QueueOverflowError,
  OutcomeUnknown,
  Rejected,
  ClosedError,
  PayloadError,
  FrameError
};

// src/extend.ts
function extend(object2, more) {
  Object.defineProperties(object2, Object.getOwnPropertyDescriptors(more));
}

// src/handshake.ts
var IN_VAIN = 3;
var NO_SUBPROTOCOL = [
  "no DeltaSyncMixin or DedupMixin on the consumer",
  "the URL of another consumer",
  "a proxy that drops Sec-WebSocket-Protocol"
];
var NO_WELCOME = ["a proxy that swallows frames", "a database that the server can't reach", ...NO_SUBPROTOCOL];
var NO_OPEN = ["no server at this URL", "an Origin that is not in ALLOWED_ORIGINS", ...NO_SUBPROTOCOL];
function diagnoseHandshakes({ on, settings: { emit } }) {
  let openedInVain = 0;
  let unopened = 0;
  const tell = (causes) => emit("handshake", { causes });
  on("attempt", ({ outcome, opened, end }) => {
    if (outcome === "connected") {
      openedInVain = 0;
      unopened = -Infinity;
    }
    if (!end || end.reconnect !== void 0) return;
    if (end.stranger) tell(NO_SUBPROTOCOL);
    else if (opened) {
      if (++openedInVain % IN_VAIN === 0) tell(NO_WELCOME);
    } else if (++unopened === IN_VAIN) tell(NO_OPEN);
  });
}

// src/host.ts
function hostOf({ connection, roster, ...client }, logout) {
  const { streams } = roster;
  return {
    ...client,
    logout,
    restart: (reason) => connection().restart(reason),
    retry: () => connection().retry(),
    wake: (cause) => connection().wake(cause),
    suspend: (cause) => connection().suspend(cause),
    waiting() {
      const { attempt: attempt2, retryAt } = connection();
      return { attempt: attempt2, retryAt };
    },
    at(name) {
      const stream = streams.get(name);
      return stream && { position: stream.cursor.position, live: stream.live };
    },
    hold(name, claim, anew) {
      let stream = streams.get(name);
      if (!stream) {
        stream = isStream(name) ? roster.enter(name, claim) : void 0;
        if (!stream) return false;
      } else if (anew) {
        stream.wantsSnapshot = true;
        roster.want(stream);
      }
      return stream.held = true;
    },
    release(name) {
      const stream = streams.get(name);
      if (!stream) return;
      stream.held = false;
      roster.unused(stream);
    }
  };
}

// src/adopting.ts
function createAdopting(queue, ask, { emit }, { over, came }) {
  let looking = false;
  function restore(message2) {
    if (queue.items.has(message2.id)) return false;
    const lane = queue.lane(`${message2.origin} ${message2.stream}`, message2.stream, uuid4());
    const reject = (cause) => {
      emit("undelivered", { entry: view(item), reason: cause.message });
    };
    const item = {
      ...message2,
      lane,
      value: JSON.parse(message2.text),
      restored: true,
      resolve() {
      },
      reject,
      ...unsent()
    };
    queue.restore(item);
    return true;
  }
  return async () => {
    if (looking || over()) return;
    looking = true;
    const messages = await ask("adopt");
    looking = false;
    if (!messages || over()) return;
    const count = messages.filter(restore).length;
    if (!count) return;
    emit("restored", { count });
    came();
  };
}

// src/safe-store.ts
function safeStore(store, error) {
  return (name, ...given) => {
    try {
      const answer = store?.[name]?.apply(store, given);
      return answer instanceof Promise ? answer.catch(error) : answer;
    } catch (cause) {
      error(cause);
      return void 0;
    }
  };
}

// src/keeper.ts
var ADOPT_EVERY_MS = 3e4;
function createKeeper(store, { clock, emit, error }) {
  const ask = safeStore(store, error);
  return {
    save: (item) => ask("save", stored(item)),
    remove: (id2) => ask("remove", id2),
    holds: (id2) => ask("holds", id2) === true,
    exposed: (id2) => ask("exposed", id2) === true,
    release: () => ask("release"),
    close: () => ask("close"),
    wipe: async () => ask("wipe"),
    adopt({ outbox, roster, signal, on }) {
      const look = createAdopting(outbox.messages, ask, { emit }, { over: () => signal.aborted, came: outbox.changed });
      const lookOften = (link) => {
        look();
        if (store.adopt) after(clock, ADOPT_EVERY_MS, link, () => lookOften(link));
      };
      look();
      on("flush", () => lookOften(roster.link));
    }
  };
}
function stored({ id: id2, stream, text: text2, bytes, createdAt, origin, order, producer, n }) {
  return { id: id2, stream, text: text2, bytes, createdAt, origin, order, producer, n };
}

// src/recorder.ts
function safeRecorder(recorder) {
  const guard = (kind) => (name, value, labels) => {
    try {
      recorder?.[kind](name, value, labels);
    } catch {
    }
  };
  return { count: guard("count"), observe: guard("observe"), gauge: guard("gauge") };
}
function recorders(...list) {
  const all = (run2) => {
    for (const recorder of list) {
      try {
        run2(recorder);
      } catch (error) {
        console.error(error);
      }
    }
  };
  return {
    count: (name, value, labels) => all((recorder) => recorder.count(name, value, labels)),
    observe: (name, value, labels) => all((recorder) => recorder.observe(name, value, labels)),
    gauge: (name, value, labels) => all((recorder) => recorder.gauge(name, value, labels)),
    attach: (report) => all((recorder) => recorder.attach?.(report)),
    follow: (client) => all((recorder) => recorder.follow?.(client))
  };
}
function environment(userAgent = globalThis.navigator?.userAgent ?? "") {
  const [family] = /chrom|firefox|safari/.exec(userAgent.toLowerCase()) ?? ["other"];
  return family === "chrom" ? "chromium" : family;
}

// src/metrics.ts
function recordMetrics({ on, outbox, settings }, { count, observe, gauge }) {
  let flushing = /* @__PURE__ */ new Set();
  let attempted = 0;
  let succeeded = 0;
  on("stateChange", ({ from, to }) => count("reconnect_fsm_transitions_total", 1, { from, to }));
  on("illegal", (transition) => count("reconnect_fsm_invalid_transitions_total", 1, { ...transition }));
  on("attempt", ({ outcome, ms, end }) => {
    const labels = { outcome: end?.reason === "connect timeout" ? "timeout" : outcome, environment: environment() };
    observe("reconnect_attempt_duration_seconds", ms / 1e3, labels);
  });
  on("backoff", (ms) => observe("reconnect_backoff_delay_seconds", ms / 1e3));
  on("capped", () => count("reconnect_backoff_capped_total"));
  on("refused", (why) => count("reconnect_frames_refused_total", 1, { why }));
  on("heal", () => count("reconnect_holes_healed_total"));
  on("lost", () => count("reconnect_messages_lost_total"));
  const observeAge = () => {
    for (const { createdAt } of outbox.messages.items.values()) {
      return observe("reconnect_outbox_age_seconds", Math.max(0, settings.clock.wall() - createdAt) / 1e3);
    }
  };
  on("queueChange", ({ waiting }) => {
    observe("ws_queue_depth", waiting);
    observeAge();
  });
  on("overflow", () => count("reconnect_outbox_refused_total"));
  on("evict", ({ reason }) => count("reconnect_outbox_evicted_total", 1, { reason }));
  on("flush", () => {
    observeAge();
    flushing = new Set(outbox.queue.map(({ id: id2 }) => id2));
    attempted += flushing.size;
    count("reconnect_flush_attempted_total", flushing.size);
  });
  on("acked", (id2) => {
    if (!flushing.delete(id2)) return;
    count("reconnect_flush_succeeded_total");
    gauge("reconnect_flush_success_rate", ++succeeded / attempted);
  });
}

// src/page.ts
function pageSettings(page = globalThis.document) {
  const data = page?.querySelector("script[data-reconnect-channels]")?.dataset;
  return { key: data?.["key"] || void 0, deltaUrl: data?.["delta"] || void 0 };
}
function pagePositions(page = globalThis.document) {
  const found = {};
  for (const { textContent } of page?.querySelectorAll("script[data-reconnect-positions]") ?? []) {
    try {
      Object.assign(found, JSON.parse(textContent ?? ""));
    } catch {
    }
  }
  return found;
}

// src/page-life.ts
var TICK_MS = 5e3;
var JUMP_MS = 2e4;
var HIDDEN_JUMP_MS = 9e4;
function browserSources() {
  const { window, document, navigator } = globalThis;
  return { window, document, connection: navigator?.connection };
}
function watchPageLife(given, clock, signal, { wake, suspend }) {
  const { window, document, connection } = given === true ? browserSources() : given;
  const listen = (target, type2, run2) => target?.addEventListener(type2, run2, { signal });
  listen(window, "pageshow", () => wake("pageshow"));
  listen(window, "pagehide", () => suspend("pagehide"));
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

// src/persistence/environment.ts
function browserEnvironment() {
  const { window, document, navigator } = globalThis;
  return {
    indexedDB: () => globalThis.indexedDB,
    localStorage: () => globalThis.localStorage,
    locks: navigator?.locks,
    openChannel: (name) => window && typeof BroadcastChannel === "function" ? new BroadcastChannel(name) : void 0,
    clock: systemClock,
    window,
    document
  };
}

// src/persistence/adoption.ts
function strangers(rows2, me) {
  return [...new Set(rows2.map(({ owner }) => owner))].filter((owner) => owner !== "" && owner !== me);
}
function choose(rows2, { me, dead, now }, caps) {
  const free = ({ owner }) => owner === "" || dead.has(owner);
  const taken = new Set(rows2.filter((row) => row.owner !== me && !free(row)).map(({ origin }) => origin));
  const orphans = rows2.filter((row) => free(row) && !taken.has(row.origin));
  const kept = rows2.filter(({ owner, adopted }) => owner === me && adopted);
  const refused = [];
  let left = orphans.filter((message2) => {
    const old = now - message2.createdAt > caps.maxAgeMs;
    if (old) refused.push({ message: message2, reason: "age" });
    return !old;
  });
  let count = kept.length + left.length - caps.maxCount;
  let bytes = kept.concat(left).reduce((sum, row) => sum + row.bytes, -caps.maxBytes);
  const gone = /* @__PURE__ */ new Set();
  for (const message2 of left.filter(({ n }) => n === null).sort((a, b) => a.createdAt - b.createdAt || a.order - b.order)) {
    if (count <= 0 && bytes <= 0) break;
    gone.add(message2);
    refused.push({ message: message2, reason: count > 0 ? "count" : "bytes" });
    count--;
    bytes -= message2.bytes;
  }
  left = left.filter((row) => !gone.has(row));
  const byPlace = (a, b) => a.origin < b.origin ? -1 : a.origin > b.origin ? 1 : a.order - b.order;
  return { adopted: left.sort(byPlace), refused };
}

// src/held-lock.ts
function holdLock(locks, name, held = () => {
}) {
  let release;
  const life = new Promise((resolve) => release = resolve);
  const hold = () => {
    held();
    return life;
  };
  locks.request(name, hold).catch(held);
  return release;
}

// src/persistence/beacon.ts
var ANSWER_MS3 = 300;
function lightBeacon(environment2, scope, putOut) {
  const { locks, window, document } = environment2;
  const id2 = uuid4();
  const life = new AbortController();
  const { signal } = life;
  const light = locks ? byLock(locks, scope, id2) : byChannel(environment2, scope, id2);
  let lit = light.on();
  const out = () => {
    light.off();
    putOut();
  };
  const relight = () => {
    light.off();
    lit = light.on();
  };
  window?.addEventListener("pagehide", out, { signal });
  window?.addEventListener("pageshow", (event) => event.persisted && relight(), { signal });
  document?.addEventListener("freeze", out, { signal });
  document?.addEventListener("resume", relight, { signal });
  return {
    id: id2,
    lit: () => lit,
    living: light.living,
    stop() {
      life.abort();
      light.off();
    }
  };
}
function byLock(locks, scope, id2) {
  const name = (owner) => `${scope}:outbox:${owner}`;
  let release = () => {
  };
  return {
    // Refused or stolen: then others take what is stored here, and the server keeps out what comes twice.
    on: () => new Promise((lit) => release = holdLock(locks, name(id2), lit)),
    off: () => release(),
    async living(owners) {
      const { held = [] } = await locks.query();
      const names = new Set(held.map((lock) => lock.name));
      return new Set(owners.filter((owner) => names.has(name(owner))));
    }
  };
}
function byChannel({ openChannel, clock }, scope, id2) {
  let channel;
  let heard = null;
  return {
    async on() {
      try {
        channel = openChannel(`${scope}:outbox`);
      } catch {
      }
      if (!channel) return;
      channel.onmessage = ({ data }) => {
        if (typeof data === "string") heard?.add(data);
        else channel?.postMessage(id2);
      };
    },
    off() {
      channel?.close();
      channel = void 0;
    },
    async living() {
      if (!channel) return /* @__PURE__ */ new Set();
      const answers = heard = /* @__PURE__ */ new Set();
      channel.postMessage(null);
      await new Promise((resolve) => clock.setTimeout(resolve, ANSWER_MS3));
      heard = null;
      return answers;
    }
  };
}

// src/persistence/database.ts
var DATABASE = "reconnect_channels";
var VERSION = 1;
var STORE = "outbox";
var SCOPE = "scope";
var AGE = "age";
function openDatabase(factory, lost) {
  return new Promise((resolve, reject) => {
    const opening = factory.open(DATABASE, VERSION);
    opening.onupgradeneeded = () => {
      const store = opening.result.createObjectStore(STORE, { keyPath: "id" });
      store.createIndex(SCOPE, ["key", "url"]);
      store.createIndex(AGE, "createdAt");
    };
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const db = opening.result;
      db.onversionchange = ({ newVersion }) => {
        db.close();
        lost(newVersion !== null);
      };
      db.onclose = () => lost(false);
      resolve({ run: (mode, work) => run(db, mode, work), close: () => db.close() });
    };
  });
}
function run(db, mode, work) {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(STORE, mode, { durability: "relaxed" });
    let value;
    transaction.oncomplete = () => resolve(value);
    transaction.onabort = () => reject(transaction.error ?? new DOMException("aborted", "AbortError"));
    work(rows(transaction.objectStore(STORE)), (given) => value = given);
  });
}
function rows(store) {
  const each = (request, visit) => {
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return;
      visit(cursor);
      cursor.continue();
    };
  };
  return {
    put: (row) => void store.put(row),
    update(id2, change) {
      const request = store.get(id2);
      request.onsuccess = () => {
        const row = request.result && change(request.result);
        if (row) store.put(row);
      };
    },
    delete: (id2) => void store.delete(id2),
    commit: () => store.transaction.commit?.(),
    all(key, url, then) {
      const request = store.index(SCOPE).getAll([key, url]);
      request.onsuccess = () => then(request.result);
    },
    // An array is above every string.
    wipe: (key) => each(store.index(SCOPE).openCursor(IDBKeyRange.bound([key], [key, []])), (cursor) => cursor.delete()),
    purge: (before, key, url) => each(store.index(AGE).openCursor(IDBKeyRange.upperBound(before)), (cursor) => {
      const row = cursor.value;
      if (row.key !== key || row.url !== url) cursor.delete();
    })
  };
}

// src/persistence/deadline.ts
var TimeoutError = class extends Error {
  name = "TimeoutError";
};
var STEPS = 4;
function deadline(clock, ms, asked) {
  return new Promise((resolve, reject) => {
    let timer;
    const wait = (steps) => {
      if (!steps) return reject(new TimeoutError(`no answer in ${ms} ms`));
      timer = clock.setTimeout(() => wait(steps - 1), ms / STEPS);
    };
    wait(STEPS);
    asked.then(resolve, reject).finally(() => clock.clearTimeout(timer));
  });
}

// src/persistence/row.ts
function isRow(row) {
  const { id: id2, stream, text: text2, bytes, createdAt, origin, order, producer, n, owner } = row;
  const numbered = producer === null ? n === null : isText(producer) && isCount2(n);
  const placed = isText(origin) && isCount2(order) && typeof owner === "string";
  return isText(id2) && isStream(stream) && isJson(text2) && isCount2(bytes) && Number.isFinite(createdAt) && placed && numbered;
}
var isText = (value) => typeof value === "string" && value !== "";
var isCount2 = (value) => Number.isSafeInteger(value) && value > 0;
function isJson(text2) {
  try {
    JSON.parse(text2);
    return typeof text2 === "string";
  } catch {
    return false;
  }
}

// src/persistence/lifeboat.ts
function createLifeboat({ localStorage }, scope, me) {
  const prefix = `${scope}:lifeboat:`;
  let launched = false;
  return {
    launch(rows2) {
      launched = true;
      attempt(() => localStorage()?.setItem(prefix + me, JSON.stringify(rows2)));
    },
    recall() {
      if (launched) remove(localStorage, [prefix + me]);
      launched = false;
    },
    found() {
      const rows2 = [];
      const names = namesIn(localStorage, prefix);
      for (const name of names) {
        attempt(() => {
          const stored2 = JSON.parse(localStorage()?.getItem(name) ?? "null");
          if (Array.isArray(stored2)) rows2.push(...stored2.filter(isRow));
        });
      }
      return { rows: rows2, landed: () => remove(localStorage, names) };
    }
  };
}
function sinkLifeboats({ localStorage }, key) {
  const names = namesIn(localStorage, `rc:v1:${key}:`).filter((name) => name.includes(":lifeboat:"));
  remove(localStorage, names);
}
function namesIn(localStorage, prefix) {
  let names = [];
  attempt(() => names = Object.keys(localStorage() ?? {}).filter((name) => name.startsWith(prefix)));
  return names;
}
function remove(localStorage, names) {
  for (const name of names) attempt(() => localStorage()?.removeItem(name));
}
function attempt(work) {
  try {
    work();
  } catch {
  }
}

// src/persistence/store.ts
var PATIENCE_MS = 2e3;
function createStore(environment2, client, key, caps) {
  const { clock } = environment2;
  const url = client.url;
  const known = /* @__PURE__ */ new Map();
  const shared2 = /* @__PURE__ */ new Set();
  const scope = `rc:v1:${key}:${url}`;
  const beacon = lightBeacon(environment2, scope, () => {
    for (const id2 of [...known.keys(), ...changes.keys()]) shared2.add(id2);
    const unwritten = [...changes.values()].filter((message2) => message2 !== null);
    if (unwritten.length && !off) lifeboat.launch(unwritten.map(orphan));
  });
  const me = beacon.id;
  const lifeboat = createLifeboat(environment2, scope, me);
  let changes = /* @__PURE__ */ new Map();
  let writing = null;
  let opening = null;
  let ready = false;
  let available = true;
  let off = false;
  let closing = false;
  let last = Promise.resolve();
  let finished = null;
  async function open() {
    const factory = environment2.indexedDB();
    if (!factory) throw new DOMException("no IndexedDB here", "NotSupportedError");
    const asked = openDatabase(factory, (newer) => {
      opening = null;
      known.clear();
      if (newer) giveUp("a newer version of this site uses the storage");
    });
    try {
      const [database] = await deadline(clock, PATIENCE_MS, Promise.all([asked, beacon.lit()]));
      database.run("readwrite", (rows2) => rows2.purge(clock.wall() - caps.maxAgeMs, key, url)).catch(() => {
      });
      const { rows: rescued, landed } = lifeboat.found();
      if (rescued.length) {
        const takenIn = database.run("readwrite", (rows2) => rescued.forEach((row) => rows2.put(orphan(row))));
        await deadline(clock, PATIENCE_MS, takenIn);
        landed();
      }
      ready = true;
      return database;
    } catch (error) {
      asked.then((late) => late.close()).catch(() => {
      });
      throw error;
    }
  }
  async function run2(mode, work) {
    for (let again = 0; ; again++) {
      let database;
      try {
        database = await (opening ??= open());
      } catch (error) {
        giveUp(reasonOf(error));
        throw error;
      }
      try {
        return await deadline(clock, PATIENCE_MS, database.run(mode, work));
      } catch (error) {
        const { name } = error ?? {};
        if (name === "InvalidStateError" && !again && !off) opening = null;
        else {
          if (name === "TimeoutError") giveUp(reasonOf(error));
          else tell(false, reasonOf(error));
          throw error;
        }
      }
    }
  }
  function giveUp(reason) {
    off = true;
    ready = false;
    known.clear();
    changes.clear();
    opening?.then((database) => database.close()).catch(() => {
    });
    tell(false, reason);
  }
  function tell(now, reason) {
    if (now === available || closing) return;
    available = now;
    client.emit("persistence", { available, reason });
  }
  const orphan = (message2) => ({ ...message2, key, url, owner: "", adopted: false });
  function change(id2, message2) {
    changes.set(id2, message2);
    return writing ??= Promise.resolve().then(write);
  }
  async function write() {
    try {
      await (opening ??= open());
    } catch {
    }
    const batch = changes;
    changes = /* @__PURE__ */ new Map();
    writing = null;
    lifeboat.recall();
    if (off || !batch.size) return;
    const fresh = /* @__PURE__ */ new Set();
    for (const [id2, message2] of batch) {
      if (!message2) known.delete(id2);
      else if (!known.has(id2)) {
        fresh.add(id2);
        known.set(id2, "issued");
      }
    }
    const written = run2("readwrite", (rows2) => {
      let reads = false;
      for (const [id2, message2] of batch) {
        if (!message2) rows2.delete(id2);
        else if (fresh.has(id2)) rows2.put({ ...message2, key, url, owner: me, adopted: false });
        else {
          reads = true;
          rows2.update(id2, (row) => row.owner === me ? { ...row, ...message2 } : void 0);
        }
      }
      if (!reads) rows2.commit();
    }).then(
      () => {
        if (fresh.size) tell(true, "");
        for (const id2 of fresh) if (known.has(id2)) known.set(id2, "committed");
      },
      () => {
        for (const id2 of fresh) known.delete(id2);
        const over = [...batch].filter(([id2, message2]) => !message2 && !changes.has(id2));
        for (const [id2] of over) changes.set(id2, null);
        if (over.length && over.length < batch.size) writing ??= Promise.resolve().then(write);
      }
    );
    last = written;
    return written;
  }
  async function adopt() {
    const found = await run2("readonly", (rows2, give) => rows2.all(key, url, give));
    const owners = strangers(found.filter(isRow), me);
    const living = owners.length ? await beacon.living(owners) : /* @__PURE__ */ new Set();
    const finder = { me, dead: new Set(owners.filter((owner) => !living.has(owner))), now: clock.wall() };
    const { adopted, refused } = choose(found.filter(isRow), finder, caps);
    if (closing || off || !(adopted.length + refused.length || found.some((row) => !isRow(row)))) return [];
    let messages = [];
    let gone = [];
    const removed = finished = /* @__PURE__ */ new Set();
    const taking = run2(
      "readwrite",
      (rows2) => rows2.all(key, url, (now) => {
        for (const row of now) if (!isRow(row)) rows2.delete(row.id);
        const choice = choose(now.filter(isRow), finder, caps);
        for (const row of choice.adopted) rows2.put({ ...row, owner: me, adopted: true });
        for (const { message: message2 } of choice.refused) rows2.delete(message2.id);
        messages = choice.adopted.map(plain);
        gone = choice.refused;
      })
    );
    await taking.finally(() => finished = null);
    messages = messages.filter(({ id: id2 }) => !removed.has(id2));
    for (const { id: id2 } of messages) known.set(id2, "committed");
    for (const { message: message2, reason } of gone) client.emit("undelivered", { entry: entryOf(message2), reason });
    return messages;
  }
  function release() {
    const ids = [...known.keys(), ...changes.keys()];
    if (off || !ids.length) return Promise.resolve();
    known.clear();
    shared2.clear();
    return Promise.resolve(writing).then(
      () => run2("readwrite", (rows2) => {
        for (const id2 of ids) rows2.update(id2, (row) => row.owner === me ? { ...row, owner: "" } : void 0);
      })
    ).catch(() => {
    });
  }
  return {
    save(message2) {
      return off || closing ? void 0 : change(message2.id, message2);
    },
    remove(id2) {
      shared2.delete(id2);
      finished?.add(id2);
      if (off || closing) return;
      if (changes.get(id2) && !known.has(id2)) changes.delete(id2);
      else void change(id2, null);
    },
    adopt: () => off || closing ? Promise.resolve([]) : adopt().catch(() => []),
    holds: (id2) => known.has(id2) || ready && available && !!changes.get(id2),
    exposed: (id2) => shared2.has(id2),
    release: () => void release(),
    close() {
      if (closing) return;
      closing = true;
      void release().then(() => last).then(() => {
        beacon.stop();
        return opening?.then((database) => database.close());
      }).catch(() => {
      });
    },
    async wipe() {
      off = true;
      changes.clear();
      known.clear();
      beacon.stop();
      await wipe(environment2, key).finally(() => opening?.then((database) => database.close()).catch(() => {
      }));
    }
  };
}
async function wipe(environment2, key) {
  const { indexedDB, clock } = environment2;
  sinkLifeboats(environment2, key);
  const factory = indexedDB();
  if (!factory) return;
  const database = await deadline(clock, PATIENCE_MS, openDatabase(factory, () => {
  }));
  try {
    await deadline(clock, PATIENCE_MS, database.run("readwrite", (rows2) => rows2.wipe(key)));
  } finally {
    database.close();
  }
}
function plain({ id: id2, stream, text: text2, bytes, createdAt, origin, order, producer, n }) {
  return { id: id2, stream, text: text2, bytes, createdAt, origin, order, producer, n };
}
function entryOf({ id: id2, stream, text: text2, createdAt, n }) {
  const state = n === null ? "queued" : "sent";
  return Object.freeze({ id: id2, stream, payload: JSON.parse(text2), state, createdAt, failures: 0, restored: true });
}
var reasonOf = (error) => error instanceof Error ? `${error.name}: ${error.message}` : String(error);

// src/persistence/index.ts
var CAPS = { maxAgeMs: 23 * 36e5, maxCount: 1e3, maxBytes: 8 * 2 ** 20 };
function persistOutbox({ environment: environment2 = browserEnvironment(), ...options } = {}) {
  const given = Object.entries(options).filter(([, value]) => value !== void 0);
  for (const [name, value] of given) if (!(value > 0)) throw new RangeError(`${name} must be positive`);
  const caps = { ...CAPS, ...Object.fromEntries(given) };
  return (client) => {
    if (client.key) return createStore(environment2, client, client.key, caps);
    queueMicrotask(() => client.emit("persistence", { available: false, reason: "no identity key" }));
    return NOWHERE;
  };
}
var NOWHERE = { save() {
}, remove() {
} };
function wipeOutbox(key, environment2 = browserEnvironment()) {
  return wipe(environment2, key);
}

// src/sharing.ts
function alone({ open, clientId }) {
  const nothing = () => {
  };
  return { role: "solo", term: 0, clientId, tabs: [], waiting: null, open, resign: nothing, failed: nothing, logout: nothing };
}

// src/strict.ts
var MAX_VALUES = 1e3;
var MAX_INTEGER = 2 ** 53;
var EXPONENT_FROM = 1e21;
function strict() {
  let values = 0;
  return (key, value) => {
    const size = typeof value === "number" ? Math.abs(value) : 0;
    if (value !== void 0) values++;
    refuse(size > MAX_INTEGER && size < EXPONENT_FROM, "an integer beyond 2^53");
    refuse(values > MAX_VALUES, `more than ${MAX_VALUES} values`);
    refuse(key === "__proto__", "a key __proto__");
  };
}

// src/sync.ts
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

// src/tabs/election.ts
var LEAP = 2 ** 20;
var STEALS = 3;
var STEAL_EVERY_MS = 6e4;
function createElection(key, environment2, events) {
  const { clock, storage } = environment2;
  const locks = environment2.locks;
  let current2 = null;
  let term2 = 0;
  let steals = 0;
  let stoleAt = -Infinity;
  const leading = () => !!current2?.release;
  function apply(options = {}) {
    const mine = current2 = { queue: new AbortController(), release: null };
    const how = options.steal ? options : { ...options, signal: mine.queue.signal };
    const hold = () => {
      if (current2 !== mine) return void 0;
      return new Promise((release) => {
        mine.release = release;
        term2 = Math.max(term2, stored2()) + 1;
        store();
        events.lead();
      });
    };
    new Promise((settled) => settled(locks.request(`${key}:leader`, how, hold))).catch(() => {
      if (current2 !== mine) return;
      current2 = null;
      if (!mine.release) return events.unavailable();
      steals = STEALS;
      apply();
      events.follow();
    });
  }
  function withdraw() {
    const old = current2;
    current2 = null;
    old?.queue.abort();
    old?.release?.();
  }
  function resign() {
    withdraw();
    apply();
    events.follow();
  }
  function stored2() {
    try {
      const value = Number(storage?.getItem(`${key}:term`));
      return Number.isSafeInteger(value) && value < 2 ** 52 ? value : 0;
    } catch {
      return 0;
    }
  }
  const plausible = (seen) => seen <= Math.max(term2, stored2()) + LEAP;
  function store() {
    if (term2 <= stored2()) return;
    try {
      storage?.setItem(`${key}:term`, String(term2));
    } catch {
    }
  }
  return {
    get leading() {
      return leading();
    },
    get term() {
      return term2;
    },
    withdraw,
    resign,
    plausible,
    apply: () => void (current2 ?? apply()),
    requeue() {
      if (!current2 || leading()) return;
      withdraw();
      apply();
    },
    observe(seen) {
      if (seen <= term2 || !plausible(seen)) return;
      term2 = seen;
      store();
      if (leading()) resign();
    },
    steal() {
      const now = clock.now();
      if (leading() || steals >= STEALS || now - stoleAt < STEAL_EVERY_MS) return false;
      steals++;
      stoleAt = now;
      withdraw();
      apply({ steal: true });
      return true;
    }
  };
}

// src/tabs/pipe.ts
function openPipe(name, received, storage) {
  if (typeof BroadcastChannel === "function") {
    try {
      const channel = new BroadcastChannel(name);
      channel.onmessage = ({ data }) => received(data);
      return {
        post: (data) => channel.postMessage(data),
        close() {
          channel.onmessage = null;
          channel.close();
        }
      };
    } catch {
    }
  }
  return storage && storagePipe(`${name}:pipe`, received, storage);
}
function storagePipe(key, received, storage) {
  const listen = (event) => {
    if (event.key !== key || !event.newValue) return;
    try {
      received(JSON.parse(event.newValue).data);
    } catch {
    }
  };
  addEventListener("storage", listen);
  let count = 0;
  return {
    post(data) {
      storage.setItem(key, JSON.stringify({ data, count: ++count, at: performance.now() }));
      storage.removeItem(key);
    },
    close: () => removeEventListener("storage", listen)
  };
}

// src/tabs/environment.ts
function browserEnvironment2() {
  const { window, document, navigator } = globalThis;
  let storage;
  try {
    storage = globalThis.localStorage;
  } catch {
  }
  return {
    locks: navigator?.locks,
    openPipe: (name, received) => openPipe(name, received, storage),
    storage,
    clock: systemClock,
    random: secureRandom,
    window,
    document,
    fetch: (url, init) => fetch(url, { credentials: "same-origin", headers: { accept: "application/json" }, ...init })
  };
}

// src/tabs/http.ts
var ATTEMPTS = 5;
var PAGES = 1e3;
var BASE_MS = 300;
var MAX_MS = 5e3;
function createHttp({ clock, random, fetch: fetch2 }, deltaUrl) {
  async function page(stream, claim, signal) {
    const query = claim ? `?${new URLSearchParams(Object.entries(claim).map(([key, value]) => [key, String(value)]))}` : "";
    for (let attempt2 = 0; attempt2 < ATTEMPTS && !signal.aborted; attempt2++) {
      if (attempt2) {
        await new Promise((run2) => after(clock, calculateBackoff(attempt2, BASE_MS, MAX_MS, random), signal, run2));
      }
      try {
        const response = await fetch2(deltaUrl.replace("STREAM", encodeURIComponent(stream)) + query, { signal });
        if (response.ok) {
          const frame = readFrame(JSON.stringify(await response.json()));
          return isKnown(frame) && (frame.type === "SYNC_DELTA" || frame.type === "SYNC_SNAPSHOT") ? frame : null;
        }
        if (response.status < 500 && response.status !== 429) return null;
      } catch {
      }
    }
    return null;
  }
  return async (stream, claim, signal, events) => {
    if (!deltaUrl) return events.failed();
    for (let pages = 0; pages < PAGES; pages++) {
      const frame = await page(stream, claim, signal);
      if (signal.aborted) return;
      if (!frame || frame.stream !== stream) return events.failed();
      events.frame(frame);
      if (signal.aborted) return;
      if (frame.type === "SYNC_DELTA") {
        if (frame.complete) return events.done();
        claim = { epoch: frame.epoch, last_seq_id: frame.to, checksum: frame.checksum };
      } else claim = { epoch: frame.epoch, last_seq_id: frame.seq, checksum: frame.checksum };
    }
    events.failed();
  };
}

// src/tabs/letters.ts
var HELLO = 0;
var id = (value) => typeof value === "string" && value.length > 0 && value.length <= 200;
var term = (value) => isCount(value) && value < 2 ** 52;
var optional = (check) => (value) => value === null || check(value);
var every = (check) => (value) => Array.isArray(value) && value.every(check);
var record = (check) => (value) => object(value) && Object.entries(value).every(([name, held]) => isStream(name) && check(held));
var shape = (fields) => (value) => object(value) && Object.entries(fields).every(([name, check]) => check(value[name]));
var position = optional(shape({ epoch: text, last_seq_id: isCount, checksum: isCount }));
var message = (value) => typeof value === "string" && value.length <= MAX_FRAME && value.startsWith('{"type":"MESSAGE"');
var SHAPES2 = {
  lead: shape({
    term,
    tab: id,
    client: id,
    welcome: optional(
      shape({ session: text, node: text, clock: isCount, heartbeat_ms: isCount, streams: every(isStream), limits: object })
    ),
    attempt: isCount,
    retryAt: optional((value) => typeof value === "number"),
    age: (value) => typeof value === "number",
    tabs: every(shape({ id, visible: flag })),
    failed: optional(shape({ code: isCount, reason: text }))
  }),
  gone: shape({ term }),
  frame: shape({ term, text }),
  answer: shape({ term, to: id, text }),
  joined: shape({ term, to: id, ref: isCount, streams: record(optional(shape({ position, live: flag }))) }),
  lost: shape({ term, to: id }),
  ask: shape({ tab: id, visible: flag, seen: term }),
  join: shape({ term, tab: id, ref: isCount, streams: record(position), anew: flag }),
  leave: shape({ term, tab: id, streams: every(isStream) }),
  out: shape({ term, tab: id, id, text: message }),
  wake: shape({ tab: id }),
  claim: shape({ tab: id }),
  bye: shape({ tab: id }),
  logout: () => true
};
var SYNC = /^\{"type":"SYNC_(?:DELTA|SNAPSHOT)","stream":"([A-Za-z0-9._:-]+)"/;
function syncStream(frame) {
  return typeof frame === "string" ? SYNC.exec(frame)?.[1] : void 0;
}
function readLetter(data) {
  if (!object(data)) return null;
  const { t } = data;
  return typeof t === "string" && Object.hasOwn(SHAPES2, t) && SHAPES2[t](data) ? data : null;
}

// src/tabs/relay.ts
var BEAT_MS = 1e3;
var BEACON_MS = 2e3;
var OWNERS = 1e4;
function createRelay(parts) {
  const { key, tab, client, term: term2, host, environment: environment2, post } = parts;
  const { clock } = environment2;
  const life = new AbortController();
  const followers = /* @__PURE__ */ new Map();
  const owners = /* @__PURE__ */ new Map();
  let transport = null;
  let welcome = null;
  let heardAt = clock.now();
  let terminal = null;
  let failed = null;
  let stopBeat = () => {
  };
  const tabs = () => [
    { id: tab, visible: parts.visible() },
    ...Array.from(followers, ([id2, { visible }]) => ({ id: id2, visible }))
  ];
  function say() {
    if (life.signal.aborted) return;
    stopBeat();
    stopBeat = after(clock, BEAT_MS, life.signal, say);
    const age = clock.now() - heardAt;
    post({ t: "lead", term: term2, tab, client, welcome, ...host.waiting(), age, tabs: tabs(), failed });
  }
  const open = (events) => {
    let over = false;
    const mine = host.open({
      opened: events.opened,
      received(data) {
        heardAt = clock.now();
        if (syncStream(data)) {
          events.received(data);
          return tell(data);
        }
        const frame = parse(data);
        const type = frame?.type;
        if (type === "BYE") {
          const { code, reason, reconnect } = frame;
          if (code === 4509) return supersede(frame.term);
          terminal = reconnect === false ? { code: Number(code), reason: String(reason) } : null;
        }
        const owner = (type === "ACK" || type === "REJECT") && owners.get(String(frame.id));
        if (owner) {
          owners.delete(String(frame.id));
          return post({ t: "answer", term: term2, to: owner, text: String(data) });
        }
        events.received(data);
        if (over || !frame) return;
        if (type === "WELCOME") {
          welcome = frame;
          terminal = failed = null;
          say();
        } else if (!PRIVATE.includes(String(type))) tell(data);
      },
      ended(ending) {
        down();
        if (ending.code === 4509) return supersede();
        if (isTerminal(ending.code)) terminal = { code: ending.code, reason: ending.reason };
        events.ended(ending);
        say();
      }
    });
    function tell(data) {
      if (!over && welcome && followers.size) post({ t: "frame", term: term2, text: String(data) });
    }
    function supersede(other) {
      down();
      mine.close(1e3, "superseded");
      parts.superseded(typeof other === "number" ? other : 0);
    }
    function down() {
      over = true;
      if (transport !== mine && transport) return;
      transport = welcome = null;
      owners.clear();
    }
    transport = mine;
    return {
      send: mine.send,
      close(code, reason) {
        const was = welcome;
        down();
        mine.close(code, reason);
        if (was) say();
      }
    };
  };
  function follower(id2) {
    let known = followers.get(id2);
    if (!known) {
      known = { visible: true, streams: /* @__PURE__ */ new Set() };
      followers.set(id2, known);
      watchBeacon(id2);
      parts.changed();
    }
    return known;
  }
  function watchBeacon(id2) {
    after(clock, BEACON_MS, life.signal, () => {
      environment2.locks.request(`${key}:tab:${id2}`, { signal: life.signal }, () => {
        if (life.signal.aborted || !followers.has(id2)) return;
        forget(id2);
        post({ t: "lost", term: term2, to: id2 });
      }).catch(() => {
      });
    });
  }
  function forget(id2) {
    const gone = followers.get(id2);
    if (!gone) return;
    followers.delete(id2);
    leave(gone, [...gone.streams]);
    parts.changed();
    say();
  }
  function leave(from, names) {
    for (const name of names) {
      from.streams.delete(name);
      if (![...followers.values()].some(({ streams }) => streams.has(name))) host.release(name);
    }
  }
  function join({ tab: to, ref, streams, anew }) {
    const known = follower(to);
    if (!welcome) return;
    if (ref === HELLO && !anew) leave(known, [...known.streams].filter((name) => !Object.hasOwn(streams, name)));
    const standings = {};
    for (const [name, claim] of Object.entries(streams)) {
      const held = host.hold(name, claim, anew);
      const at = held ? host.at(name) : void 0;
      if (at) known.streams.add(name);
      standings[name] = at ? { position: toWire(at.position), live: at.live } : null;
    }
    post({ t: "joined", term: term2, to, ref, streams: standings });
  }
  function out({ tab: from, id: id2, text: text2 }) {
    follower(from);
    if (!welcome || !transport) return;
    owners.delete(id2);
    owners.set(id2, from);
    for (const oldest of owners.keys()) {
      if (owners.size <= OWNERS) break;
      owners.delete(oldest);
    }
    transport.send(text2);
  }
  return {
    get tabs() {
      return tabs();
    },
    open,
    say,
    take(letter) {
      if ("term" in letter && letter.term !== term2) return;
      if (letter.t === "ask") {
        const known = follower(letter.tab);
        if (known.visible !== (known.visible = letter.visible)) parts.changed();
        say();
      } else if (letter.t === "join") join(letter);
      else if (letter.t === "leave") leave(follower(letter.tab), letter.streams);
      else if (letter.t === "out") out(letter);
      else if (letter.t === "bye") forget(letter.tab);
      else if (letter.t === "claim") say();
      else if (letter.t === "wake") {
        follower(letter.tab);
        host.wake("tab");
      }
    },
    failed() {
      failed = terminal;
      if (failed) say();
    },
    end() {
      life.abort();
      for (const name of new Set([...followers.values()].flatMap(({ streams }) => [...streams]))) host.release(name);
      followers.clear();
    }
  };
}
var PRIVATE = ["WELCOME", "BYE", "SUBSCRIBED", "UNSUBSCRIBED", "ACK", "REJECT"];
function parse(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame === "object" ? frame : null;
  } catch {
    return null;
  }
}

// src/tabs/rest.ts
var LOOK_MS = 5e3;
function watchRest({ clock, document }, host, link, afterMs) {
  if (afterMs === void 0) return;
  let seenAt = clock.now();
  let resting = false;
  const seen = () => document?.visibilityState !== "hidden" || link.tabs.some(({ visible, mine }) => visible && !mine);
  const look = () => {
    if (seen()) {
      seenAt = clock.now();
      if (resting) host.wake("visible");
      resting = false;
    } else if (!resting && clock.now() - seenAt >= afterMs && (link.role === "leader" || link.role === "solo")) {
      resting = true;
      host.suspend("nobody looks");
    }
  };
  const tick = () => {
    look();
    after(clock, Math.min(LOOK_MS, afterMs), host.signal, tick);
  };
  tick();
  document?.addEventListener("visibilitychange", look, { signal: host.signal });
}

// src/tabs/shared-transport.ts
var REPEAT_MS = 1e3;
var KEPT = 1e3;
var IN_FLIGHT = 8;
function createSharedTransport(parts, events) {
  const { tab, environment: environment2, http, leader: leader2, post } = parts;
  const life = new AbortController();
  const streams = /* @__PURE__ */ new Map();
  const joins = /* @__PURE__ */ new Map();
  const probes = [];
  let session = null;
  const deliver = (frame2) => events.received(JSON.stringify(frame2));
  const later = (run2) => queueMicrotask(() => {
    if (!life.signal.aborted) run2();
  });
  function stop() {
    life.abort();
    for (const { over } of streams.values()) over.abort();
  }
  function end(ending) {
    if (life.signal.aborted) return;
    stop();
    events.ended({ code: 1006, reason: "", ...ending });
  }
  function join(ref, claims) {
    for (const name of Object.keys(claims)) {
      part(name);
      streams.set(name, { kept: [], over: new AbortController() });
    }
    joins.set(ref, claims);
    const ask = () => {
      const term2 = leader2()?.term;
      if (term2 === void 0 || !joins.has(ref)) return;
      post({ t: "join", term: term2, tab, ref, streams: claims, anew: false });
      after(environment2.clock, REPEAT_MS, life.signal, ask);
    };
    ask();
  }
  function joined(ref, standings) {
    const claims = joins.get(ref);
    const welcome = leader2()?.welcome;
    if (!claims || !welcome) return;
    const places = Object.keys(claims).map((name) => standings[name]);
    if (places.includes(void 0)) return;
    joins.delete(ref);
    if (places.includes(null)) return parts.full();
    if (ref === HELLO) deliver({ ...welcome, limits: { ...welcome.limits, in_flight: IN_FLIGHT } });
    else deliver({ type: "SUBSCRIBED", ref });
    for (const [name, claim] of Object.entries(claims)) {
      const stream = streams.get(name);
      if (stream?.kept) connect3(name, stream, claim, standings[name]);
    }
  }
  function connect3(name, stream, claim, at) {
    const first = stream.kept[0];
    const reaches = first && (first.type === "SYNC_SNAPSHOT" || first.epoch === claim?.epoch && first.from <= claim.last_seq_id);
    if (reaches || !at.position) pass(stream);
    else if (!first && same(claim, at.position)) {
      pass(stream);
      if (at.live) deliver(current(name, at.position));
    } else {
      void http(name, claim, stream.over.signal, {
        frame: deliver,
        done: () => pass(stream),
        failed() {
          pass(stream);
          post({ t: "join", term: leader2()?.term ?? 0, tab, ref: HELLO, streams: { [name]: null }, anew: true });
        }
      });
    }
  }
  function pass(stream) {
    const { kept } = stream;
    stream.kept = null;
    for (const frame2 of kept ?? []) if (!stream.over.signal.aborted) deliver(frame2);
  }
  function part(name) {
    streams.get(name)?.over.abort();
    streams.delete(name);
  }
  function frame(text2) {
    const name = syncStream(text2);
    if (name && !streams.get(name)?.kept) return void (streams.has(name) && events.received(text2));
    const frame2 = JSON.parse(text2);
    switch (frame2["type"]) {
      case "SYNC_DELTA":
      case "SYNC_SNAPSHOT": {
        const stream = streams.get(frame2.stream);
        if (!stream) return;
        if (!stream.kept) return events.received(text2);
        stream.kept.push(frame2);
        if (stream.kept.length > KEPT) stream.kept.shift();
        return;
      }
      case "PING": {
        const heads = Object.entries(frame2["heads"] ?? {}).filter(([name2]) => streams.get(name2)?.kept === null);
        return deliver({ ...frame2, heads: Object.fromEntries(heads) });
      }
      case "ERROR": {
        const named = frame2["streams"];
        const ours = Array.isArray(named) ? named.filter((name2) => streams.has(name2)) : [];
        if (ours.length) deliver({ ...frame2, ref: void 0, streams: ours });
        return;
      }
      default:
        events.received(text2);
    }
  }
  function send(text2) {
    const lead = leader2();
    if (!session || !lead || life.signal.aborted) return false;
    const { term: term2 } = lead;
    const frame2 = JSON.parse(text2);
    switch (frame2.type) {
      case "HELLO":
        join(HELLO, { ...Object.fromEntries((lead.welcome?.streams ?? []).map((name) => [name, null])), ...frame2.streams });
        return true;
      case "SUBSCRIBE":
        if (Object.keys(frame2.streams).length) join(frame2.ref, frame2.streams);
        else {
          probes.push(frame2.ref);
          post({ t: "wake", tab });
          post({ t: "ask", tab, visible: parts.visible(), seen: term2 });
        }
        return true;
      case "UNSUBSCRIBE":
        frame2.streams.forEach(part);
        post({ t: "leave", term: term2, tab, streams: frame2.streams });
        later(() => deliver({ type: "UNSUBSCRIBED", ref: frame2.ref }));
        return true;
      case "MESSAGE":
        post({ t: "out", term: term2, tab, id: frame2.id, text: text2 });
        return true;
      default:
        return frame2.type !== "TELEMETRY";
    }
  }
  function led() {
    const welcome = leader2()?.welcome;
    if (session && session !== welcome?.session) end({ reason: "the leader's connection", again: true });
    else if (welcome && !session) {
      ({ session } = welcome);
      later(() => events.opened());
    }
    if (welcome) for (const ref of probes.splice(0)) deliver({ type: "SUBSCRIBED", ref });
  }
  later(led);
  return {
    get patient() {
      return !session;
    },
    send,
    led,
    end,
    close: stop,
    take(letter) {
      if (!session || life.signal.aborted) return;
      try {
        if (letter.t === "frame") frame(letter.text);
        else if (!("to" in letter) || letter.to !== tab) return;
        else if (letter.t === "joined") joined(letter.ref, letter.streams);
        else if (letter.t === "answer") events.received(letter.text);
        else if (letter.t === "lost") end({ reason: "the leader lost this tab", again: true });
      } catch {
      }
    }
  };
}
function current(stream, { epoch, last_seq_id: seq, checksum }) {
  return { type: "SYNC_DELTA", stream, epoch, from: seq, to: seq, checksum, complete: true, payload: [] };
}
function same(a, b) {
  return a !== null && a.epoch === b.epoch && a.last_seq_id === b.last_seq_id && a.checksum === b.checksum;
}

// src/tabs/watch.ts
var TICK_MS2 = 1e3;
var ASK_MS = 2500;
var DEAD_MS2 = 4500;
var HIDDEN_DEAD_MS = 5500;
var CLAIM_MS = 200;
var SLEPT_MS = 2500;
function createWatch(tab, { clock, document }, signal, { ask, claim, takeOver }) {
  let heardAt = clock.now();
  let tickedAt = heardAt;
  let stopTick = () => {
  };
  let stopClaim = null;
  function heard() {
    heardAt = clock.now();
    stopClaim?.();
    stopClaim = null;
  }
  function tick() {
    const now = clock.now();
    const slept = now - tickedAt > SLEPT_MS;
    tickedAt = now;
    stopTick = after(clock, TICK_MS2, signal, tick);
    if (slept) return heard();
    const quiet = now - heardAt;
    if (quiet < ASK_MS || stopClaim) return;
    ask();
    if (quiet < (document?.visibilityState === "hidden" ? HIDDEN_DEAD_MS : DEAD_MS2)) return;
    claim();
    stopClaim = after(clock, CLAIM_MS, signal, () => {
      heard();
      takeOver();
    });
  }
  function stop() {
    stopTick();
    stopClaim?.();
    stopClaim = null;
  }
  return {
    heard,
    stop,
    claimed(other) {
      if (stopClaim && other < tab) heard();
    },
    start() {
      stop();
      heardAt = tickedAt = clock.now();
      stopTick = after(clock, TICK_MS2, signal, tick);
    }
  };
}

// src/tabs/index.ts
function shareTabs(options = {}) {
  return (host) => {
    const environment2 = options.environment ?? browserEnvironment2();
    const key = options.key ?? host.key;
    const link = key && environment2.locks && share(`rc:v1:${key}:${host.url}`, host, environment2, options) || alone(host);
    watchRest(environment2, host, link, options.hiddenDisconnectMs);
    return link;
  };
}
function share(key, host, environment2, { deltaUrl }) {
  const { signal, settings } = host;
  const { storage, window, document } = environment2;
  const tab = uuid4();
  let leader2 = null;
  let relay = null;
  let transport = null;
  let askedAt = -Infinity;
  let asleep = false;
  let idle = false;
  let solo = false;
  let releaseBeacon = () => {
  };
  let tabs = [];
  let client = clientId();
  let pipe = environment2.openPipe(key, received);
  if (!pipe) return null;
  const visible = () => document?.visibilityState !== "hidden";
  const http = createHttp(environment2, deltaUrl);
  function clientId() {
    try {
      const known = storage?.getItem(`${key}:client`);
      if (known && known.length <= 100) return known;
      const made = uuid4();
      storage?.setItem(`${key}:client`, made);
      return made;
    } catch {
      return tab;
    }
  }
  function post(letter) {
    try {
      pipe?.post(letter);
    } catch (error) {
      settings.error(error);
    }
  }
  function ask() {
    askedAt = settings.clock.now();
    post({ t: "ask", tab, visible: visible(), seen: election.term });
  }
  const election = createElection(key, environment2, {
    lead() {
      watch.stop();
      leader2 = null;
      const { term: term2 } = election;
      const superseded = (newer) => {
        if (election.term !== term2 || !election.leading) return;
        election.observe(newer);
        if (election.leading) election.resign();
      };
      relay = createRelay({ key, tab, client, term: term2, host, environment: environment2, post, visible, superseded, changed });
      relay.say();
      changed();
      host.restart("leader");
    },
    follow() {
      endRelay();
      watch.start();
      changed();
      host.restart("follower");
      ask();
    },
    unavailable() {
      goSolo();
    }
  });
  const watch = createWatch(tab, environment2, signal, {
    ask() {
      election.requeue();
      ask();
    },
    claim: () => post({ t: "claim", tab }),
    takeOver: () => void election.steal()
  });
  function endRelay() {
    relay?.end();
    relay = null;
  }
  function forget() {
    leader2 = null;
    transport?.end({ reason: "the leader is gone", again: true });
  }
  function role() {
    if (solo) return "solo";
    if (asleep || idle) return "suspended";
    return relay ? "leader" : leader2 ? "follower" : "candidate";
  }
  function changed() {
    const list = solo ? [] : relay ? relay.tabs : leader2?.tabs ?? [];
    const head = relay ? tab : leader2?.tab;
    const next = list.map(({ id: id2, visible: visible2 }) => Object.freeze({ id: id2, leader: id2 === head, mine: id2 === tab, visible: visible2 }));
    if (JSON.stringify(next) !== JSON.stringify(tabs)) tabs = Object.freeze(next);
    settings.changed();
  }
  function begin() {
    releaseBeacon = holdLock(environment2.locks, `${key}:tab:${tab}`);
    election.apply();
    watch.start();
    ask();
  }
  function end() {
    post(relay ? { t: "gone", term: election.term } : { t: "bye", tab });
    watch.stop();
    endRelay();
    leader2 = null;
    election.withdraw();
    releaseBeacon();
  }
  function goSolo() {
    if (solo) return;
    end();
    solo = true;
    pipe?.close();
    pipe = void 0;
    changed();
    host.restart("solo");
  }
  function received(data) {
    const letter = readLetter(data);
    if (!letter || asleep || solo || signal.aborted) return;
    if (letter.t === "logout") return host.logout();
    if (letter.t === "claim") watch.claimed(letter.tab);
    if (letter.t === "lead") hear(letter);
    if (letter.t === "ask" && relay) election.observe(letter.seen);
    if (relay) relay.take(letter);
    else if ("term" in letter && letter.term === leader2?.term) {
      if (letter.t === "gone") forget();
      else transport?.take(letter);
    }
  }
  function hear(letter) {
    if (letter.term < election.term || !election.plausible(letter.term) || letter.tab === tab) return;
    election.observe(letter.term);
    if (relay) return;
    const other = leader2?.term !== letter.term || leader2.tab !== letter.tab;
    const missing = !letter.tabs.some(({ id: id2 }) => id2 === tab);
    leader2 = letter;
    client = letter.client;
    if (fresh(letter)) watch.heard();
    if (other) transport?.end({ reason: "another tab leads", again: true });
    if (letter.failed) transport?.end(letter.failed);
    else if (idle && letter.welcome) host.retry();
    else transport?.led();
    if (missing && !idle && (other || settings.clock.now() - askedAt >= ASK_AGAIN_MS)) ask();
    changed();
  }
  function fresh({ welcome, age, retryAt }) {
    if (welcome) return age < 2 * welcome.heartbeat_ms + SLACK_MS;
    return retryAt === null || settings.clock.wall() < retryAt + SLACK_MS;
  }
  function sleep() {
    if (asleep || solo) return;
    end();
    asleep = true;
    pipe?.close();
    pipe = void 0;
    changed();
  }
  function wake() {
    if (!asleep) return;
    asleep = false;
    pipe = environment2.openPipe(key, received);
    if (!pipe) return goSolo();
    if (!idle) begin();
    changed();
  }
  const listen = (target, type, run2) => target?.addEventListener(type, run2, { signal });
  listen(window, "pagehide", sleep);
  listen(document, "freeze", sleep);
  listen(window, "pageshow", wake);
  listen(document, "resume", wake);
  listen(document, "visibilitychange", () => {
    if (relay) {
      relay.say();
      changed();
    } else {
      ask();
      if (visible()) post({ t: "wake", tab });
    }
  });
  listen(window, "online", () => post({ t: "wake", tab }));
  signal.addEventListener("abort", () => {
    if (!asleep && !solo) end();
    pipe?.close();
    pipe = void 0;
  });
  if (!signal.aborted) begin();
  return {
    get role() {
      return role();
    },
    get term() {
      return solo ? 0 : election.term;
    },
    get clientId() {
      return solo ? host.clientId : client;
    },
    get tabs() {
      return tabs;
    },
    get waiting() {
      return relay || !leader2 ? null : leader2;
    },
    open(events) {
      if (solo) return host.open(events);
      if (relay) return relay.open(events);
      return transport = createSharedTransport(
        { tab, environment: environment2, http, leader: () => leader2, post, visible, full: goSolo },
        events
      );
    },
    resign() {
      if (!relay) return;
      post({ t: "gone", term: election.term });
      election.resign();
    },
    failed(failed) {
      if (signal.aborted) return;
      if (solo || asleep) return void (idle = failed);
      if (failed) {
        relay?.failed();
        idle = true;
        end();
      } else if (idle) {
        idle = false;
        begin();
      }
      changed();
    },
    logout: () => post({ t: "logout" })
  };
}
var SLACK_MS = 15e3;
var ASK_AGAIN_MS = 500;

// src/outage.ts
function outages(watch, now = () => performance.now()) {
  const watched = /* @__PURE__ */ new WeakSet();
  return (client) => {
    if (watched.has(client)) return;
    watched.add(client);
    let well = null;
    let ended = null;
    let beganAt = 0;
    const begin = (reason) => {
      if (ended) return;
      beganAt = now();
      ended = watch({ first: !well, reason });
    };
    const look = (is) => {
      const { state, role } = is;
      const live = state === "CONNECTED" && is.sync.kind === "live";
      const outcome = live ? "live" : state === "FAILED" ? "failed" : state === "DISCONNECTED" && "closed";
      const tell = ended;
      if (tell && outcome) {
        ended = null;
        const handover = live && well !== null && leader(well) !== leader(is);
        tell({ outcome, ms: now() - beganAt, handover, role });
      }
      if (live) well = is;
    };
    client.on("stateChange", ({ to, reason }) => {
      if (to === "RECONNECTING") begin(reason);
    });
    client.on("change", look);
    if (client.state === "RECONNECTING") begin("connect");
    else look(client.snapshot);
  };
}
function recordOutage(recorder, { first }, end) {
  const { outcome, ms, handover, role } = end;
  if (first) return;
  recorder.observe("reconnect_outage_duration_seconds", ms / 1e3, { outcome, handover: String(handover), role });
  if (handover && role === "leader") recorder.count("reconnect_leader_changes_total");
}
var leader = ({ tabs }) => tabs.find((tab) => tab.leader)?.id;

// src/telemetry.ts
var GATHER_MS = 1e3;
var MAX_TRANSITIONS = 32;
var ATTEMPTS2 = "reconnect_attempt_duration_seconds";
var FAILED_ATTEMPTS = "reconnect_failed_attempt_duration_seconds";
var GOOD = ["connected", "live"];
var BAD = ["failed", "timeout"];
function telemetryRecorder(options = {}) {
  const { clock = systemClock, everyMs = 11e3 } = options;
  let report = null;
  let pending = {};
  let transitions = [];
  let notBefore = 0;
  let stop = null;
  const { signal } = new AbortController();
  const send = () => {
    stop = null;
    const now = clock.now();
    notBefore = now + everyMs;
    const aged = transitions.map(([at, from, to]) => [Math.round(now - at), from, to]);
    if (!report?.(pending, aged)) return;
    pending = {};
    transitions = [];
  };
  const put = (name, value) => {
    if (!Number.isFinite(value)) return;
    pending[name] = value;
    stop ??= after(clock, Math.max(notBefore - clock.now(), GATHER_MS), signal, send);
  };
  const add = (name, value) => {
    if (value) put(name, (pending[name] ?? 0) + value);
  };
  const recorder = {
    count(name, value = 1, { from, to } = {}) {
      add(name, value);
      if (name !== "reconnect_fsm_transitions_total") return;
      transitions = [...transitions, [clock.now(), String(from), String(to)]].slice(-MAX_TRANSITIONS);
    },
    gauge: put,
    observe(name, value, labels) {
      const outcome = String(labels?.["outcome"] ?? GOOD[0]);
      const bad = BAD.includes(outcome);
      if (bad) add(name.replace("_duration_seconds", "s_failed_total"), 1);
      if (bad ? name !== ATTEMPTS2 : !GOOD.includes(outcome)) return;
      const kept = bad ? FAILED_ATTEMPTS : name;
      put(kept, Math.max(pending[kept] ?? 0, value));
      add(`${kept}_count`, 1);
      add(`${kept}_sum`, value);
    },
    attach(given) {
      report = given;
    },
    follow(client) {
      watch(client);
      client.signal.addEventListener("abort", () => {
        stop?.();
        stop = null;
      });
    }
  };
  const watch = outages((outage) => (end) => recordOutage(recorder, outage, end), clock.now);
  return recorder;
}

// src/view.ts
function createView({ client, settings, connection, roster, outbox, on }, link) {
  const { emit, error } = settings;
  const { clientId } = client;
  const { streams } = roster;
  const told = /* @__PURE__ */ new WeakMap();
  let sync = null;
  let toldSync = null;
  let snapshot = null;
  let toldSnapshot = null;
  let dirty = true;
  const refreshSoon = onceATurn(refresh);
  const heard = () => roster.link !== null && !connection.overdue;
  function syncOf(stream) {
    const current2 = heard() && streams.get(stream.name) === stream;
    return freshness(stream, current2, outbox.waitingOn(stream.name));
  }
  function currentSync() {
    const states = Array.from(streams.values()).filter(({ subscribers }) => subscribers.size).map(syncOf);
    const { waiting } = outbox;
    const next = states.length || heard() ? worst(states, waiting) : { kind: "stale", since: connection.heardAt, waiting };
    return sync = same2(sync, next);
  }
  function currentSnapshot() {
    if (snapshot && !dirty) return snapshot;
    dirty = false;
    const { state, session } = connection;
    const { attempt: attempt2, retryAt } = state === "RECONNECTING" && link.waiting || connection;
    const { role, tabs } = link;
    const subscribed = Array.from(streams.values()).filter((stream) => stream.subscribers.size || !stream.held);
    const rows2 = subscribed.map((stream) => [
      stream.name,
      Object.freeze({ seq: stream.seq, kind: syncOf(stream).kind })
    ]);
    const shown = Object.freeze(Object.fromEntries(rows2));
    const both = { sync: currentSync(), waiting: outbox.waiting, streams: shown };
    return snapshot = same2(snapshot, { state, attempt: attempt2, retryAt, session, clientId, role, tabs, ...both });
  }
  function tell(subscriber, now) {
    try {
      subscriber.handlers.onSync?.(now);
    } catch (cause) {
      error(cause);
    }
  }
  function refresh() {
    dirty = true;
    for (const stream of streams.values()) {
      for (const subscriber of [...stream.subscribers]) {
        const before = told.get(subscriber) ?? null;
        const now2 = same2(before, syncOf(stream));
        if (now2 === before) continue;
        told.set(subscriber, now2);
        tell(subscriber, now2);
      }
    }
    const now = currentSnapshot();
    if (now.sync !== toldSync) emit("syncChange", toldSync = now.sync);
    if (now !== toldSnapshot) emit("change", toldSnapshot = now);
  }
  on("touch", () => {
    dirty = true;
    refreshSoon();
  });
  on("closed", refresh);
  on("denied", (stream) => {
    for (const subscriber of [...stream.subscribers]) tell(subscriber, freshness(stream, false, 0));
  });
  on("subscribed", ({ subscription, stream }) => {
    extend(subscription, {
      get sync() {
        return syncOf(stream);
      }
    });
  });
  return { sync: currentSync, snapshot: currentSnapshot };
}
function freshness({ brokenAt, unverified, verifiedAt, live, caughtUp }, heard, waiting) {
  const since = brokenAt ?? (heard && !unverified ? null : verifiedAt);
  if (since !== null) return { kind: "stale", since, waiting };
  return live ? { kind: "live", waiting } : { kind: "catching-up", n: caughtUp, waiting };
}
function same2(old, next) {
  return old && JSON.stringify(old) === JSON.stringify(next) ? old : Object.freeze(next);
}

// src/full.ts
var clients = /* @__PURE__ */ new Set();
function connect(url, options = {}) {
  const page = pageSettings();
  const { tabs = shareTabs({ deltaUrl: page.deltaUrl }), key = page.key, store, networkAware = true, recorder } = options;
  let inner;
  let link;
  let keeper;
  const client = createClient(
    url,
    { ...options, key },
    {
      share: (given) => link = tabs ? tabs(hostOf(given, logout)) : alone(given),
      keep: store && ((given) => keeper = createKeeper(typeof store === "function" ? store(given) : store, given)),
      checking: strict,
      greeting: () => ({ client_id: link.clientId, term: link.term, traceparent: traceparent() }),
      prepare(made) {
        inner = made;
        const { settings, signal } = made;
        const view2 = createView(made, link);
        made.on("stateChange", ({ from, to }) => {
          const failed = to === "FAILED";
          if (failed || from === "FAILED") link.failed(failed);
        });
        keeper?.adopt(made);
        recordMetrics(made, safeRecorder(recorder));
        diagnoseHandshakes(made);
        if (networkAware) watchPageLife(networkAware, settings.clock, signal, made.connection);
        extend(made.client, {
          get sync() {
            return view2.sync();
          },
          get snapshot() {
            return view2.snapshot();
          },
          get role() {
            return link.role;
          },
          resign: link.resign,
          logout() {
            link.logout();
            logout();
          }
        });
      }
    }
  );
  function logout() {
    inner.client.close(1e3, "logout");
    keeper?.wipe().catch(inner.settings.error);
  }
  function traceparent() {
    try {
      return options.traceparent?.();
    } catch (cause) {
      inner.settings.error(cause);
      return void 0;
    }
  }
  try {
    const report = (metrics, transitions) => inner.connection.send(JSON.stringify({ type: "TELEMETRY", environment: environment(), metrics, transitions }));
    recorder?.attach?.(report);
    recorder?.follow?.(client);
  } catch (cause) {
    inner.settings.error(cause);
  }
  if (!client.signal.aborted) {
    clients.add(client);
    client.signal.addEventListener("abort", () => clients.delete(client));
  }
  return client;
}
var api = {
  ...coreApi,
  connect,
  clients,
  describe,
  calculateBackoff,
  uuid4,
  shareTabs,
  persistOutbox,
  wipeOutbox,
  pagePositions,
  recorders,
  telemetryRecorder
};

// src/shared.ts
var KEY = /* @__PURE__ */ Symbol.for("reconnect_channels.v1");
function shared(api2) {
  const scope = globalThis;
  const first = scope[KEY] ??= Object.freeze(api2);
  scope.ReconnectChannels ??= first;
  return first;
}

// src/index.ts
var ReconnectChannels = shared(api);
var {
  connect: connect2,
  shareTabs: shareTabs2,
  persistOutbox: persistOutbox2,
  wipeOutbox: wipeOutbox2,
  pagePositions: pagePositions2,
  recorders: recorders2,
  telemetryRecorder: telemetryRecorder2,
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
  pagePositions2 as pagePositions,
  persistOutbox2 as persistOutbox,
  recorders2 as recorders,
  shareTabs2 as shareTabs,
  telemetryRecorder2 as telemetryRecorder,
  uuid42 as uuid4,
  wipeOutbox2 as wipeOutbox
};
//# sourceMappingURL=reconnect-channels.js.map

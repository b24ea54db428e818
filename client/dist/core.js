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
function backoffCeiling(attempt, baseMs, maxMs) {
  if (!(baseMs > 0 && maxMs > 0 && baseMs < Infinity && maxMs < Infinity) || Number.isNaN(attempt)) {
    throw new RangeError("Invalid backoff bounds");
  }
  return Math.min(baseMs * 2 ** Math.min(Math.max(attempt, 0), MAX_DOUBLINGS), maxMs);
}
function calculateBackoff(attempt, baseMs, maxMs, random = secureRandom) {
  return backoffCeiling(attempt, baseMs, maxMs) * random();
}

// src/signals.ts
function onAbort(signal, run) {
  signal?.addEventListener("abort", run);
  return () => signal?.removeEventListener("abort", run);
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
  const handle = clock.setTimeout(
    () => {
      detach();
      run();
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
      const { position, collecting } = stream.cursor;
      const head = fromWire(Object.hasOwn(heads, stream.name) ? heads[stream.name] : null);
      if (!head) stream.unverified ||= stream.live;
      else if (head.epoch === position?.epoch && !collecting) {
        const lost = head.seq > position.seq || head.seq === position.seq && head.checksum !== position.checksum;
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
  function call(stream, run) {
    let failed = false;
    for (const subscriber of [...stream.subscribers]) {
      try {
        if (stream.subscribers.has(subscriber)) run(subscriber.handlers);
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
  let attempt = null;
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
    attempt = createAttempt(settings);
    changed();
    attempt?.start(open, { hello: () => events.hello(attempts), received, ended });
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
    const mine = attempt;
    mine?.settle("connected");
    stable = false;
    machine.transition("CONNECTED", "welcome");
    if (attempt !== mine || !is("CONNECTED")) return;
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
      const failed = attempt;
      letGo(1e3, "");
      comeback.failures++;
      failed?.settle("failed", end);
      if (is("RECONNECTING") && !attempt) comeBack(end, reason);
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
    if (is("RECONNECTING") && !attempt) then();
  }
  function leave(why, code = 1e3, reason = "") {
    stopSleep();
    retryAt = liveness = null;
    letGo(code, reason);
    if (is("CONNECTED")) events.down();
    machine.transition("DISCONNECTED", why);
  }
  function letGo(code, reason) {
    const old = attempt;
    attempt = null;
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
    } else if (attempt) {
      if (RESTARTS.includes(cause) && attempt.age() >= WAKE_EVERY_MS) {
        attempt.settle("aborted");
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
    send: (text2) => is("CONNECTED") && (attempt?.send(text2) ?? false),
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
      else if (is("RECONNECTING") && !attempt) tryNow();
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
function view({ id, stream, value: payload, n, createdAt, failures, restored }) {
  return Object.freeze({ id, stream, payload, state: n === null ? "queued" : "sent", createdAt, failures, restored });
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
  function remove(item, kept = false) {
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
    remove,
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
        remove(old);
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
    const { id, n, stream, lane, text: text2 } = item;
    const head = { type: "MESSAGE", id, producer: item.producer, n, stream, settled: lane.settled, clock: lamport.tick() };
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
      const id = uuid4();
      const { promise, resolve, reject } = deferred();
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const encoded = encodePayload(payload, limits.message_bytes, settings.checking);
        const place = { id, stream, lane: queue.lane(stream, stream, producer), origin: producer, order: ++order };
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
      return Object.assign(promise, { id });
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
      const { id, epoch = null, seq = null, result = null, duplicate = false } = frame;
      item.resolve({ id, epoch, seq, result, duplicate });
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
    const { position } = this;
    if (position?.epoch !== epoch) return "epoch";
    if (payload.length !== to - from || payload.some((entry2, index) => entry2.seq !== from + index + 1)) {
      return "malformed";
    }
    if (from > position.seq) return "hole";
    if (to < position.seq) return "repeat";
    const entries2 = payload.slice(position.seq - from);
    const ids = entries2.map((entry2) => entry2.id);
    if (fold(position.checksum, ids) !== checksum) return "checksum";
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
  keep(seq, id, epoch) {
    const kept = this.#kept.set(seq, { id, epoch });
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
function onceATurn(run) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      run();
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
  function enter(name, position) {
    if (streams.size >= limits.streams) return;
    const stream = track(name);
    stream.cursor.position = fromWire(position);
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
function createClient(address, options = {}, { share, keep, checking, greeting, prepare } = {}) {
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
    acked(stream, { id, epoch, seq }) {
      const tracked = roster.streams.get(stream);
      if (tracked && seq !== null && seq > tracked.seq) tracked.receipts.keep(seq, id, epoch);
    }
  });
  const takers = {
    ...createApplying(settings, roster),
    ACK: outbox.ack,
    REJECT: outbox.reject
  };
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

// src/shared.ts
var KEY = /* @__PURE__ */ Symbol.for("reconnect_channels.v1");
function shared(api) {
  const scope = globalThis;
  const first = scope[KEY] ??= Object.freeze(api);
  scope.ReconnectChannels ??= first;
  return first;
}

// src/core.ts
var ReconnectChannels = shared(coreApi);
var {
  connect,
  StateTransitionError: StateTransitionError2,
  QueueOverflowError: QueueOverflowError2,
  OutcomeUnknown: OutcomeUnknown2,
  Rejected: Rejected2,
  ClosedError: ClosedError2,
  PayloadError: PayloadError2,
  FrameError: FrameError2
} = ReconnectChannels;
var core_default = ReconnectChannels;
export {
  ClosedError2 as ClosedError,
  FrameError2 as FrameError,
  OutcomeUnknown2 as OutcomeUnknown,
  PayloadError2 as PayloadError,
  QueueOverflowError2 as QueueOverflowError,
  ReconnectChannels,
  Rejected2 as Rejected,
  StateTransitionError2 as StateTransitionError,
  connect,
  core_default as default
};
//# sourceMappingURL=core.js.map

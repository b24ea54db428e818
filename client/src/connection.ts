import { createAttempt, type Attempt } from "./attempt.ts";
import { after } from "./clock.ts";
import { createComeback, endOf, type End } from "./comeback.ts";
import { readFrame, type ServerFrame, type Welcome } from "./frames.ts";
import type { Connection, ConnectionEvents } from "./link.ts";
import { watchLiveness, type Liveness } from "./liveness.ts";
import type { WakeCause } from "./network.ts";
import type { Settings } from "./settings.ts";
import { StateMachine, type State } from "./state-machine.ts";
import type { OpenTransport } from "./transport.ts";

/** At most one attempt or probe a second, however many network events come (design 11.3). */
const WAKE_EVERY_MS = 1_000;
/** Causes after which a socket that is still opening is better opened anew: its packets went the old way. */
const RESTARTS: readonly WakeCause[] = ["online", "connection", "resume", "clock"];

export function createConnection(settings: Settings, open: OpenTransport, events: ConnectionEvents): Connection {
  const { clock, emit, changed } = settings;
  const machine = new StateMachine(emit, events.stateChange);
  const comeback = createComeback(settings, events.forget);
  let attempt: Attempt | null = null;
  let attempts = 0;
  let liveness: Liveness | null = null;
  let heardAt = clock.wall();
  let retryAt: number | null = null;
  let session: string | null = null;
  let stopSleep = () => {};
  let wokeAt = -WAKE_EVERY_MS;
  let stable = false;
  let closed = false;
  let suspended = false;

  /** A call, where a comparison would let the compiler believe that the state stays. */
  const is = (state: State) => machine.state === state;

  // -- attempts ----------------------------------------------------------------------------------

  function tryNow(): void {
    stopSleep();
    letGo(1000, "a new attempt");
    retryAt = null;
    attempts++;
    attempt = createAttempt(settings);
    changed();
    attempt?.start(open, { hello: () => events.hello(attempts), received, ended });
  }

  function received(data: unknown): void {
    heardAt = clock.wall();
    liveness?.heard();
    try {
      const frame = readFrame(data) as ServerFrame;
      // Acted upon at once: a close that follows may come late, or with another code.
      if (frame.type === "BYE") ended(endOf(frame));
      else if (frame.type === "WELCOME") welcome(frame);
      else if (is("CONNECTED") || frame.type === "ERROR") events.frame(frame, String(data).length);
    } catch (error) {
      settings.error(error);
    }
  }

  function welcome(frame: Welcome): void {
    if (!is("RECONNECTING")) return;
    session = frame.session;
    const mine = attempt;
    mine?.settle("connected");
    stable = false;
    machine.transition("CONNECTED", "welcome");
    if (attempt !== mine || !is("CONNECTED")) return; // a listener closed us
    const { signal } = machine;
    liveness = watchLiveness(clock, signal, frame.heartbeat_ms, {
      unansweredSince: events.unansweredSince,
      probe: events.probe,
      overdue: events.overdue,
      dead: (reason) => ended({ code: 1006, reason }),
    });
    after(clock, settings.stableMs, signal, () => {
      stable = true;
      comeback.reset();
    });
    events.welcome(frame);
  }

  // -- endings -----------------------------------------------------------------------------------

  function ended(end: End): void {
    if (end.again) return restart(end.reason);
    const reason = `${end.code} ${end.reason}`.trim();
    if (is("CONNECTED")) {
      if (!stable) comeback.failures++;
      leave(reason);
      reconnect(reason, () => comeBack(end, reason));
    } else if (is("RECONNECTING")) {
      const failed = attempt;
      letGo(1000, "");
      comeback.failures++;
      failed?.settle("failed", end);
      if (is("RECONNECTING") && !attempt) comeBack(end, reason);
    }
  }

  function comeBack(end: End, reason: string): void {
    const refusal = comeback.refusal(end, reason);
    if (refusal) return machine.transition("FAILED", refusal);
    const ms = comeback.delay(end);
    emit("backoff", ms);
    sleep(ms, tryNow);
  }

  function sleep(ms: number, then: () => void): void {
    stopSleep();
    retryAt = clock.wall() + ms;
    stopSleep = after(clock, ms, machine.signal, then);
    changed();
  }

  /** DISCONNECTED to RECONNECTING, and on, unless a listener has interfered. */
  function reconnect(reason: string, then: () => void): void {
    if (closed || !is("DISCONNECTED")) return;
    machine.transition("RECONNECTING", reason);
    if (is("RECONNECTING") && !attempt) then();
  }

  /** Into DISCONNECTED from wherever we are. */
  function leave(why: string, code = 1000, reason = ""): void {
    stopSleep();
    retryAt = liveness = null;
    letGo(code, reason);
    if (is("CONNECTED")) events.down();
    machine.transition("DISCONNECTED", why);
  }

  /** The old socket is torn down before a new one opens. */
  function letGo(code: number, reason: string): void {
    const old = attempt;
    attempt = null;
    old?.letGo(code, reason);
  }

  // -- wishes ------------------------------------------------------------------------------------

  function restart(reason: string): void {
    if (is("CONNECTED")) {
      leave(reason);
      reconnect(reason, tryNow);
    } else if (is("RECONNECTING")) tryNow();
  }

  function wakeUp(): void {
    wokeAt = clock.now();
    tryNow();
  }

  function wake(cause: WakeCause): void {
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
    send: (text) => is("CONNECTED") && (attempt?.send(text) ?? false),
    expectAnswer: () => liveness?.look(),
    close(code, reason) {
      if (closed) return;
      closed = true;
      leave(reason || "closed", code, reason);
    },
    suspend(cause) {
      if (closed || suspended || is("FAILED")) return;
      suspended = true;
      leave(cause, 1000, cause);
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
    wake,
  };
}

import { after } from "./clock.ts";
import { Comeback, type End } from "./comeback.ts";
import { readFrame, type Bye, type ServerFrame, type UnknownFrame, type Welcome } from "./frames.ts";
import { Handshakes } from "./handshake.ts";
import { watchLiveness, type Liveness } from "./liveness.ts";
import type { WakeCause } from "./network.ts";
import { environment } from "./recorder.ts";
import type { Settings } from "./settings.ts";
import { StateMachine, type State, type StateChange } from "./state-machine.ts";
import type { Ending, OpenTransport, Transport } from "./transport.ts";

/** At most one attempt or probe a second, however many network events come (design 11.3). */
const WAKE_EVERY_MS = 1_000;
/** Causes after which a socket that is still opening is better opened anew: its packets went the old way. */
const RESTARTS: readonly WakeCause[] = ["online", "connection", "resume", "clock"];

/** What the layers above hear and are asked. None of these may throw. */
export interface ConnectionEvents {
  /** The HELLO of attempt number `attempt`, encoded. */
  hello(attempt: number): string;
  welcome(frame: Welcome): void;
  /** A frame that is neither WELCOME nor BYE; `size` in characters. */
  frame(frame: ServerFrame | UnknownFrame, size: number): void;
  /** The link that WELCOME opened is gone. */
  down(): void;
  /** Forget every position (protocol 5.8). */
  forget(): void;
  /** The heartbeat is overdue, or came after all. */
  overdue(): void;
  stateChange(change: StateChange): void;
  /** Monotonic time at which the oldest message without an answer went out; Infinity: there is none. */
  unansweredSince(): number;
  /** Send something that is answered at once. */
  probe(): void;
}

/** One link to the server: attempts, waits between them, liveness, and when to give up (design 11.1-11.3). */
export interface Connection {
  readonly state: State;
  /** Which attempt of this outage is made or waited for; 0 while connected. */
  readonly attempt: number;
  /** Wall time of the next attempt, while waiting for it. */
  readonly retryAt: number | null;
  /** Wall time of the last frame that was heard. */
  readonly heardAt: number;
  /** The server's name for this client, once WELCOME came. */
  readonly session: string | null;
  /** The link stands, and the server's heartbeat is late. */
  readonly overdue: boolean;
  start(): void;
  /** @returns whether the link took the frame */
  send(text: string): boolean;
  /** What was sent wants an answer. */
  expectAnswer(): void;
  /** For good. */
  close(code: number, reason: string): void;
  /** The page sleeps: the server shall not count a dead socket, we come back on `wake`. */
  suspend(cause: string): void;
  /** The user asks again: out of FAILED, or out of a wait. */
  retry(): void;
  /** The network or the page came to life (design 11.3). */
  wake(cause: WakeCause): void;
}

interface Attempt {
  readonly startedAt: number;
  /** Aborted when WELCOME came or the attempt was given up. */
  readonly scope: AbortController;
  transport: Transport | null;
  opened: boolean;
}

export function createConnection(settings: Settings, open: OpenTransport, events: ConnectionEvents): Connection {
  const { clock, recorder, changed } = settings;
  const machine = new StateMachine(recorder, events.stateChange);
  const comeback = new Comeback(settings, events.forget);
  const handshakes = new Handshakes();
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
    const mine: Attempt = { startedAt: clock.now(), scope: new AbortController(), transport: null, opened: false };
    attempt = mine;
    changed();
    // A late callback belongs to an older attempt, and is known by that.
    const end = (ending: Ending) => {
      if (attempt === mine) ended(ending);
    };
    after(clock, settings.connectTimeoutMs, mine.scope.signal, () => end({ code: 1006, reason: "connect timeout" }));
    try {
      mine.transport = open({
        opened() {
          if (attempt !== mine) return;
          mine.opened = true;
          mine.transport?.send(events.hello(attempts));
        },
        received(data) {
          if (attempt === mine) received(data);
        },
        ended: end,
      });
    } catch (error) {
      // Mixed content, a blocked port, a content security policy: thrown, not evented.
      settings.error(error);
      end({ code: 1006, reason: String(error) });
    }
  }

  function received(data: unknown): void {
    heardAt = clock.wall();
    liveness?.heard();
    try {
      const frame = readFrame(data) as ServerFrame;
      if (frame.type === "BYE") bye(frame);
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
    measure("connected");
    mine?.scope.abort();
    handshakes.welcomed();
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

  /** Acted upon at once: a close that follows may come late, or with another code. */
  function bye({ code, reason, reconnect, retry_after_ms: window }: Bye): void {
    // [0, 0] is what a server says that has no opinion: then the backoff decides.
    const [min, max] = Array.isArray(window) ? window : [0, 0];
    const end = { code, reason: String(reason), reconnect };
    ended(max > 0 && min >= 0 && max >= min ? { ...end, window: [min, max] } : end);
  }

  // -- endings -----------------------------------------------------------------------------------

  function ended(end: End): void {
    const reason = `${end.code} ${end.reason}`.trim();
    if (is("CONNECTED")) {
      if (!stable) comeback.failures++;
      leave(reason);
      reconnect(reason, () => comeBack(end, reason));
    } else if (is("RECONNECTING")) {
      const opened = attempt?.opened ?? false;
      measure(end.reason === "connect timeout" ? "timeout" : "failed");
      letGo(1000, "");
      comeback.failures++;
      const causes = handshakes.failed(end, opened);
      if (causes) settings.emit("handshake", { causes });
      if (is("RECONNECTING") && !attempt) comeBack(end, reason);
    }
  }

  function comeBack(end: End, reason: string): void {
    const refusal = comeback.refusal(end, reason);
    if (refusal) return machine.transition("FAILED", refusal);
    const ms = comeback.delay(end);
    recorder.observe("reconnect_backoff_delay_seconds", ms / 1000);
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
    old?.scope.abort();
    old?.transport?.close(code, reason);
  }

  function measure(outcome: string): void {
    if (!attempt) return;
    const seconds = (clock.now() - attempt.startedAt) / 1000;
    recorder.observe("reconnect_attempt_duration_seconds", seconds, { outcome, environment: environment() });
  }

  // -- wishes ------------------------------------------------------------------------------------

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
      if (RESTARTS.includes(cause) && now - attempt.startedAt >= WAKE_EVERY_MS) {
        measure("aborted");
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
    send: (text) => is("CONNECTED") && (attempt?.transport?.send(text) ?? false),
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
    wake,
  };
}

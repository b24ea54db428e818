import { after, type Clock } from "./clock.ts";
import { Comeback, type End } from "./comeback.ts";
import { isKnown, readFrame, type Bye, type ServerFrame, type UnknownFrame, type Welcome } from "./frames.ts";
import { Handshakes } from "./handshake.ts";
import { Liveness } from "./liveness.ts";
import type { WakeCause } from "./network.ts";
import type { Random } from "./random.ts";
import { environment, type Recorder } from "./recorder.ts";
import { StateMachine, type State, type StateChange } from "./state-machine.ts";
import type { Ending, OpenTransport, Transport } from "./transport.ts";

/** At most one attempt or probe a second, however many network events come (design 11.3). */
const WAKE_EVERY_MS = 1_000;
/** Causes after which a socket that is still opening is better opened anew: its packets went the old way. */
const RESTARTS: readonly WakeCause[] = ["online", "connection", "resume", "clock"];

export interface ConnectionSettings {
  readonly baseMs: number;
  readonly maxMs: number;
  readonly connectTimeoutMs: number;
  readonly stableMs: number;
  readonly maxAttempts: number;
  readonly open: OpenTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly recorder: Recorder;
}

/** What the layers above hear. None of these may throw. */
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
  stateChange(change: StateChange): void;
  handshake(causes: readonly string[]): void;
  error(error: unknown): void;
  /** `attempt` or `retryAt` changed. */
  progress(): void;
}

interface Attempt {
  readonly number: number;
  readonly startedAt: number;
  /** Aborted when WELCOME came or the attempt was given up. */
  readonly scope: AbortController;
  transport: Transport | null;
  opened: boolean;
}

/** Keeps one link to the server: attempts, waits between them, liveness, and when to give up (design 11.1-11.3). */
export class Connection {
  /** Wall time of the next attempt, while waiting for it. */
  retryAt: number | null = null;
  /** Wall time of the last frame that was heard. */
  heardAt: number;
  readonly #settings: ConnectionSettings;
  readonly #events: ConnectionEvents;
  readonly #machine: StateMachine;
  #attempt: Attempt | null = null;
  #attempts = 0;
  readonly #comeback: Comeback;
  readonly #handshakes = new Handshakes();
  #stable = false;
  #closed = false;
  #suspended = false;
  #liveness: Liveness | null = null;
  #stopSleep = () => {};
  #wokeAt = -WAKE_EVERY_MS;

  constructor(settings: ConnectionSettings, events: ConnectionEvents) {
    this.#settings = settings;
    this.#events = events;
    this.heardAt = settings.clock.wall();
    this.#comeback = new Comeback(settings, () => events.forget());
    this.#machine = new StateMachine(settings.recorder, (change) => events.stateChange(change));
  }

  get state(): State {
    return this.#machine.state;
  }

  /** A call, where a comparison would let the compiler believe that the state stays. */
  #is(state: State): boolean {
    return this.#machine.state === state;
  }

  /** Which attempt of this outage is made or waited for; 0 while connected. */
  get attempt(): number {
    return this.#is("CONNECTED") ? 0 : this.#comeback.failures + 1;
  }

  start(): void {
    this.#reconnect("connect", () => this.#try());
  }

  /** @returns whether the link took the frame */
  send(text: string): boolean {
    return this.#is("CONNECTED") && (this.#attempt?.transport?.send(text) ?? false);
  }

  /** For good. */
  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave(reason || "closed", code, reason);
  }

  /** The page sleeps: the server shall not count a dead socket, we come back on `wake`. */
  suspend(cause: string): void {
    if (this.#closed || this.#is("FAILED") || this.#suspended) return;
    this.#suspended = true;
    this.#leave(cause, 1000, cause);
  }

  /** The user asks again: out of FAILED, or out of a wait. */
  retry(): void {
    if (this.#closed) return;
    if (this.#is("FAILED")) {
      this.#comeback.reset();
      this.#machine.transition("DISCONNECTED", "retry");
      if (this.#is("DISCONNECTED") && !this.#closed) this.#reconnect("retry", () => this.#try());
    } else if (this.#suspended) this.wake("user");
    else if (this.#is("RECONNECTING") && this.#attempt === null) this.#try();
  }

  /** The network or the page came to life (design 11.3). */
  wake(cause: WakeCause, probe?: () => void): void {
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

  #wakeUp(now: number): void {
    this.#wokeAt = now;
    this.#try();
  }

  // -- attempts ----------------------------------------------------------------------------------

  #try(): void {
    const { clock, connectTimeoutMs, open } = this.#settings;
    this.#stopSleep();
    this.#letGo(1000, "a new attempt");
    this.retryAt = null;
    const scope = new AbortController();
    const attempt: Attempt = {
      number: ++this.#attempts,
      startedAt: clock.now(),
      scope,
      transport: null,
      opened: false,
    };
    this.#attempt = attempt;
    this.#events.progress();
    // A late callback belongs to an older attempt, and is known by that.
    const current = () => this.#attempt === attempt;
    const ended = (ending: Ending) => current() && this.#ended(ending);
    after(clock, connectTimeoutMs, scope.signal, () => ended({ code: 1006, reason: "connect timeout" }));
    try {
      attempt.transport = open({
        opened: () => current() && this.#opened(attempt),
        received: (data) => current() && this.#received(data),
        ended,
      });
    } catch (error) {
      // Mixed content, a blocked port, a content security policy: thrown, not evented.
      this.#events.error(error);
      ended({ code: 1006, reason: String(error) });
    }
  }

  #opened(attempt: Attempt): void {
    attempt.opened = true;
    attempt.transport?.send(this.#events.hello(attempt.number));
  }

  #received(data: unknown): void {
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

  #welcome(frame: Welcome): void {
    if (!this.#is("RECONNECTING")) return;
    const { clock, stableMs } = this.#settings;
    const attempt = this.#attempt;
    this.#measure("connected");
    attempt?.scope.abort();
    this.#handshakes.welcomed();
    this.#stable = false;
    this.#machine.transition("CONNECTED", "welcome");
    if (this.#attempt !== attempt || !this.#is("CONNECTED")) return; // a listener closed us
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
  #bye({ code, reason, reconnect, retry_after_ms: window }: Bye): void {
    // [0, 0] is what a server says that has no opinion: then the backoff decides.
    const [min, max] = Array.isArray(window) ? window : [0, 0];
    const end = { code, reason: String(reason), reconnect };
    this.#ended(max > 0 && min >= 0 && max >= min ? { ...end, window: [min, max] } : end);
  }

  // -- endings -----------------------------------------------------------------------------------

  #ended(end: End): void {
    const attempt = this.#attempt;
    const reason = `${end.code}${end.reason ? ` ${end.reason}` : ""}`;
    if (this.#is("CONNECTED")) {
      if (!this.#stable) this.#comeback.failures++;
      this.#leave(reason);
      if (this.#closed || !this.#is("DISCONNECTED")) return;
      this.#reconnect(reason, () => this.#next(end, reason));
    } else if (this.#is("RECONNECTING")) {
      this.#measure(end.reason === "connect timeout" ? "timeout" : "failed");
      this.#letGo(1000, "");
      this.#comeback.failures++;
      const causes = this.#handshakes.failed(end, attempt?.opened ?? false);
      if (causes) this.#events.handshake(causes);
      if (this.#is("RECONNECTING") && this.#attempt === null) this.#next(end, reason);
    }
  }

  #next(end: End, reason: string): void {
    const refusal = this.#comeback.refusal(end, reason);
    if (refusal) this.#machine.transition("FAILED", refusal);
    else this.#sleep(this.#comeback.delay(end));
  }

  #sleep(ms: number, quiet = false): void {
    const { clock, recorder } = this.#settings;
    this.#stopSleep();
    this.retryAt = clock.wall() + ms;
    if (!quiet) recorder.observe("reconnect_backoff_delay_seconds", ms / 1000);
    this.#stopSleep = after(clock, ms, this.#machine.signal, () => {
      if (quiet) this.#wokeAt = clock.now();
      this.#try();
    });
    this.#events.progress();
  }

  /** DISCONNECTED to RECONNECTING, and on, unless a listener has interfered. */
  #reconnect(reason: string, then: () => void): void {
    this.#machine.transition("RECONNECTING", reason);
    if (this.#is("RECONNECTING") && this.#attempt === null) then();
  }

  /** Into DISCONNECTED from wherever we are. */
  #leave(why: string, code = 1000, reason = ""): void {
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
  #letGo(code: number, reason: string): void {
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.scope.abort();
    attempt?.transport?.close(code, reason);
  }

  #measure(outcome: string): void {
    const attempt = this.#attempt;
    if (!attempt) return;
    const seconds = (this.#settings.clock.now() - attempt.startedAt) / 1000;
    this.#settings.recorder.observe("reconnect_attempt_duration_seconds", seconds, {
      outcome,
      environment: environment(),
    });
  }
}

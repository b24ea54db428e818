import type { ServerFrame, UnknownFrame, Welcome } from "./frames.ts";
import type { WakeCause } from "./network.ts";
import type { State, StateChange } from "./state-machine.ts";

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
  /** Another way to the server is there: begin anew with it, at once. */
  restart(reason: string): void;
  /** The user asks again: out of FAILED, or out of a wait. */
  retry(): void;
  /** The network or the page came to life (design 11.3). */
  wake(cause: WakeCause): void;
}

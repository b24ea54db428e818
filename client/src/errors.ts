import type { State } from "./state-machine.ts";

/** A state change that the machine doesn't allow (design 11.1): a bug, never a network condition. */
export class StateTransitionError extends Error {
  override readonly name = "StateTransitionError";
  readonly from: State;
  readonly to: State;

  constructor(from: State, to: State) {
    super(`no transition from ${from} to ${to}`);
    this.from = from;
    this.to = to;
  }
}

/** The outbox is full: the message was evicted, or, when everything in it was sent already, refused. */
export class QueueOverflowError extends Error {
  override readonly name = "QueueOverflowError";
}

/** The message was sent, its answer will never be known here: it took effect once or not at all. */
export class OutcomeUnknown extends Error {
  /** It stays in the persisted outbox: another page, or `retry`, sends it. */
  declare readonly retained?: boolean;
  override readonly name = "OutcomeUnknown";
}

/** The client is closed or has failed, and the message was never sent. */
export class ClosedError extends Error {
  /** It stays in the persisted outbox: another page, or `retry`, sends it. */
  declare readonly retained?: boolean;
  override readonly name = "ClosedError";
}

/** A payload or stream name that can't travel (protocol 1): nothing was queued. */
export class PayloadError extends Error {
  override readonly name = "PayloadError";
}

/** The server said no: REJECT of a message, or ERROR (protocol 4). */
export class Rejected extends Error {
  override readonly name = "Rejected";
  /** Like an HTTP status: 400, 403, 409, 410, 413, 422, 429, 500, 503. */
  readonly code: number;
  /** A constant of the protocol, or the application's own word. */
  readonly reason: string;
  /** Whatever the server adds for people or programs. */
  readonly detail: unknown;
  /** The streams that an ERROR speaks of. */
  readonly streams: readonly string[];

  constructor(code: number, reason: string, detail: unknown, streams: readonly string[] = []) {
    const text = typeof detail === "string" && detail ? `: ${detail}` : "";
    super(`${code} ${reason}${streams.length ? ` (${streams.join(", ")})` : ""}${text}`);
    this.code = code;
    this.reason = reason;
    this.detail = detail;
    this.streams = streams;
  }
}

/** A server frame that breaks the protocol; it is reported and skipped. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

import { FrameError } from "./errors.ts";
import { isCount, type WirePosition } from "./position.ts";

export const SUBPROTOCOL = "reconnect.v1";

/** The longest frame in characters (protocol 1.4). */
export const MAX_FRAME = 131_072;

/** One event of a stream (protocol 4). */
export interface Entry {
  readonly seq: number;
  readonly id: string;
  readonly checksum: number;
  /** Lamport time. */
  readonly clock: number;
  /** The id of the message whose handler published it, or null. */
  readonly key: string | null;
  readonly payload: unknown;
  /** The W3C trace context in which it was published, while it is news and where that trace is recorded. */
  readonly traceparent?: string;
}

export interface Welcome {
  readonly type: "WELCOME";
  readonly session: string;
  readonly node: string;
  readonly clock: number;
  readonly heartbeat_ms: number;
  readonly streams: readonly string[];
  readonly limits: Readonly<Record<string, unknown>>;
  readonly identity?: string;
}

export interface SyncDelta {
  readonly type: "SYNC_DELTA";
  readonly stream: string;
  readonly epoch: string;
  /** Exclusive. */
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
  readonly checksum: number;
  readonly complete: boolean;
  readonly payload: readonly Entry[];
}

/** Why a stream got a snapshot; constants of the protocol, new ones may come. */
export type SnapshotReason = "new" | "epoch" | "rewound" | "trimmed" | "diverged" | "gap" | "operator" | (string & {});

export interface SyncSnapshot {
  readonly type: "SYNC_SNAPSHOT";
  readonly stream: string;
  readonly epoch: string;
  readonly seq: number;
  readonly checksum: number;
  readonly reason: SnapshotReason;
  readonly exact: boolean;
  readonly partial: boolean;
  readonly payload?: unknown;
  readonly part?: number;
  readonly parts?: number;
  readonly chunk?: string;
}

export interface MessageAck {
  readonly type: "ACK";
  readonly id: string;
  readonly epoch: string | null;
  readonly seq: number | null;
  readonly result: unknown;
  readonly duplicate: boolean;
}

export interface Reject {
  readonly type: "REJECT";
  readonly id: string;
  readonly code: number;
  readonly reason: string;
  readonly detail?: unknown;
  readonly retry?: boolean;
  readonly retry_after_ms?: number;
}

export interface ServerError {
  readonly type: "ERROR";
  readonly code: number;
  readonly reason: string;
  readonly detail?: unknown;
  readonly ref?: number;
  readonly streams?: readonly string[];
  readonly retry_after_ms?: number;
}

export interface Ping {
  readonly type: "PING";
  readonly t: unknown;
  readonly heads: Readonly<Record<string, WirePosition>>;
}

export interface Bye {
  readonly type: "BYE";
  readonly code: number;
  readonly reason: string;
  readonly reconnect: boolean;
  readonly retry_after_ms?: readonly [number, number];
}

export type ServerFrame =
  | Welcome
  | SyncDelta
  | SyncSnapshot
  | MessageAck
  | Reject
  | ServerError
  | Ping
  | Bye
  | { readonly type: "SUBSCRIBED" | "UNSUBSCRIBED"; readonly ref: number };

/** A frame of a type that this client doesn't know; it is handed to the application. */
export interface UnknownFrame {
  readonly type: unknown;
  readonly [field: string]: unknown;
}

export interface ClientFrame {
  readonly type: "HELLO" | "SUBSCRIBE" | "UNSUBSCRIBE" | "MESSAGE" | "ACK" | "PONG" | "TELEMETRY";
  readonly [field: string]: unknown;
}

export type Check = (value: unknown) => boolean;
export const text: Check = (value) => typeof value === "string";
export const flag: Check = (value) => typeof value === "boolean";
export const object: Check = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const texts: Check = (value) => Array.isArray(value) && value.every(text);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value);
const entry: Check = (value) =>
  object(value) && isCount((value as Entry).seq) && /^[0-9a-f-]{36}$/.test(String((value as Entry).id));
const entries: Check = (value) => Array.isArray(value) && value.every(entry);

/** What must hold of each frame before the rest of the client may rely on its type. */
const SHAPES: Readonly<Record<ServerFrame["type"], Readonly<Record<string, Check>>>> = {
  WELCOME: { clock: isCount, streams: texts, limits: object, identity: maybe(text) },
  SYNC_DELTA: {
    stream: text,
    epoch: text,
    from: isCount,
    to: isCount,
    checksum: isCount,
    complete: flag,
    payload: entries,
  },
  SYNC_SNAPSHOT: { stream: text, epoch: text, seq: isCount, checksum: isCount },
  SUBSCRIBED: { ref: isCount },
  UNSUBSCRIBED: { ref: isCount },
  ACK: { id: text, epoch: maybe(text), seq: maybe(isCount) },
  REJECT: { id: text, code: isCount, reason: text },
  ERROR: { code: isCount, reason: text, streams: maybe(texts), ref: maybe(isCount) },
  PING: { heads: object },
  BYE: { code: isCount, reconnect: flag },
};

/**
 * Decodes one server frame. Unknown fields are kept and ignored (protocol 1.4).
 *
 * @throws FrameError for what is not JSON, not an object, or lacks what its type promises.
 */
export function readFrame(data: unknown): ServerFrame | UnknownFrame {
  let frame: unknown;
  try {
    if (typeof data !== "string") throw new TypeError("not text");
    frame = JSON.parse(data);
  } catch (error) {
    throw new FrameError("a frame is not JSON", { cause: error });
  }
  if (!object(frame)) throw new FrameError("a frame is not an object");
  const { type } = frame as UnknownFrame;
  if (isKnown(frame as UnknownFrame)) {
    for (const [field, check] of Object.entries(SHAPES[type as ServerFrame["type"]])) {
      if (!check((frame as Record<string, unknown>)[field])) throw new FrameError(`${type}: bad field ${field}`);
    }
  }
  return frame as ServerFrame | UnknownFrame;
}

/** Whether the frame's type belongs to the protocol. */
export function isKnown(frame: ServerFrame | UnknownFrame): frame is ServerFrame {
  return typeof frame.type === "string" && Object.hasOwn(SHAPES, frame.type);
}

/** What a server allows, where it doesn't say otherwise (protocol 4). */
const LIMITS = {
  message_bytes: 65_536,
  streams: 100,
  rate: 50,
  burst: 1_000,
  in_flight: 16,
  ack_entries: 250,
  ack_bytes: 196_608,
};
export type Limits = typeof LIMITS;

/** The limits of a WELCOME; without one, the usual ones. */
export function limitsOf(limits: Welcome["limits"] = {}): Limits {
  const read = Object.entries(LIMITS).map(([name, fallback]) => [name, positive(limits[name], fallback)]);
  return Object.fromEntries(read) as Limits;
}

/** A number that a server gives, if it is a usable one. */
export function positive(value: unknown, fallback: number): number {
  return typeof value === "number" && value > 0 ? value : fallback;
}

/** Whether a client stays away after this close code (protocol 7). Unknown codes prove nothing: come back. */
export function isTerminal(code: number): boolean {
  return code >= 4500 && code <= 4999;
}

import { flag, MAX_FRAME, object, text, type Check, type Welcome } from "../frames.ts";
import { isCount, type WirePosition } from "../position.ts";
import { isStream } from "../payload.ts";

/** Where a leader stands in a stream that a follower joined; null: no room for it. */
export type Standing = { readonly position: WirePosition | null; readonly live: boolean } | null;

/** The `ref` of the join that names every stream of a tab, as HELLO does; those of SUBSCRIBE count from 1. */
export const HELLO = 0;

/** What the leader says of itself, once a second and when asked. */
export interface Lead {
  readonly t: "lead";
  readonly term: number;
  readonly tab: string;
  /** The client id that HELLO gives. */
  readonly client: string;
  /** The server's WELCOME, while the connection stands. */
  readonly welcome: Welcome | null;
  /** What it waits for otherwise. */
  readonly attempt: number;
  readonly retryAt: number | null;
  /** Milliseconds since the server was heard. */
  readonly age: number;
  readonly tabs: readonly { readonly id: string; readonly visible: boolean }[];
  /** It gave up for a reason that is everybody's. */
  readonly failed: { readonly code: number; readonly reason: string } | null;
}

/** What tabs say to each other. `term` says under which leadership; letters of an older one are ignored. */
export type Letter =
  | Lead
  /** The leader is no more. */
  | { readonly t: "gone"; readonly term: number }
  /** A server frame for whom it may concern. */
  | { readonly t: "frame"; readonly term: number; readonly text: string }
  /** The server's answer to a follower's message. */
  | { readonly t: "answer"; readonly term: number; readonly to: string; readonly text: string }
  /** The answer to `join`: everything after it on the pipe follows these positions. */
  | {
      readonly t: "joined";
      readonly term: number;
      readonly to: string;
      readonly ref: number;
      readonly streams: Readonly<Record<string, Standing>>;
    }
  /** The leader believes that this tab is dead. */
  | { readonly t: "lost"; readonly term: number; readonly to: string }
  /** Who leads? `seen`: the newest leadership that this tab knows of. */
  | { readonly t: "ask"; readonly tab: string; readonly visible: boolean; readonly seen: number }
  | {
      readonly t: "join";
      readonly term: number;
      readonly tab: string;
      readonly ref: number;
      readonly streams: Readonly<Record<string, WirePosition | null>>;
      /** No delta could be had: ask the server for a snapshot. */
      readonly anew: boolean;
    }
  | { readonly t: "leave"; readonly term: number; readonly tab: string; readonly streams: readonly string[] }
  /** A MESSAGE of a follower, verbatim. */
  | { readonly t: "out"; readonly term: number; readonly tab: string; readonly id: string; readonly text: string }
  /** A follower saw the network or its page come to life, or waits for an answer too long. */
  | { readonly t: "wake"; readonly tab: string }
  /** About to steal the leadership of a leader that says nothing. */
  | { readonly t: "claim"; readonly tab: string }
  | { readonly t: "bye"; readonly tab: string }
  | { readonly t: "logout" };

const id: Check = (value) => typeof value === "string" && value.length > 0 && value.length <= 200;
/** Below what the wire can count, so that somebody's nonsense leaves room to count on. */
const term: Check = (value) => isCount(value) && value < 2 ** 52;
const optional =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const every =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const record =
  (check: Check): Check =>
  (value) =>
    object(value) && Object.entries(value as object).every(([name, held]) => isStream(name) && check(held));
const shape =
  (fields: Record<string, Check>): Check =>
  (value) =>
    object(value) && Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]));

const position = optional(shape({ epoch: text, last_seq_id: isCount, checksum: isCount }));
const message: Check = (value) =>
  typeof value === "string" && value.length <= MAX_FRAME && value.startsWith('{"type":"MESSAGE"');

const SHAPES: Record<Letter["t"], Check> = {
  lead: shape({
    term,
    tab: id,
    client: id,
    welcome: optional(
      shape({ session: text, node: text, clock: isCount, heartbeat_ms: isCount, streams: every(isStream), limits: object }),
    ),
    attempt: isCount,
    retryAt: optional((value) => typeof value === "number"),
    age: (value) => typeof value === "number",
    tabs: every(shape({ id, visible: flag })),
    failed: optional(shape({ code: isCount, reason: text })),
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
  logout: () => true,
};

const SYNC = /^\{"type":"SYNC_(?:DELTA|SNAPSHOT)","stream":"([A-Za-z0-9._:-]+)"/;

/** The stream of a sync frame, where it stands as the server writes it: frames that only pass aren't parsed for it. */
export function syncStream(frame: unknown): string | undefined {
  return typeof frame === "string" ? SYNC.exec(frame)?.[1] : undefined;
}

/** A letter, if it is one: whatever script runs on this origin may write on the pipe. */
export function readLetter(data: unknown): Letter | null {
  if (!object(data)) return null;
  const { t } = data as { t: unknown };
  return typeof t === "string" && Object.hasOwn(SHAPES, t) && SHAPES[t as Letter["t"]](data) ? (data as Letter) : null;
}

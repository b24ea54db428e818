import { PayloadError } from "./errors.ts";

const MAX_DEPTH = 32;
const STREAM_NAME = /^[A-Za-z0-9._:-]{1,100}$/;
/** JSON escapes surrogates that are alone, and NUL, which databases can't store. An escaped backslash begins no escape. */
const BAD_TEXT = /(?<!\\)(\\\\)*\\u(0000|d)/;

/** The largest encoded payload in bytes (protocol 3). */
const MAX_MESSAGE_BYTES = 65_536;

/** A payload ready to travel: encoded once, so that every retry is the same bytes. */
export interface Encoded {
  readonly text: string;
  readonly bytes: number;
  /** What the text says: later changes of the caller's object don't reach it. */
  readonly value: unknown;
}

/** Looks at every value of one payload. @throws PayloadError */
export type PayloadCheck = (key: string, value: unknown) => void;

/** @throws PayloadError for a name that no server takes. */
export function checkStream(name: unknown): asserts name is string {
  refuse(!isStream(name), `a stream name has 1 to 100 of A-Z a-z 0-9 . _ : -`);
}

export function isStream(name: unknown): name is string {
  return typeof name === "string" && STREAM_NAME.test(name);
}

/**
 * Encodes a payload as strict JSON (protocol 1).
 *
 * @param checking what else each payload is asked; a server refuses (400) what passes here and isn't strict
 * @throws PayloadError for what JSON can't hold, what a server can't read, and more than `maxBytes`.
 */
export function encodePayload(payload: unknown, maxBytes = MAX_MESSAGE_BYTES, checking?: () => PayloadCheck): Encoded {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload, readable(checking?.()));
  } catch (cause) {
    throw cause instanceof PayloadError ? cause : new PayloadError(`not JSON: ${String(cause)}`, { cause });
  }
  if (text === undefined) throw new PayloadError("undefined is not JSON");
  refuse(BAD_TEXT.test(text), "NUL or a lone surrogate");
  const bytes = new TextEncoder().encode(text).length;
  refuse(bytes > maxBytes, `more than ${maxBytes} bytes`);
  return { text, bytes, value: JSON.parse(text) };
}

export function refuse(condition: boolean, reason: string): void {
  if (condition) throw new PayloadError(reason);
}

/** Refuses, on the way to JSON, what it would change or lose without a word, and what is too deep to be read. */
function readable(check: PayloadCheck | undefined) {
  /** How deep an object or array lies; it is visited before what lies in it. */
  const levels = new Map<unknown, number>();
  return function (this: unknown, key: string, value: unknown): unknown {
    const type = typeof value;
    const level = (levels.get(this) ?? -1) + 1;
    levels.set(value, level);
    const lost = type === "function" || type === "symbol" || (type === "number" && !Number.isFinite(value));
    refuse(lost, `${String(value)} is not JSON`);
    refuse(level > MAX_DEPTH, `more than ${MAX_DEPTH} levels`);
    check?.(key, value);
    return value;
  };
}

import { PayloadError } from "./errors.ts";

const MAX_DEPTH = 32;
const MAX_VALUES = 1_000;
const MAX_INTEGER = 2 ** 53;
/** From here on JavaScript writes `1e+21`, which every server reads as a float. */
const EXPONENT_FROM = 1e21;
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
 * @throws PayloadError for what JSON can't hold, what a server refuses, and more than `maxBytes`.
 */
export function encodePayload(payload: unknown, maxBytes = MAX_MESSAGE_BYTES): Encoded {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload, strict());
  } catch (cause) {
    throw cause instanceof PayloadError ? cause : new PayloadError(`not JSON: ${String(cause)}`, { cause });
  }
  if (text === undefined) throw new PayloadError("undefined is not JSON");
  refuse(BAD_TEXT.test(text), "NUL or a lone surrogate");
  const bytes = new TextEncoder().encode(text).length;
  refuse(bytes > maxBytes, `more than ${maxBytes} bytes`);
  return { text, bytes, value: JSON.parse(text) };
}

function refuse(condition: boolean, reason: string): void {
  if (condition) throw new PayloadError(reason);
}

/** Refuses, on the way to JSON, what it would change or lose without a word, and what no server takes. */
function strict() {
  let values = 0;
  /** How deep an object or array lies; it is visited before what lies in it. */
  const levels = new Map<unknown, number>();
  return function (this: unknown, key: string, value: unknown): unknown {
    const type = typeof value;
    const size = type === "number" ? Math.abs(value as number) : 0;
    const level = (levels.get(this) ?? -1) + 1;
    levels.set(value, level);
    if (value !== undefined) values++;
    refuse(type === "function" || type === "symbol" || !(size < Infinity), `${String(value)} is not JSON`);
    refuse(size > MAX_INTEGER && size < EXPONENT_FROM, "an integer beyond 2^53");
    refuse(level > MAX_DEPTH, `more than ${MAX_DEPTH} levels`);
    refuse(values > MAX_VALUES, `more than ${MAX_VALUES} values`);
    refuse(key === "__proto__", "a key __proto__");
    return value;
  };
}

import { PayloadError } from "./errors.ts";

const MAX_DEPTH = 32;
const MAX_VALUES = 1_000;
const MAX_INTEGER = 2 ** 53;
/** From here on JavaScript writes `1e+21`, which every server reads as a float. */
const EXPONENT_FROM = 1e21;
const STREAM_NAME = /^[A-Za-z0-9._:-]{1,100}$/;
// With the u flag a pair is one code point, so that only lone surrogates match. Databases can't store NUL.
const BAD_TEXT = /[\0\uD800-\uDFFF]/u;

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
    text = JSON.stringify(payload, refuseSilentLoss);
  } catch (cause) {
    throw cause instanceof PayloadError ? cause : new PayloadError(`not JSON: ${String(cause)}`, { cause });
  }
  refuse(text === undefined, `${text} is not JSON`);
  const bytes = new TextEncoder().encode(text).length;
  refuse(bytes > maxBytes, `more than ${maxBytes} bytes`);
  return { text: text!, bytes, value: decodeStrictly(text!) };
}

function refuse(condition: boolean, reason: string): void {
  if (condition) throw new PayloadError(reason);
}

/** JSON.stringify would turn these into null or leave them out without a word. */
function refuseSilentLoss(_key: string, value: unknown): unknown {
  const type = typeof value;
  const lost = type === "number" ? !Number.isFinite(value) : type === "function" || type === "symbol";
  refuse(lost, `${String(value)} is not JSON`);
  return value;
}

/** Decodes with the server's rules. */
function decodeStrictly(text: string): unknown {
  let values = 0;
  /** How many levels lie in an object or array; what lies in one is visited before it. */
  const levels = new Map<unknown, number>();
  return JSON.parse(text, function (this: unknown, key: string, value: unknown) {
    const inside = levels.get(value) ?? 0;
    levels.set(this, Math.max(levels.get(this) ?? 0, inside + 1));
    const size = typeof value === "number" ? Math.abs(value) : 0;
    refuse(inside > MAX_DEPTH, `more than ${MAX_DEPTH} levels`);
    refuse(++values > MAX_VALUES, `more than ${MAX_VALUES} values`);
    refuse(key === "__proto__", "a key __proto__");
    refuse(size > MAX_INTEGER && size < EXPONENT_FROM, "an integer beyond 2^53");
    refuse(BAD_TEXT.test(key) || (typeof value === "string" && BAD_TEXT.test(value)), "NUL or a lone surrogate");
    return value;
  });
}

import { PayloadError } from "./errors.ts";

const MAX_DEPTH = 32;
const MAX_VALUES = 1_000;
const MAX_INTEGER = 2 ** 53;
/** From here on JavaScript writes `1e+21`, which every server reads as a float. */
const EXPONENT_FROM = 1e21;
const STREAM_NAME = /^[A-Za-z0-9._:-]{1,100}$/;
// With the u flag a pair is one code point, so that only lone surrogates match.
const LONE_SURROGATE = /[\uD800-\uDFFF]/u;

/** The largest encoded payload, in bytes, until WELCOME says otherwise (protocol 3). */
export const MAX_MESSAGE_BYTES = 65_536;

/** A payload ready to travel: encoded once, so that every retry is the same bytes. */
export interface Encoded {
  readonly text: string;
  readonly bytes: number;
  /** What the text says: later changes of the caller's object don't reach it. */
  readonly value: unknown;
}

/** @throws PayloadError for a name that no server takes. */
export function checkStream(name: unknown): asserts name is string {
  if (!isStream(name)) throw new PayloadError("a stream name is 1 to 100 of A-Z a-z 0-9 . _ : -");
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
  } catch (error) {
    throw error instanceof PayloadError ? error : new PayloadError(`can't be encoded: ${String(error)}`, { cause: error });
  }
  if (text === undefined) throw new PayloadError("undefined can't be encoded");
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > maxBytes) throw new PayloadError(`more than ${maxBytes} bytes`);
  const value: unknown = JSON.parse(text);
  checkValue(value);
  return { text, bytes, value };
}

/** JSON.stringify would turn these into null or leave them out without a word. */
function refuseSilentLoss(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new PayloadError("NaN and Infinity are not JSON");
  if (typeof value === "function" || typeof value === "symbol") throw new PayloadError(`a ${typeof value} is not JSON`);
  return value;
}

/** The server's rules for decoded JSON, level by level without recursion. */
export function checkValue(root: unknown): void {
  let values = 0;
  let level: unknown[] = [root];
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    const deeper: unknown[] = [];
    values += level.length;
    if (values > MAX_VALUES) throw new PayloadError(`more than ${MAX_VALUES} values`);
    for (const value of level) {
      if (typeof value === "string") checkText(value);
      else if (typeof value === "number") {
        const size = Math.abs(value);
        if (size > MAX_INTEGER && size < EXPONENT_FROM) throw new PayloadError("an integer beyond 2^53");
      } else if (Array.isArray(value)) deeper.push(...value);
      else if (value) {
        for (const [key, item] of Object.entries(value)) {
          if (key === "__proto__") throw new PayloadError("the key __proto__ is refused");
          checkText(key);
          deeper.push(item);
        }
      }
    }
    if (!deeper.length) return;
    level = deeper;
  }
  throw new PayloadError(`deeper than ${MAX_DEPTH} levels`);
}

function checkText(text: string): void {
  if (text.includes("\0")) throw new PayloadError("a string holds NUL, which databases can't store");
  if (LONE_SURROGATE.test(text)) throw new PayloadError("a string holds a lone surrogate");
}

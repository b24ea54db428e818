import { refuse, type PayloadCheck } from "./payload.ts";

const MAX_VALUES = 1_000;
const MAX_INTEGER = 2 ** 53;
/** From here on JavaScript writes `1e+21`, which every server reads as a float. */
const EXPONENT_FROM = 1e21;

/** For one payload: refuses what can be encoded and read, but what no server takes. */
export function strict(): PayloadCheck {
  let values = 0;
  return (key, value) => {
    const size = typeof value === "number" ? Math.abs(value) : 0;
    if (value !== undefined) values++;
    refuse(size > MAX_INTEGER && size < EXPONENT_FROM, "an integer beyond 2^53");
    refuse(values > MAX_VALUES, `more than ${MAX_VALUES} values`);
    refuse(key === "__proto__", "a key __proto__");
  };
}

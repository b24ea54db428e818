import type { StoredMessage } from "../item.ts";
import { isStream } from "../payload.ts";

/** A stored message, and whose it is. */
export interface Row extends StoredMessage {
  /** Opaque name of the user. */
  readonly key: string;
  /** The consumer that it is for. */
  readonly url: string;
  /** The page that looks after it; "": nobody. */
  readonly owner: string;
  /** The owner took it over from another page. */
  readonly adopted: boolean;
}

/** Whether a row is what this version writes; others and other scripts of the site write there, too. */
export function isRow(row: unknown): row is Row {
  const { id, stream, text, bytes, createdAt, origin, order, producer, n, owner } = row as Partial<Row>;
  const numbered = producer === null ? n === null : isText(producer) && isCount(n);
  const placed = isText(origin) && isCount(order) && typeof owner === "string";
  return isText(id) && isStream(stream) && isJson(text) && isCount(bytes) && Number.isFinite(createdAt) && placed && numbered;
}

const isText = (value: unknown) => typeof value === "string" && value !== "";
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;

function isJson(text: unknown): boolean {
  try {
    JSON.parse(text as string);
    return typeof text === "string";
  } catch {
    return false;
  }
}

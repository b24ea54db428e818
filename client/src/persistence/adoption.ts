import type { Row } from "./row.ts";

/** What is kept for one user and consumer by one page. */
export interface Caps {
  /** Older messages are not sent any more, in milliseconds. */
  readonly maxAgeMs: number;
  readonly maxCount: number;
  readonly maxBytes: number;
}

/** Whose messages a page finds. */
export interface Finder {
  readonly me: string;
  /** Owners that were looked for and are gone. */
  readonly dead: ReadonlySet<string>;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** What becomes of the messages that nobody looks after. */
export interface Choice {
  /** Ordered by origin and order. */
  readonly adopted: readonly Row[];
  readonly refused: readonly { readonly message: Row; readonly reason: "age" | "count" | "bytes" }[];
}

/** Owners that may be gone. */
export function strangers(rows: readonly Row[], me: string): string[] {
  return [...new Set(rows.map(({ owner }) => owner))].filter((owner) => owner !== "" && owner !== me);
}

/** Decides about all rows of a user and consumer: which of them the finder takes over, and which nobody will send. */
export function choose(rows: readonly Row[], { me, dead, now }: Finder, caps: Caps): Choice {
  // What one outbox numbered stays with one page: it declares the numbers before its oldest to be settled.
  const free = ({ owner }: Row) => owner === "" || dead.has(owner);
  const taken = new Set(rows.filter((row) => row.owner !== me && !free(row)).map(({ origin }) => origin));
  const orphans = rows.filter((row) => free(row) && !taken.has(row.origin));
  const kept = rows.filter(({ owner, adopted }) => owner === me && adopted);
  const refused: Choice["refused"][number][] = [];
  let left = orphans.filter((message) => {
    const old = now - message.createdAt > caps.maxAgeMs;
    if (old) refused.push({ message, reason: "age" });
    return !old;
  });

  let count = kept.length + left.length - caps.maxCount;
  let bytes = kept.concat(left).reduce((sum, row) => sum + row.bytes, -caps.maxBytes);
  const gone = new Set<Row>();
  // The oldest go; what was numbered may have been applied, and is followed up.
  for (const message of left.filter(({ n }) => n === null).sort((a, b) => a.createdAt - b.createdAt || a.order - b.order)) {
    if (count <= 0 && bytes <= 0) break;
    gone.add(message);
    refused.push({ message, reason: count > 0 ? "count" : "bytes" });
    count--;
    bytes -= message.bytes;
  }
  left = left.filter((row) => !gone.has(row));
  const byPlace = (a: Row, b: Row) => (a.origin < b.origin ? -1 : a.origin > b.origin ? 1 : a.order - b.order);
  return { adopted: left.sort(byPlace), refused };
}

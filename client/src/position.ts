/** Where a reader stands in a stream: one number proves a whole history (protocol 2). */
export interface Position {
  readonly epoch: string;
  /** The last entry that was applied. */
  readonly seq: number;
  /** The fold over the ids of every entry up to `seq`. */
  readonly checksum: number;
}

/** A position as it travels. */
export interface WirePosition {
  readonly epoch: string;
  readonly last_seq_id: number;
  readonly checksum: number;
}

export const MODULUS = 2 ** 31 - 1;
const FACTOR = 31;

/** The checksum after one more entry; stays below 2^53 on the way. */
export function advance(checksum: number, id: string): number {
  return (checksum * FACTOR + (parseInt(id.slice(-8), 16) % MODULUS)) % MODULUS;
}

/** The checksum after these entry ids, in order. */
export function fold(checksum: number, ids: Iterable<string>): number {
  for (const id of ids) checksum = advance(checksum, id);
  return checksum;
}

export function toWire(position: Position | null): WirePosition | null {
  return position && { epoch: position.epoch, last_seq_id: position.seq, checksum: position.checksum };
}

/** Reads a position of the server (heads of PING); anything else than the exact form is null. */
export function fromWire(raw: unknown): Position | null {
  const { epoch, last_seq_id: seq, checksum } = (raw ?? {}) as Partial<WirePosition>;
  return typeof epoch === "string" && isCount(seq) && isCount(checksum) ? { epoch, seq, checksum } : null;
}

/** An integer from 0 to 2^53. */
export function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 2 ** 53;
}

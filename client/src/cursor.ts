import type { Entry, SyncDelta, SyncSnapshot } from "./frames.ts";
import { fold, type Position } from "./position.ts";

/** Why a SYNC_DELTA was refused: nothing of it was taken. */
export type DeltaFault = "epoch" | "hole" | "checksum" | "malformed";

/** What a SYNC_DELTA turned out to be: the entries that were applied, nothing new, or wrong. */
export type DeltaOutcome = readonly Entry[] | "repeat" | DeltaFault;

/** What a SYNC_SNAPSHOT turned out to be. */
export type SnapshotOutcome =
  | { readonly kind: "applied"; readonly state: unknown }
  /** A part was taken; the next one is expected. */
  | { readonly kind: "part"; readonly part: number }
  | { readonly kind: "refused" };

interface Parts {
  /** What they are parts of. */
  readonly whole: string;
  readonly chunks: string[];
}

/**
 * Where this client stands in one stream, advanced by nothing but verified frames (protocol 5.1, 5.2).
 * Pure: no time, no sockets, no handlers.
 */
export class Cursor {
  position: Position | null = null;
  #parts: Parts | null = null;

  /** A snapshot is on its way in parts. */
  get collecting(): boolean {
    return this.#parts !== null;
  }

  forget(): void {
    this.position = null;
    this.#parts = null;
  }

  dropParts(): void {
    this.#parts = null;
  }

  delta({ epoch, from, to, checksum, payload }: SyncDelta): DeltaOutcome {
    const { position } = this;
    if (position?.epoch !== epoch) return "epoch";
    if (payload.length !== to - from || payload.some((entry, index) => entry.seq !== from + index + 1)) {
      return "malformed";
    }
    if (from > position.seq) return "hole";
    if (to < position.seq) return "repeat";
    const entries = payload.slice(position.seq - from);
    const ids = entries.map((entry) => entry.id);
    if (fold(position.checksum, ids) !== checksum) return "checksum";
    if (!entries.length && from < to) return "repeat";
    this.position = { epoch, seq: to, checksum };
    return entries;
  }

  snapshot(frame: SyncSnapshot): SnapshotOutcome {
    const { epoch, seq, checksum } = frame;
    let state = frame.payload;
    if (frame.part !== undefined) {
      const chunks = this.#collect(frame);
      if (chunks && chunks.length < frame.parts!) return { kind: "part", part: chunks.length };
      this.#parts = null;
      try {
        state = JSON.parse((chunks ?? []).join("")); // of nothing: refused, too
      } catch {
        return { kind: "refused" };
      }
    }
    this.#parts = null;
    this.position = { epoch, seq, checksum };
    return { kind: "applied", state: state ?? null };
  }

  /** @returns the chunks so far; none for a part that doesn't continue them */
  #collect({ epoch, seq, part, parts, chunk }: SyncSnapshot): readonly string[] | undefined {
    const whole = JSON.stringify([epoch, seq, parts]);
    if (part === 1) this.#parts = { whole, chunks: [] };
    const old = this.#parts;
    if (old?.whole !== whole || old.chunks.length + 1 !== part || !(part <= parts!) || typeof chunk !== "string") return;
    old.chunks.push(chunk);
    return old.chunks;
  }
}

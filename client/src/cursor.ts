import type { Entry, SyncDelta, SyncSnapshot } from "./frames.ts";
import { fold, type Position } from "./position.ts";

/** What a SYNC_DELTA turned out to be. */
export type DeltaOutcome =
  | { readonly kind: "applied"; readonly entries: readonly Entry[] }
  /** Everything in it is known. */
  | { readonly kind: "repeat" }
  /** A hole, another epoch, a wrong sum: nothing was taken. */
  | { readonly kind: "refused"; readonly why: "epoch" | "hole" | "checksum" | "malformed" };

/** What a SYNC_SNAPSHOT turned out to be. */
export type SnapshotOutcome =
  | { readonly kind: "applied"; readonly state: unknown }
  /** A part was taken; the next one is expected. */
  | { readonly kind: "part"; readonly part: number }
  | { readonly kind: "refused" };

interface Parts {
  readonly epoch: string;
  readonly seq: number;
  readonly checksum: number;
  readonly parts: number;
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
    if (position?.epoch !== epoch) return { kind: "refused", why: "epoch" };
    if (payload.length !== to - from || payload.some((entry, index) => entry.seq !== from + index + 1)) {
      return { kind: "refused", why: "malformed" };
    }
    if (from > position.seq) return { kind: "refused", why: "hole" };
    if (to < position.seq) return { kind: "repeat" };
    const entries = payload.slice(position.seq - from);
    const ids = entries.map((entry) => entry.id);
    if (fold(position.checksum, ids) !== checksum) return { kind: "refused", why: "checksum" };
    if (!entries.length && from < to) return { kind: "repeat" };
    this.position = { epoch, seq: to, checksum };
    return { kind: "applied", entries };
  }

  snapshot(frame: SyncSnapshot): SnapshotOutcome {
    const { epoch, seq, checksum } = frame;
    let state = frame.payload;
    if (frame.part !== undefined) {
      const collected = this.#collect(frame);
      if (!collected) return { kind: "refused" };
      if (collected.chunks.length < collected.parts) return { kind: "part", part: collected.chunks.length };
      try {
        state = JSON.parse(collected.chunks.join(""));
      } catch {
        this.#parts = null;
        return { kind: "refused" };
      }
    }
    this.#parts = null;
    this.position = { epoch, seq, checksum };
    return { kind: "applied", state: state ?? null };
  }

  #collect({ epoch, seq, checksum, part, parts, chunk }: SyncSnapshot): Parts | null {
    if (part === 1) this.#parts = { epoch, seq, checksum, parts: parts ?? 0, chunks: [] };
    const old = this.#parts;
    const continues =
      old !== null &&
      old.epoch === epoch &&
      old.seq === seq &&
      old.parts === parts &&
      old.chunks.length + 1 === part &&
      part <= parts &&
      typeof chunk === "string";
    if (!continues) return (this.#parts = null);
    old.chunks.push(chunk);
    return old;
  }
}

import { after } from "../clock.ts";
import { calculateBackoff } from "../backoff.ts";
import { isKnown, readFrame, type SyncDelta, type SyncSnapshot } from "../frames.ts";
import type { WirePosition } from "../position.ts";
import type { TabsEnvironment } from "./environment.ts";

export type Sync = SyncDelta | SyncSnapshot;

export interface HttpEvents {
  /** A page, or the snapshot. */
  frame(frame: Sync): void;
  /** Everything up to now was told. */
  done(): void;
  /** It can't be had this way. */
  failed(): void;
}

const ATTEMPTS = 5;
const PAGES = 1_000;
const BASE_MS = 300;
const MAX_MS = 5_000;

/**
 * Fetches what a stream has after a position, over HTTP (protocol 8): the leader's socket serves the leader's position.
 *
 * @param deltaUrl with STREAM in the place of the name; undefined: there is none
 */
export function createHttp({ clock, random, fetch }: TabsEnvironment, deltaUrl: string | undefined) {
  async function page(stream: string, claim: WirePosition | null, signal: AbortSignal): Promise<Sync | null> {
    const query = claim ? `?${new URLSearchParams(Object.entries(claim).map(([key, value]) => [key, String(value)]))}` : "";
    for (let attempt = 0; attempt < ATTEMPTS && !signal.aborted; attempt++) {
      if (attempt) {
        await new Promise<void>((run) => after(clock, calculateBackoff(attempt, BASE_MS, MAX_MS, random), signal, run));
      }
      try {
        const response = await fetch(deltaUrl!.replace("STREAM", encodeURIComponent(stream)) + query, { signal });
        if (response.ok) {
          const frame = readFrame(JSON.stringify(await response.json()));
          return isKnown(frame) && (frame.type === "SYNC_DELTA" || frame.type === "SYNC_SNAPSHOT") ? frame : null;
        }
        if (response.status < 500 && response.status !== 429) return null;
      } catch {
        // The network, or nonsense: once more.
      }
    }
    return null;
  }

  return async (stream: string, claim: WirePosition | null, signal: AbortSignal, events: HttpEvents): Promise<void> => {
    if (!deltaUrl) return events.failed();
    for (let pages = 0; pages < PAGES; pages++) {
      const frame = await page(stream, claim, signal);
      if (signal.aborted) return;
      if (!frame || frame.stream !== stream) return events.failed();
      events.frame(frame);
      if (signal.aborted) return;
      if (frame.type === "SYNC_DELTA") {
        if (frame.complete) return events.done();
        claim = { epoch: frame.epoch, last_seq_id: frame.to, checksum: frame.checksum };
      } else claim = { epoch: frame.epoch, last_seq_id: frame.seq, checksum: frame.checksum };
    }
    events.failed();
  };
}

import { Cursor } from "./cursor.ts";
import type { Entry, SnapshotReason } from "./frames.ts";
import { toWire, type WirePosition } from "./position.ts";
import { Receipts } from "./receipts.ts";
import type { SyncState } from "./sync.ts";

/** What a snapshot is, beside the state. */
export interface SnapshotInfo {
  readonly reason: SnapshotReason;
  /** False: older or newer than `seq` says by a few entries; apply events idempotently. */
  readonly exact: boolean;
  /** True: the stream's beginning is missing (only its last entries follow). */
  readonly partial: boolean;
  readonly seq: number;
}

/** Which part of the stream a batch of entries is. */
export interface EventsInfo {
  /** Exclusive. */
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
  /** Nothing newer was known to the server. */
  readonly complete: boolean;
}

/** One subscriber's handlers. A throwing one is reported, and mended by one snapshot (protocol 5.6). */
export interface CoreSubscribeOptions {
  /** Replaces the state of the stream, whatever was before. `state` is null where the application has no snapshot. */
  onSnapshot?(state: unknown, info: SnapshotInfo): void;
  /** Entries in order, without gaps or repeats. */
  onEvents?(entries: readonly Entry[], info: EventsInfo): void;
  /** Aborting closes the subscription. */
  signal?: AbortSignal | undefined;
  /**
   * Where the state stands that the page came with (`{% reconnect_positions %}`): only what is newer is fetched. Not
   * used where another subscriber was first.
   */
  position?: WirePosition | null | undefined;
}

/** What the whole client takes, too. */
export interface SubscribeOptions extends CoreSubscribeOptions {
  onSync?(sync: SyncState): void;
}

export interface Subscriber {
  readonly handlers: SubscribeOptions;
}

/** After a mending snapshot a stream must be live so long before a throwing handler gets another (protocol 5.6). */
const MEND_AGAIN_MS = 30_000;

/** All that is known of one stream: position, subscribers, and how far its conversation with the server is. */
export class Stream {
  readonly name: string;
  readonly cursor = new Cursor();
  readonly receipts = new Receipts();
  readonly subscribers = new Set<Subscriber>();
  /** The server serves it on this socket, or was asked to. */
  joined = false;
  /** Joined by the server itself: stays when the last subscriber goes. */
  uninvited = false;
  /** Followed for other tabs: stays as long as they want it. */
  held = false;
  /** The SUBSCRIBE whose answer is awaited: until then sync frames are those of an older subscription. */
  ref: number | null = null;
  /** To be named in the next SUBSCRIBE. */
  dirty = false;
  /** Somebody needs the state, not only what changed since the position. */
  wantsSnapshot = false;
  /** A delta with `complete` came since it was joined (protocol 5.5). */
  live = false;
  /** The server can't verify its own head. */
  unverified = false;
  /** Monotonic time at which catching up, or being live, began. */
  changedAt: number;
  /** Entries of this catching up. */
  caughtUp = 0;
  /** Wall time of the last proof that this is the newest. */
  verifiedAt: number;
  /** Wall time since which a handler's failure has spoilt the screen. */
  brokenAt: number | null = null;
  /** Monotonic time of the last snapshot that was asked for to mend that. */
  mendedAt = -Infinity;
  /** Frames refused in a row. */
  heals = 0;
  /** Ends the wait for another SUBSCRIBE. */
  stopRetry: (() => void) | null = null;
  /** Applied since the last ACK. */
  unackedEntries = 0;
  unackedSize = 0;
  unackedSince = 0;

  constructor(name: string, now: number, wall: number) {
    this.name = name;
    this.changedAt = now;
    this.verifiedAt = wall;
  }

  get seq(): number {
    return this.cursor.position?.seq ?? 0;
  }

  /** What it brings to HELLO and SUBSCRIBE: where it stands, or null for "I have nothing". */
  get claim(): WirePosition | null {
    return this.wantsSnapshot ? null : toWire(this.cursor.position);
  }

  /** Between a SUBSCRIBE and its answer, sync frames are those of the older subscription (protocol 5.3). */
  get ignores(): boolean {
    return !this.joined || this.ref !== null || this.dirty;
  }

  /** The socket is gone, or the server ended the subscription. */
  part(): void {
    this.joined = this.live = false;
    this.ref = null;
    this.acknowledged();
    this.cursor.dropParts();
    this.dropRetry();
  }

  /** The server was told where this stands. */
  acknowledged(): void {
    this.unackedEntries = this.unackedSize = this.unackedSince = 0;
  }

  dropRetry(): void {
    this.stopRetry?.();
    this.stopRetry = null;
  }

  catchUp(now: number): void {
    this.live = false;
    this.caughtUp = 0;
    this.changedAt = now;
  }

  goLive(now: number): void {
    if (!this.live) this.changedAt = now;
    this.live = true;
    this.heals = 0;
  }

  /** What is shown is the newest. */
  prove(wall: number): void {
    this.unverified = false;
    this.verifiedAt = wall;
  }

  /** A handler threw. @returns whether a snapshot may mend it */
  break(now: number, wall: number): boolean {
    this.brokenAt ??= wall;
    const again = this.mendedAt > -Infinity;
    if (again && !(this.live && now - Math.max(this.changedAt, this.mendedAt) >= MEND_AGAIN_MS)) return false;
    this.mendedAt = now;
    return true;
  }
}

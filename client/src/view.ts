import type { Connection } from "./connection.ts";
import type { Outbox } from "./outbox.ts";
import type { State } from "./state-machine.ts";
import type { Stream } from "./stream.ts";
import type { Streams } from "./streams.ts";
import { sameSync, worst, type SyncState } from "./sync.ts";

/** Everything a page shows of a client, immutable: a new object only when something in it changed. */
export interface Snapshot {
  readonly state: State;
  readonly sync: SyncState;
  /** Messages without an answer. */
  readonly waiting: number;
  /** Which attempt of this outage is made or waited for; 0 while connected. */
  readonly attempt: number;
  /** When the next attempt begins (milliseconds since 1970), while waiting for it. */
  readonly retryAt: number | null;
  readonly streams: Readonly<Record<string, { readonly seq: number; readonly kind: SyncState["kind"] }>>;
  readonly clientId: string;
  /** The server's name for this client, once WELCOME came. */
  readonly session: string | null;
}

interface Tell {
  syncChange(sync: SyncState): void;
  change(snapshot: Snapshot): void;
  error(error: unknown): void;
}

/** What people see of a client: computed when asked for, told once a turn of the event loop, never mutated. */
export class View {
  #sync: SyncState | null = null;
  #toldSync: SyncState | null = null;
  #snapshot: Snapshot | null = null;
  #toldSnapshot: Snapshot | null = null;
  #stale = true;
  #scheduled = false;
  readonly #connection: Connection;
  readonly #streams: Streams;
  readonly #outbox: Outbox;
  readonly #names: () => Pick<Snapshot, "clientId" | "session">;
  readonly #tell: Tell;

  constructor(
    connection: Connection,
    streams: Streams,
    outbox: Outbox,
    names: () => Pick<Snapshot, "clientId" | "session">,
    tell: Tell,
  ) {
    this.#connection = connection;
    this.#streams = streams;
    this.#outbox = outbox;
    this.#names = names;
    this.#tell = tell;
  }

  syncOf(stream: Stream): SyncState {
    const tracked = this.#streams.get(stream.name) === stream;
    return stream.sync(tracked && this.#streams.connected, this.#outbox.waitingOn(stream.name));
  }

  get sync(): SyncState {
    const next = this.#computeSync();
    if (!this.#sync || !sameSync(this.#sync, next)) this.#sync = Object.freeze(next);
    return this.#sync;
  }

  get snapshot(): Snapshot {
    if (this.#stale || !this.#snapshot) {
      this.#stale = false;
      const next = this.#computeSnapshot();
      if (!this.#snapshot || JSON.stringify(next) !== JSON.stringify(this.#snapshot)) {
        this.#snapshot = Object.freeze(next);
      }
    }
    return this.#snapshot;
  }

  /** Something may have changed: told when this turn of the event loop is done. */
  touch(): void {
    this.#stale = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.refresh();
    });
  }

  /** Tells what changed since it was last told. */
  refresh(): void {
    this.#stale = true;
    for (const stream of this.#streams) {
      const sync = this.syncOf(stream);
      for (const subscriber of [...stream.subscribers]) {
        if (subscriber.sync && sameSync(subscriber.sync, sync)) continue;
        subscriber.sync = sync;
        try {
          subscriber.options.onSync?.(sync);
        } catch (error) {
          this.#tell.error(error);
        }
      }
    }
    const { sync, snapshot } = this;
    if (sync !== this.#toldSync) this.#tell.syncChange((this.#toldSync = sync));
    if (snapshot !== this.#toldSnapshot) this.#tell.change((this.#toldSnapshot = snapshot));
  }

  #computeSync(): SyncState {
    const states = [];
    for (const stream of this.#streams) if (stream.subscribers.size) states.push(this.syncOf(stream));
    const { waiting } = this.#outbox;
    if (states.length || this.#streams.connected) return worst(states, waiting);
    return { kind: "stale", since: this.#connection.heardAt, waiting };
  }

  #computeSnapshot(): Snapshot {
    const { state, attempt, retryAt } = this.#connection;
    const streams: Record<string, { seq: number; kind: SyncState["kind"] }> = {};
    for (const stream of this.#streams) {
      streams[stream.name] = Object.freeze({ seq: stream.seq, kind: this.syncOf(stream).kind });
    }
    Object.freeze(streams);
    return { state, sync: this.sync, waiting: this.#outbox.waiting, attempt, retryAt, streams, ...this.#names() };
  }
}

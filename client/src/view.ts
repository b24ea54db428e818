import type { Connection } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import type { Snapshot } from "./public.ts";
import type { Roster } from "./roster.ts";
import type { Settings } from "./settings.ts";
import type { TabsLink } from "./sharing.ts";
import type { Stream } from "./stream.ts";
import { worst, type SyncState } from "./sync.ts";
import { onceATurn } from "./turn.ts";

/** What people see of a client: computed when asked for, told once a turn of the event loop, never mutated. */
export interface View {
  sync(): SyncState;
  snapshot(): Snapshot;
  syncOf(stream: Stream): SyncState;
  /** Something may have changed: told when this turn of the event loop is done. */
  touch(): void;
  /** Tells what changed since it was last told. */
  refresh(): void;
}

export function createView(
  { clientId, emit, error }: Settings,
  connection: Connection,
  link: TabsLink,
  roster: Roster,
  outbox: Outbox,
): View {
  const { streams } = roster;
  let sync: SyncState | null = null;
  let toldSync: SyncState | null = null;
  let snapshot: Snapshot | null = null;
  let toldSnapshot: Snapshot | null = null;
  let dirty = true;
  const refreshSoon = onceATurn(refresh);

  const heard = () => roster.link !== null && !connection.overdue;

  function syncOf(stream: Stream): SyncState {
    return stream.sync(heard() && streams.get(stream.name) === stream, outbox.waitingOn(stream.name));
  }

  function currentSync(): SyncState {
    const states = Array.from(streams.values()).filter(({ subscribers }) => subscribers.size).map(syncOf);
    const { waiting } = outbox;
    const next: SyncState =
      states.length || heard() ? worst(states, waiting) : { kind: "stale", since: connection.heardAt, waiting };
    return (sync = same(sync, next));
  }

  function currentSnapshot(): Snapshot {
    if (snapshot && !dirty) return snapshot;
    dirty = false;
    const { state, session } = connection;
    // A follower shows what its leader waits for.
    const { attempt, retryAt } = (state === "RECONNECTING" && link.waiting) || connection;
    const { role, tabs } = link;
    const subscribed = Array.from(streams.values()).filter((stream) => stream.subscribers.size || !stream.held);
    const rows = subscribed.map((stream) => [
      stream.name,
      Object.freeze({ seq: stream.seq, kind: syncOf(stream).kind }),
    ]);
    const shown: Snapshot["streams"] = Object.freeze(Object.fromEntries(rows));
    const both = { sync: currentSync(), waiting: outbox.waiting, streams: shown };
    return (snapshot = same(snapshot, { state, attempt, retryAt, session, clientId, role, tabs, ...both }));
  }

  function refresh(): void {
    dirty = true;
    for (const stream of streams.values()) {
      for (const subscriber of [...stream.subscribers]) {
        const before = subscriber.sync;
        const now = (subscriber.sync = same(before, syncOf(stream)));
        if (now === before) continue;
        try {
          subscriber.handlers.onSync?.(now);
        } catch (cause) {
          error(cause);
        }
      }
    }
    const now = currentSnapshot();
    if (now.sync !== toldSync) emit("syncChange", (toldSync = now.sync));
    if (now !== toldSnapshot) emit("change", (toldSnapshot = now));
  }

  return {
    sync: currentSync,
    snapshot: currentSnapshot,
    syncOf,
    refresh,
    touch() {
      dirty = true;
      refreshSoon();
    },
  };
}

/** The old object where the new one says the same: people compare by identity. */
function same<T>(old: T | null, next: T): T {
  return old && JSON.stringify(old) === JSON.stringify(next) ? old : Object.freeze(next);
}

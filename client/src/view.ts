import { extend } from "./extend.ts";
import type { Inner } from "./inner.ts";
import type { Snapshot, Subscription } from "./public.ts";
import type { TabsLink } from "./sharing.ts";
import type { Stream, Subscriber } from "./stream.ts";
import { worst, type SyncState } from "./sync.ts";
import { onceATurn } from "./turn.ts";

/** What people see of a client: computed when asked for, told once a turn of the event loop, never mutated. */
export interface View {
  sync(): SyncState;
  snapshot(): Snapshot;
}

/** Watches a client: tells its application and its subscribers what people may see, when that changed. */
export function createView({ client, settings, connection, roster, outbox, on }: Inner, link: TabsLink): View {
  const { emit, error } = settings;
  const { clientId } = client;
  const { streams } = roster;
  /** What each subscriber was told. */
  const told = new WeakMap<Subscriber, SyncState>();
  let sync: SyncState | null = null;
  let toldSync: SyncState | null = null;
  let snapshot: Snapshot | null = null;
  let toldSnapshot: Snapshot | null = null;
  let dirty = true;
  const refreshSoon = onceATurn(refresh);

  const heard = () => roster.link !== null && !connection.overdue;

  function syncOf(stream: Stream): SyncState {
    const current = heard() && streams.get(stream.name) === stream;
    return freshness(stream, current, outbox.waitingOn(stream.name));
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

  function tell(subscriber: Subscriber, now: SyncState): void {
    try {
      subscriber.handlers.onSync?.(now);
    } catch (cause) {
      error(cause);
    }
  }

  function refresh(): void {
    dirty = true;
    for (const stream of streams.values()) {
      for (const subscriber of [...stream.subscribers]) {
        const before = told.get(subscriber) ?? null;
        const now = same(before, syncOf(stream));
        if (now === before) continue;
        told.set(subscriber, now);
        tell(subscriber, now);
      }
    }
    const now = currentSnapshot();
    if (now.sync !== toldSync) emit("syncChange", (toldSync = now.sync));
    if (now !== toldSnapshot) emit("change", (toldSnapshot = now));
  }

  on("touch", () => {
    dirty = true;
    refreshSoon();
  });
  on("closed", refresh);
  on("denied", (stream) => {
    // Nothing follows for its subscribers; that much they are still told.
    for (const subscriber of [...stream.subscribers]) tell(subscriber, freshness(stream, false, 0));
  });
  on("subscribed", ({ subscription, stream }) => {
    extend(subscription as Subscription, {
      get sync() {
        return syncOf(stream);
      },
    });
  });

  return { sync: currentSync, snapshot: currentSnapshot };
}

/** @param heard there is a link, and its server was heard in time */
function freshness({ brokenAt, unverified, verifiedAt, live, caughtUp }: Stream, heard: boolean, waiting: number): SyncState {
  const since = brokenAt ?? (heard && !unverified ? null : verifiedAt);
  if (since !== null) return { kind: "stale", since, waiting };
  return live ? { kind: "live", waiting } : { kind: "catching-up", n: caughtUp, waiting };
}

/** The old object where the new one says the same: people compare by identity. */
function same<T>(old: T | null, next: T): T {
  return old && JSON.stringify(old) === JSON.stringify(next) ? old : Object.freeze(next);
}

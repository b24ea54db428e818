import type { OutboxStore, QueueEntry, StoreClient, StoredMessage } from "../item.ts";
import { choose, strangers, type Caps, type Choice } from "./adoption.ts";
import { lightBeacon } from "./beacon.ts";
import { openDatabase, type Database, type Rows } from "./database.ts";
import { deadline } from "./deadline.ts";
import type { PersistenceEnvironment } from "./environment.ts";
import { createLifeboat, sinkLifeboats } from "./lifeboat.ts";
import { isRow, type Row } from "./row.ts";

/** Storage that takes longer is not waited for. */
const PATIENCE_MS = 2_000;

/**
 * One client's messages in IndexedDB. What fails here costs persistence: the client is told once, and its messages go on
 * in memory.
 */
export function createStore(environment: PersistenceEnvironment, client: StoreClient, key: string, caps: Caps): OutboxStore {
  const { clock } = environment;
  const url = client.url;
  /** "issued" until a transaction with it was committed. */
  const known = new Map<string, "issued" | "committed">();
  /** What others may have taken over while this page slept. */
  const shared = new Set<string>();
  const scope = `rc:v1:${key}:${url}`;
  const beacon = lightBeacon(environment, scope, () => {
    for (const id of [...known.keys(), ...changes.keys()]) shared.add(id);
    const unwritten = [...changes.values()].filter((message) => message !== null);
    if (unwritten.length && !off) lifeboat.launch(unwritten.map(orphan));
  });
  const me = beacon.id;
  const lifeboat = createLifeboat(environment, scope, me);
  /** This turn's changes, null: to be deleted. One transaction takes them all. */
  let changes = new Map<string, StoredMessage | null>();
  let writing: Promise<void> | null = null;
  let opening: Promise<Database> | null = null;
  /** Stored is what will be stored, unless something new happens. */
  let ready = false;
  let available = true;
  /** For good: nothing is tried any more. */
  let off = false;
  let closing = false;
  let last: Promise<unknown> = Promise.resolve();
  /** What is removed while messages are taken over. */
  let finished: Set<string> | null = null;

  // -- the database ------------------------------------------------------------------------------

  async function open(): Promise<Database> {
    const factory = environment.indexedDB();
    if (!factory) throw new DOMException("no IndexedDB here", "NotSupportedError");
    const asked = openDatabase(factory, (newer) => {
      opening = null;
      // What is numbered from now on is stored anew.
      known.clear();
      if (newer) giveUp("a newer version of this site uses the storage");
    });
    try {
      // Others see that the page lives before they see what it owns.
      const [database] = await deadline(clock, PATIENCE_MS, Promise.all([asked, beacon.lit()]));
      database.run("readwrite", (rows) => rows.purge(clock.wall() - caps.maxAgeMs, key, url)).catch(() => {});
      const { rows: rescued, landed } = lifeboat.found();
      if (rescued.length) {
        const takenIn = database.run("readwrite", (rows) => rescued.forEach((row) => rows.put(orphan(row))));
        await deadline(clock, PATIENCE_MS, takenIn);
        landed();
      }
      ready = true;
      return database;
    } catch (error) {
      asked.then((late) => late.close()).catch(() => {});
      throw error;
    }
  }

  async function run<T = void>(mode: "readonly" | "readwrite", work: (rows: Rows, give: (value: T) => void) => void): Promise<T> {
    for (let again = 0; ; again++) {
      let database: Database;
      try {
        database = await (opening ??= open());
      } catch (error) {
        giveUp(reasonOf(error));
        throw error;
      }
      try {
        return await deadline(clock, PATIENCE_MS, database.run(mode, work));
      } catch (error) {
        const { name } = (error ?? {}) as Error;
        // Deleted, or closed by the browser: it can be made anew.
        if (name === "InvalidStateError" && !again && !off) opening = null;
        else {
          if (name === "TimeoutError") giveUp(reasonOf(error));
          else tell(false, reasonOf(error));
          throw error;
        }
      }
    }
  }

  function giveUp(reason: string): void {
    off = true;
    ready = false;
    known.clear();
    changes.clear();
    opening?.then((database) => database.close()).catch(() => {});
    tell(false, reason);
  }

  function tell(now: boolean, reason: string): void {
    if (now === available || closing) return;
    available = now;
    client.emit("persistence", { available, reason });
  }

  /** A row that any page may take over. */
  const orphan = (message: StoredMessage): Row => ({ ...message, key, url, owner: "", adopted: false });

  // -- writing -----------------------------------------------------------------------------------

  function change(id: string, message: StoredMessage | null): Promise<void> {
    changes.set(id, message);
    return (writing ??= Promise.resolve().then(write));
  }

  async function write(): Promise<void> {
    // Nothing is taken before it can be written: what comes while the database opens goes along.
    try {
      await (opening ??= open());
    } catch {
      // `run` says so.
    }
    const batch = changes;
    changes = new Map();
    writing = null;
    lifeboat.recall();
    if (off || !batch.size) return;
    const fresh = new Set<string>();
    for (const [id, message] of batch) {
      if (!message) known.delete(id);
      else if (!known.has(id)) {
        fresh.add(id);
        known.set(id, "issued");
      }
    }
    const written = run("readwrite", (rows) => {
      let reads = false;
      for (const [id, message] of batch) {
        if (!message) rows.delete(id);
        else if (fresh.has(id)) rows.put({ ...message, key, url, owner: me, adopted: false });
        // Another page may look after it by now, or have finished it.
        else {
          reads = true;
          rows.update(id, (row) => (row.owner === me ? { ...row, ...message } : undefined));
        }
      }
      if (!reads) rows.commit();
    }).then(
      () => {
        if (fresh.size) tell(true, "");
        for (const id of fresh) if (known.has(id)) known.set(id, "committed");
      },
      () => {
        for (const id of fresh) known.delete(id);
        // No room for what is new: what is over goes all the same, now, or with what comes next.
        const over = [...batch].filter(([id, message]) => !message && !changes.has(id));
        for (const [id] of over) changes.set(id, null);
        if (over.length && over.length < batch.size) writing ??= Promise.resolve().then(write);
      },
    );
    last = written;
    return written;
  }

  // -- adoption ----------------------------------------------------------------------------------

  async function adopt(): Promise<readonly StoredMessage[]> {
    const found = await run<readonly unknown[]>("readonly", (rows, give) => rows.all(key, url, give));
    const owners = strangers(found.filter(isRow), me);
    const living = owners.length ? await beacon.living(owners) : new Set<string>();
    const finder = { me, dead: new Set(owners.filter((owner) => !living.has(owner))), now: clock.wall() };
    const { adopted, refused } = choose(found.filter(isRow), finder, caps);
    if (closing || off || !(adopted.length + refused.length || found.some((row) => !isRow(row)))) return [];

    let messages: StoredMessage[] = [];
    let gone: Choice["refused"] = [];
    const removed = (finished = new Set());
    // Another page may be at it: what counts is what stands there in this very transaction.
    const taking = run("readwrite", (rows) =>
      rows.all(key, url, (now) => {
        for (const row of now) if (!isRow(row)) rows.delete((row as Row).id);
        const choice = choose(now.filter(isRow), finder, caps);
        for (const row of choice.adopted) rows.put({ ...row, owner: me, adopted: true });
        for (const { message } of choice.refused) rows.delete(message.id);
        messages = choice.adopted.map(plain);
        gone = choice.refused;
      }),
    );
    await taking.finally(() => (finished = null));
    messages = messages.filter(({ id }) => !removed.has(id));
    for (const { id } of messages) known.set(id, "committed");
    for (const { message, reason } of gone) client.emit("undelivered", { entry: entryOf(message), reason });
    return messages;
  }

  /** What is left of this page's is anybody's. */
  function release(): Promise<unknown> {
    const ids = [...known.keys(), ...changes.keys()];
    if (off || !ids.length) return Promise.resolve();
    known.clear();
    shared.clear();
    return Promise.resolve(writing)
      .then(() =>
        run("readwrite", (rows) => {
          for (const id of ids) rows.update(id, (row) => (row.owner === me ? { ...row, owner: "" } : undefined));
        }),
      )
      .catch(() => {});
  }

  return {
    save(message) {
      return off || closing ? undefined : change(message.id, message);
    },
    remove(id) {
      shared.delete(id);
      finished?.add(id);
      if (off || closing) return;
      // It never got there.
      if (changes.get(id) && !known.has(id)) changes.delete(id);
      else void change(id, null);
    },
    adopt: () => (off || closing ? Promise.resolve([]) : adopt().catch(() => [])),
    holds: (id) => known.has(id) || (ready && available && !!changes.get(id)),
    exposed: (id) => shared.has(id),
    release: () => void release(),
    close() {
      if (closing) return;
      closing = true;
      void release()
        .then(() => last)
        .then(() => {
          beacon.stop();
          return opening?.then((database) => database.close());
        })
        .catch(() => {});
    },
    async wipe() {
      off = true;
      changes.clear();
      known.clear();
      beacon.stop();
      await wipe(environment, key).finally(() => opening?.then((database) => database.close()).catch(() => {}));
    },
  };
}

/**
 * Deletes all that is stored for a user.
 *
 * @throws what the browser says where nothing can be stored; then nothing is
 */
export async function wipe(environment: PersistenceEnvironment, key: string): Promise<void> {
  const { indexedDB, clock } = environment;
  sinkLifeboats(environment, key);
  const factory = indexedDB();
  if (!factory) return;
  const database = await deadline(clock, PATIENCE_MS, openDatabase(factory, () => {}));
  try {
    await deadline(clock, PATIENCE_MS, database.run("readwrite", (rows) => rows.wipe(key)));
  } finally {
    database.close();
  }
}

/** Without what is the store's own. */
function plain({ id, stream, text, bytes, createdAt, origin, order, producer, n }: Row): StoredMessage {
  return { id, stream, text, bytes, createdAt, origin, order, producer, n };
}

/** What the application may see of a message that will not be sent. */
function entryOf({ id, stream, text, createdAt, n }: Row): QueueEntry {
  const state = n === null ? "queued" : "sent";
  return Object.freeze({ id, stream, payload: JSON.parse(text), state, createdAt, failures: 0, restored: true });
}

const reasonOf = (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

/** Pages of one browser that share its IndexedDB, and can go in every way that a page goes. */
import { IDBFactory, IDBKeyRange } from "fake-indexeddb";
import { vi } from "vitest";
import { systemClock } from "../src/clock.ts";
import { connect, type Client } from "../src/index.ts";
import type { OutboxStore, PersistenceEvents } from "../src/item.ts";
import type { Options } from "../src/options.ts";
import { persistOutbox, type PersistOptions } from "../src/persistence/index.ts";
import type { PersistenceEnvironment } from "../src/persistence/environment.ts";
import { FakeServer, FakeSocket } from "../src/testing.ts";

globalThis.IDBKeyRange = IDBKeyRange;
type PersistenceState = PersistenceEvents["persistence"];

const URL = "ws://test/ws/";

export interface Page {
  readonly client: Client;
  readonly store: OutboxStore;
  readonly environment: PersistenceEnvironment;
  readonly told: PersistenceState[];
  readonly restored: number[];
  readonly undelivered: { entry: { id: string; payload: unknown }; reason: string }[];
  readonly errors: unknown[];
  /** The renderer is gone: no more code of the page runs, the browser drops what it held. */
  crash(): void;
  /** Into the back/forward cache and out of it. */
  hide(): void;
  show(): void;
  /** The document's own events. */
  freeze(): void;
  resume(): void;
}

/** Like the browser's: what is stored are its own properties. */
function fakeStorage(): Storage {
  return Object.create({
    getItem(this: Record<string, string>, name: string) {
      return this[name] ?? null;
    },
    setItem(this: Record<string, string>, name: string, value: string) {
      this[name] = value;
    },
    removeItem(this: Record<string, string>, name: string) {
      delete this[name];
    },
  }) as Storage;
}

export class Browser {
  readonly localStorage = fakeStorage();
  readonly server: FakeServer;
  factory: IDBFactory = new IDBFactory();
  readonly pages: Page[] = [];
  /** Whose locks are held: name and page. */
  readonly #held = new Map<string, PersistenceEnvironment>();

  constructor(server = new FakeServer()) {
    this.server = server;
  }

  /** Names of the locks that living pages hold. */
  get locks(): string[] {
    return [...this.#held.keys()];
  }

  environment(): PersistenceEnvironment {
    const held = this.#held;
    const environment: PersistenceEnvironment = {
      indexedDB: () => this.factory,
      localStorage: () => this.localStorage,
      locks: {
        request: (async (name: string, hold: (lock: unknown) => Promise<void>) => {
          await Promise.resolve();
          held.set(name, environment);
          await hold({ name });
          held.delete(name);
        }) as LockManager["request"],
        query: async () => ({ held: this.locks.map((name) => ({ name })) }) as LockManagerSnapshot,
      },
      openChannel: () => undefined,
      clock: systemClock,
      window: new EventTarget(),
      document: new EventTarget(),
    };
    return environment;
  }

  /** The network comes. */
  online(): void {
    this.server.accepts = true;
    for (const socket of this.server.sockets) socket.open();
  }

  /** @param key of the user; other options are the client's */
  open({ key = "u1", persist = {}, environment = this.environment(), ...options }: PageOptions = {}): Page {
    let gone = false;
    const { server } = this;
    class Socket extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(server, url, protocols);
        if (gone) return;
        server.sockets.push(this);
        if (server.accepts) this.open();
      }
    }
    const { window, document } = environment;
    const told: PersistenceState[] = [];
    const errors: unknown[] = [];
    const restored: number[] = [];
    const undelivered: Page["undelivered"] = [];
    const inner = persistOutbox({ environment, ...persist })({
      key,
      url: URL,
      clock: systemClock,
      emit(event, value) {
        if (event === "persistence") told.push(value as PersistenceState);
        if (event === "undelivered") undelivered.push(value as never);
      },
      error: (error) => errors.push(error),
    });
    // What runs after a crash is this test's doing, not the page's.
    const store: OutboxStore = {
      save: (message) => (gone ? undefined : inner.save(message)),
      remove: (id) => void (gone || inner.remove(id)),
      adopt: async () => (gone ? [] : inner.adopt!()),
      holds: (id) => inner.holds!(id),
      exposed: (id) => inner.exposed!(id),
      release: () => void (gone || inner.release!()),
      close: () => void (gone || inner.close!()),
      wipe: () => inner.wipe!(),
    };
    const client = connect(URL, { WebSocket: Socket, networkAware: { window, document }, random: () => 0.5, baseMs: 100, maxMs: 1_000, store, ...options });
    const on = client.on as unknown as (event: string, handler: (value: never) => void) => void;
    on("restored", ({ count }: { count: number }) => restored.push(count));
    on("undelivered", (value: never) => undelivered.push(value));
    on("error", (error: never) => errors.push(error));
    const page: Page = {
      client,
      store,
      environment,
      told,
      restored,
      undelivered,
      errors,
      crash: () => {
        gone = true;
        const sockets = server.sockets.filter((socket) => socket instanceof Socket);
        for (const socket of sockets) {
          socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
          server.drop(1006, socket);
        }
        for (const [name, holder] of this.#held) if (holder === environment) this.#held.delete(name);
        client.close();
      },
      hide: () => environment.window!.dispatchEvent(new Event("pagehide")),
      show: () => environment.window!.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true })),
      freeze: () => environment.document!.dispatchEvent(new Event("freeze")),
      resume: () => environment.document!.dispatchEvent(new Event("resume")),
    };
    this.pages.push(page);
    return page;
  }

  /** The rows of the database, oldest first. */
  async rows(): Promise<Record<string, unknown>[]> {
    const db = await new Promise<IDBDatabase>((resolve, reject) => {
      const opening = this.factory.open("reconnect_channels");
      opening.onsuccess = () => resolve(opening.result as never);
      opening.onerror = () => reject(opening.error);
    });
    try {
      if (!db.objectStoreNames.contains("outbox")) return [];
      return await new Promise((resolve) => {
        const request = db.transaction("outbox").objectStore("outbox").getAll();
        request.onsuccess = () => resolve(request.result.sort((a, b) => a.createdAt - b.createdAt || a.order - b.order));
      });
    } finally {
      db.close();
    }
  }
}

export interface PageOptions extends Options {
  readonly key?: string | undefined;
  readonly persist?: PersistOptions;
  readonly environment?: PersistenceEnvironment;
}

const realImmediate = globalThis.setImmediate;
/** Steps of the database that are to come: it takes one task for each. */
let steps = 0;
globalThis.setImmediate = ((run: () => void) => {
  steps++;
  return realImmediate(() => {
    steps--;
    run();
  });
}) as typeof setImmediate;

/** Lets storage, locks and sockets do all that needs no time. */
export async function quiet(): Promise<void> {
  for (let idle = 0; idle < 4; idle = steps ? 0 : idle + 1) {
    await new Promise<void>((resolve) => realImmediate(resolve));
    if (vi.isFakeTimers()) await vi.advanceTimersByTimeAsync(0);
  }
}

/** Passes time, and lets everything happen meanwhile. */
export async function pass(ms: number): Promise<void> {
  const STEP = 250;
  for (let left = ms; left > 0; left -= STEP) {
    await vi.advanceTimersByTimeAsync(Math.min(left, STEP));
    await quiet();
  }
}

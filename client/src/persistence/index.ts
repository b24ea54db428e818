import type { OpenStore, OutboxStore } from "../item.ts";
import { browserEnvironment, type PersistenceEnvironment } from "./environment.ts";
import { createStore, wipe } from "./store.ts";

/** Options of `persistOutbox`; every one may be left out. */
export interface PersistOptions {
  /**
   * Messages that are older when they are found are not sent any more, in milliseconds: 23 h. Stay below the server's
   * DEDUP_SECONDS (24 h): so long it knows which messages it has done.
   */
  readonly maxAgeMs?: number | undefined;
  /** How many messages a page takes over from pages that are gone: 1000. */
  readonly maxCount?: number | undefined;
  /** Their encoded payloads together, in bytes: 8 MiB. */
  readonly maxBytes?: number | undefined;
  /** Instead of the browser's own: tests. */
  readonly environment?: PersistenceEnvironment | undefined;
}

const CAPS = { maxAgeMs: 23 * 3_600_000, maxCount: 1_000, maxBytes: 8 * 2 ** 20 };

/**
 * Keeps messages in IndexedDB until they are answered: a reload, a crash or a closed tab loses nothing that `send`
 * accepted. Give it to `connect` as `store`.
 *
 * It stores under the identity key (`key` of `connect`): without one messages stay in memory. So they do where the
 * browser can't store them; the event `persistence` says so, once.
 *
 * @throws RangeError for caps that are not positive numbers
 */
export function persistOutbox({ environment = browserEnvironment(), ...options }: PersistOptions = {}): OpenStore {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) if (!((value as number) > 0)) throw new RangeError(`${name} must be positive`);
  const caps = { ...CAPS, ...Object.fromEntries(given) };
  return (client) => {
    if (client.key) return createStore(environment, client, client.key, caps);
    // Not before `connect` returned: somebody shall listen.
    queueMicrotask(() => client.emit("persistence", { available: false, reason: "no identity key" }));
    return NOWHERE;
  };
}

const NOWHERE: OutboxStore = { save() {}, remove() {} };

/** Deletes all persisted messages of a user, of every tab and consumer: for pages that log out without a client. */
export function wipeOutbox(key: string, environment: PersistenceEnvironment = browserEnvironment()): Promise<void> {
  return wipe(environment, key);
}

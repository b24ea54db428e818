import type { Row } from "./row.ts";

export const DATABASE = "reconnect_channels";
const VERSION = 1;
const STORE = "outbox";
/** Of a user's messages, by consumer. */
const SCOPE = "scope";
const AGE = "age";

export interface Database {
  /**
   * Runs a transaction; `work` may only use what it is given, at once and in its callbacks.
   *
   * @returns resolves when it is committed, with what `work` passed to `give` last; rejects when it was aborted, with
   *   an InvalidStateError where the database is gone
   */
  run<T = void>(mode: "readonly" | "readwrite", work: (rows: Rows, give: (value: T) => void) => void): Promise<T>;
  close(): void;
}

/** The stored messages, inside of a transaction. */
export interface Rows {
  put(row: Row): void;
  /** Replaces a row, unless `change` gives undefined for what is there now. */
  update(id: string, change: (row: Row) => Row | undefined): void;
  delete(id: string): void;
  /** Nothing more follows: the browser shall not wait for this page, which may be about to go. */
  commit(): void;
  /** All that is stored for a user and a consumer; what was written by others is not trusted. */
  all(key: string, url: string, then: (rows: readonly unknown[]) => void): void;
  /** Deletes all of a user. */
  wipe(key: string): void;
  /** Deletes what is older (milliseconds since 1970), unless it belongs to this user and consumer. */
  purge(before: number, key: string, url: string): void;
}

/**
 * Opens the database of this origin.
 *
 * @param lost the browser or another page took it away
 */
export function openDatabase(factory: IDBFactory, lost: (newer: boolean) => void): Promise<Database> {
  return new Promise((resolve, reject) => {
    const opening = factory.open(DATABASE, VERSION);
    opening.onupgradeneeded = () => {
      const store = opening.result.createObjectStore(STORE, { keyPath: "id" });
      store.createIndex(SCOPE, ["key", "url"]);
      store.createIndex(AGE, "createdAt");
    };
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const db = opening.result;
      // Whoever deletes or upgrades it waits for this.
      db.onversionchange = ({ newVersion }) => {
        db.close();
        lost(newVersion !== null);
      };
      db.onclose = () => lost(false);
      resolve({ run: (mode, work) => run(db, mode, work), close: () => db.close() });
    };
  });
}

function run<T>(db: IDBDatabase, mode: IDBTransactionMode, work: (rows: Rows, give: (value: T) => void) => void) {
  return new Promise<T>((resolve, reject) => {
    // Relaxed: what a crashed page or browser wrote is there. Strict would also survive a power failure, at the price
    // of a flushed disk before each first transmission.
    const transaction = db.transaction(STORE, mode, { durability: "relaxed" });
    let value!: T;
    transaction.oncomplete = () => resolve(value);
    transaction.onabort = () => reject(transaction.error ?? new DOMException("aborted", "AbortError"));
    work(rows(transaction.objectStore(STORE)), (given) => (value = given));
  });
}

function rows(store: IDBObjectStore): Rows {
  const each = (request: IDBRequest<IDBCursorWithValue | null>, visit: (cursor: IDBCursorWithValue) => void) => {
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return;
      visit(cursor);
      cursor.continue();
    };
  };
  return {
    put: (row) => void store.put(row),
    update(id, change) {
      const request = store.get(id);
      request.onsuccess = () => {
        const row = request.result && change(request.result as Row);
        if (row) store.put(row);
      };
    },
    delete: (id) => void store.delete(id),
    commit: () => store.transaction.commit?.(),
    all(key, url, then) {
      const request = store.index(SCOPE).getAll([key, url]);
      request.onsuccess = () => then(request.result);
    },
    // An array is above every string.
    wipe: (key) => each(store.index(SCOPE).openCursor(IDBKeyRange.bound([key], [key, []])), (cursor) => cursor.delete()),
    purge: (before, key, url) =>
      each(store.index(AGE).openCursor(IDBKeyRange.upperBound(before)), (cursor) => {
        const row = cursor.value as Row;
        if (row.key !== key || row.url !== url) cursor.delete();
      }),
  };
}

import type { PersistenceEnvironment } from "./environment.ts";
import { isRow, type Row } from "./row.ts";

/**
 * Where messages go when their page does before the database was open: into local storage, which is written at once.
 * The next page that opens the database takes them in. Storage that is full or forbidden costs them, as it always did.
 */
export interface Lifeboat {
  /** Puts rows to sea, in place of earlier ones of this page. */
  launch(rows: readonly Row[]): void;
  /** This page looks after them itself again. */
  recall(): void;
  /** What other pages and this one put to sea; `landed` forgets it. */
  found(): { rows: Row[]; landed(): void };
}

/** @param scope the user and the consumer; @param me this page's name among the owners of stored messages */
export function createLifeboat({ localStorage }: PersistenceEnvironment, scope: string, me: string): Lifeboat {
  const prefix = `${scope}:lifeboat:`;
  let launched = false;
  return {
    launch(rows) {
      launched = true;
      attempt(() => localStorage()?.setItem(prefix + me, JSON.stringify(rows)));
    },
    recall() {
      if (launched) remove(localStorage, [prefix + me]);
      launched = false;
    },
    found() {
      const rows: Row[] = [];
      const names = namesIn(localStorage, prefix);
      for (const name of names) {
        attempt(() => {
          const stored: unknown = JSON.parse(localStorage()?.getItem(name) ?? "null");
          if (Array.isArray(stored)) rows.push(...stored.filter(isRow));
        });
      }
      return { rows, landed: () => remove(localStorage, names) };
    },
  };
}

/** Forgets all of a user. */
export function sinkLifeboats({ localStorage }: PersistenceEnvironment, key: string): void {
  const names = namesIn(localStorage, `rc:v1:${key}:`).filter((name) => name.includes(":lifeboat:"));
  remove(localStorage, names);
}

type LocalStorage = PersistenceEnvironment["localStorage"];

function namesIn(localStorage: LocalStorage, prefix: string): string[] {
  let names: string[] = [];
  attempt(() => (names = Object.keys(localStorage() ?? {}).filter((name) => name.startsWith(prefix))));
  return names;
}

function remove(localStorage: LocalStorage, names: readonly string[]): void {
  for (const name of names) attempt(() => localStorage()?.removeItem(name));
}

function attempt(work: () => unknown): void {
  try {
    work();
  } catch {
    // Forbidden, full, or not ours.
  }
}

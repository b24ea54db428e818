import { systemClock, type Clock } from "../clock.ts";

/** What of BroadcastChannel is used. */
export type Channel = Pick<BroadcastChannel, "postMessage" | "close" | "onmessage">;

/** All of the browser that persistence touches; tests bring their own. */
export interface PersistenceEnvironment {
  /** `indexedDB`; where a site may not store anything, it is missing, or throws. */
  readonly indexedDB: () => IDBFactory | undefined;
  /** `localStorage`; where a site may not store anything, it is missing, or throws. */
  readonly localStorage: () => Storage | undefined;
  /** `navigator.locks`; missing on plain-http origins. */
  readonly locks: Pick<LockManager, "request" | "query"> | undefined;
  /** @returns undefined where tabs can't talk to each other */
  openChannel(name: string): Channel | undefined;
  readonly clock: Clock;
  readonly window: EventTarget | undefined;
  readonly document: EventTarget | undefined;
}

/** The browser's own. */
export function browserEnvironment(): PersistenceEnvironment {
  const { window, document, navigator } = globalThis as Partial<typeof globalThis>;
  return {
    indexedDB: () => globalThis.indexedDB,
    localStorage: () => globalThis.localStorage,
    locks: navigator?.locks,
    openChannel: (name) => (window && typeof BroadcastChannel === "function" ? new BroadcastChannel(name) : undefined),
    clock: systemClock,
    window,
    document,
  };
}

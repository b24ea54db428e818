import { systemClock, type Clock } from "../clock.ts";
import { secureRandom, type Random } from "../random.ts";
import { openPipe, type Pipe } from "./pipe.ts";

/** All of the browser that tab sharing touches; tests bring their own. */
export interface TabsEnvironment {
  /** `navigator.locks`; missing on plain-http origins: then every tab is on its own. */
  readonly locks: Pick<LockManager, "request" | "query"> | undefined;
  /** @returns undefined where tabs can't talk to each other */
  openPipe(name: string, received: (data: unknown) => void): Pipe | undefined;
  /** `localStorage`; every access may throw. */
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly window: EventTarget | undefined;
  readonly document: (EventTarget & { readonly visibilityState?: string }) | undefined;
  fetch(
    url: string,
    init?: { signal?: AbortSignal },
  ): Promise<{ readonly ok: boolean; readonly status: number; json(): Promise<unknown> }>;
}

/** The browser's own. */
export function browserEnvironment(): TabsEnvironment {
  const { window, document, navigator } = globalThis as Partial<typeof globalThis>;
  let storage: Storage | undefined;
  try {
    storage = globalThis.localStorage;
  } catch {
    // Blocked for this site: the terms are counted from what tabs tell each other.
  }
  return {
    locks: navigator?.locks,
    openPipe: (name, received) => openPipe(name, received, storage),
    storage,
    clock: systemClock,
    random: secureRandom,
    window,
    document,
    fetch: (url, init) => fetch(url, { credentials: "same-origin", headers: { accept: "application/json" }, ...init }),
  };
}

/** A browser without a browser: tabs with a life of their own in one virtual time. */
import type { TabsEnvironment } from "../../src/tabs/environment.ts";
import type { FakeServer } from "../../src/testing.ts";
import { createChannels, type Channels } from "./channels.ts";
import { createLocks, type Locks } from "./locks.ts";
import type { Loop } from "./loop.ts";
import { createNetwork, type Network } from "./network.ts";
import { createTab, type Tab } from "./tab.ts";

export type Response = Awaited<ReturnType<TabsEnvironment["fetch"]>>;

/** One profile of one browser. */
export interface Browser {
  readonly loop: Loop;
  readonly locks: Locks;
  readonly channels: Channels;
  readonly network: Network;
  /** Who is logged in. */
  cookie: string | null;
  /** What this browser doesn't have, or refuses. */
  readonly lacks: { locks?: boolean; pipe?: boolean; storage?: boolean | "full" };
  /** A frozen page's lock callbacks run, as its channel handlers do. */
  frozenLocks: boolean;
  /** Chromium fires `freeze` and `resume` at pages that go into and out of the back/forward cache; others don't. */
  freezesCached: boolean;
  /** The documents that live. */
  readonly tabs: readonly Tab[];
  /** Hears of every message on a channel. */
  posted: (tab: Tab, data: unknown) => void;
  /** Hears when the back/forward cache drops a page. */
  evicted: (tab: Tab, why: string) => void;
  /** What pages threw in their tasks. */
  readonly errors: { readonly tab: Tab; readonly error: unknown }[];
  readonly stored: Map<string, string>;

  open(): Tab;
  storageOf(tab: Tab): TabsEnvironment["storage"];
  fetch(tab: Tab, url: string, signal: AbortSignal | undefined): Promise<Response>;
  failed(tab: Tab, error: unknown): void;
  died(tab: Tab): void;
}

/** How long things take inside a browser, in milliseconds: longer on a busy machine. */
export interface Delays {
  readonly lockMs: number;
  readonly messageMs: number;
}

const QUICK: Delays = { lockMs: 1, messageMs: 3 };

/** @param serve answers a GET: what `json()` gives, or a number, which is a failure's status */
export function createBrowser(
  loop: Loop,
  server: FakeServer,
  serve: (url: string, cookie: string | null) => object | number = () => 404,
  delays = QUICK,
): Browser {
  const tabs = new Set<Tab>();
  const stored = new Map<string, string>();
  const network = createNetwork(loop, server);
  let opened = 0;

  const browser: Browser = {
    loop,
    locks: createLocks(loop, delays.lockMs),
    channels: createChannels(loop, delays.messageMs, (tab, data) => browser.posted(tab, data)),
    network,
    cookie: null,
    lacks: {},
    frozenLocks: false,
    freezesCached: true,
    get tabs() {
      return [...tabs];
    },
    posted() {},
    evicted() {},
    errors: [],
    stored,

    open() {
      const tab = createTab(browser, `tab${++opened}`);
      tabs.add(tab);
      return tab;
    },

    storageOf: () => {
      const guarded = <A extends unknown[], R>(run: (...args: A) => R) => (...args: A) => {
        if (browser.lacks.storage === true) throw new DOMException("denied", "SecurityError");
        return run(...args);
      };
      return {
        getItem: guarded((name: string) => stored.get(name) ?? null),
        setItem: guarded((name: string, value: string) => {
          if (browser.lacks.storage === "full") throw new DOMException("full", "QuotaExceededError");
          stored.set(name, String(value));
        }),
        removeItem: guarded((name: string) => void stored.delete(name)),
      };
    },

    async fetch(tab, url, signal) {
      signal?.throwIfAborted();
      const { cookie } = browser;
      const aborted = new Promise<never>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      const answer = await Promise.race([network.request(tab, () => serve(url, cookie)), aborted]);
      const status = typeof answer === "number" ? answer : 200;
      return { ok: status === 200, status, json: async () => structuredClone(answer) };
    },

    failed: (tab, error) => void browser.errors.push({ tab, error }),

    died(tab) {
      tabs.delete(tab);
      browser.channels.died(tab);
    },
  };
  return browser;
}

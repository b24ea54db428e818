import type { Clock } from "../../src/clock.ts";
import type { SocketLike } from "../../src/transport.ts";
import type { TabsEnvironment } from "../../src/tabs/environment.ts";
import type { Browser } from "./browser.ts";
import type { Task } from "./loop.ts";

/** What a task is, since a frozen page stops some and not others. */
export type TaskKind = "timer" | "channel" | "lock" | "network";

/** One document in one tab: its time, its events, and whether its callbacks run. */
export interface Tab {
  readonly id: string;
  /** Not closed, crashed or evicted: dead ones never run anything again. */
  readonly alive: boolean;
  readonly frozen: boolean;
  /** In the back/forward cache. */
  readonly cached: boolean;
  /** Its main thread is busy. */
  readonly blocked: boolean;
  readonly hidden: boolean;
  /** Its timers run. */
  readonly awake: boolean;
  readonly environment: TabsEnvironment & { readonly window: PageTarget; readonly document: PageTarget };
  readonly WebSocket: new (url: string, protocols: string[]) => SocketLike;
  /** Timers that are set. */
  readonly timers: number;

  /** Runs something in the page after `ms`, if it then may run, else as soon as it may. */
  post(kind: TaskKind, ms: number, run: () => void): Task;
  /** The user closes it, or follows a link while it can't be cached. */
  close(): void;
  /** No event, nothing. */
  crash(): void;
  /** The browser drops the cached document. */
  evict(why: string): void;
  freeze(): void;
  resume(): void;
  /** Into the back/forward cache. */
  cache(): void;
  restore(): void;
  block(): void;
  unblock(): void;
  hide(): void;
  show(): void;
}

/** Milliseconds since 1970 at the beginning of a simulation. */
const EPOCH_MS = 1_700_000_000_000;
/** A page hidden for so long has its chained timers run once a minute. */
const INTENSIVE_MS = 300_000;
const CHAIN = 5;

/**
 * What events of a page come to. Node's own EventTarget holds the listeners that end with a signal only weakly, and then
 * may forget to end them.
 */
export class PageTarget extends EventTarget {
  visibilityState = "visible";
  /** Who listens, by type. */
  readonly #heard = new Map<string, Set<EventListener>>();

  /** The types that somebody listens to, once for each listener. */
  get listening(): string[] {
    return [...this.#heard].flatMap(([type, listeners]) => Array.from(listeners, () => type));
  }

  override addEventListener(type: string, listener: EventListener, options: AddEventListenerOptions = {}): void {
    const { signal } = options;
    if (signal?.aborted) return;
    this.#heard.set(type, (this.#heard.get(type) ?? new Set()).add(listener));
    super.addEventListener(type, listener);
    signal?.addEventListener("abort", () => this.removeEventListener(type, listener));
  }

  override removeEventListener(type: string, listener: EventListener): void {
    this.#heard.get(type)?.delete(listener);
    super.removeEventListener(type, listener);
  }
}

export function createTab(browser: Browser, id: string): Tab {
  const { loop, locks, network } = browser;
  const window = new PageTarget();
  const document = new PageTarget();
  const born = loop.now - loop.between(0, 5_000);
  const timers = new Set<Task>();
  let backlog: { readonly kind: TaskKind; readonly task: Task; readonly run: () => void }[] = [];
  let alive = true;
  let frozen = false;
  let cached = false;
  let blocked = false;
  let hiddenAt = 0;
  /** How deep the running timer is chained. */
  let depth = 0;

  const mine = () => [...network.cables].filter((cable) => cable.tab === tab);

  function deliver(kind: TaskKind, task: Task, run: () => void): void {
    if (!alive || task.cancelled) return;
    const sleeping = (frozen || cached) && kind !== "channel" && !(kind === "lock" && browser.frozenLocks);
    if (blocked || sleeping) return void backlog.push({ kind, task, run });
    try {
      run();
    } catch (error) {
      browser.failed(tab, error);
    }
  }

  function catchUp(): void {
    const late = backlog;
    backlog = [];
    for (const { kind, task, run } of late) loop.later(0, () => deliver(kind, task, run));
  }

  function fire(target: EventTarget, type: string, fields: object = {}): void {
    target.dispatchEvent(Object.assign(new Event(type), fields));
  }

  function setVisibility(state: "visible" | "hidden"): void {
    if (document.visibilityState === state) return;
    document.visibilityState = state;
    hiddenAt = loop.now;
    fire(document, "visibilitychange");
  }

  function die(): void {
    if (!alive) return;
    alive = false;
    backlog = [];
    for (const cable of mine()) cable.died();
    locks.died(tab);
    browser.died(tab);
  }

  /** When a timer really runs. */
  function throttled(asked: number, nesting: number): number {
    const ms = Math.max(1, Math.trunc(asked)); // whole milliseconds, and never none
    if (document.visibilityState === "visible") return ms;
    const every = nesting >= CHAIN && loop.now - hiddenAt >= INTENSIVE_MS ? 60_000 : 1_000;
    return Math.ceil((loop.now + ms) / every) * every - loop.now;
  }

  const clock: Clock = {
    now: () => loop.now - born,
    wall: () => EPOCH_MS + loop.now,
    setTimeout(run, ms) {
      const nesting = depth + 1;
      const task = tab.post("timer", throttled(ms, nesting), () => {
        timers.delete(task);
        depth = nesting;
        try {
          run();
        } finally {
          depth = 0;
        }
      });
      timers.add(task);
      return task;
    },
    clearTimeout(handle) {
      if (!handle) return;
      (handle as Task).cancelled = true;
      timers.delete(handle as Task);
    },
  };

  const tab: Tab = {
    id,
    get alive() {
      return alive;
    },
    get frozen() {
      return frozen;
    },
    get cached() {
      return cached;
    },
    get blocked() {
      return blocked;
    },
    get hidden() {
      return document.visibilityState === "hidden";
    },
    get awake() {
      return alive && !frozen && !cached && !blocked;
    },
    get timers() {
      return timers.size;
    },
    get environment() {
      return environment;
    },
    get WebSocket() {
      return WebSocket;
    },

    post(kind, ms, run) {
      const task = loop.later(ms, () => deliver(kind, task, run));
      return task;
    },

    close() {
      // A page that is busy gets no events: the browser waits for a while and ends it.
      if (!blocked && !frozen && !cached) {
        fire(window, "pagehide", { persisted: false });
        setVisibility("hidden");
      }
      loop.later(0, die);
    },
    crash: die,
    evict(why) {
      browser.evicted(tab, why);
      die();
    },

    freeze() {
      setVisibility("hidden");
      fire(document, "freeze");
      frozen = true;
      for (const cable of mine()) cable.doom();
    },
    resume() {
      frozen = false;
      fire(document, "resume");
      for (const cable of mine()) cable.thaw();
      catchUp();
    },

    cache() {
      fire(window, "pagehide", { persisted: true });
      setVisibility("hidden");
      if (browser.freezesCached) fire(document, "freeze");
      cached = true;
      for (const cable of mine()) cable.doom();
    },
    restore() {
      cached = false;
      if (browser.freezesCached) fire(document, "resume");
      fire(window, "pageshow", { persisted: true });
      setVisibility("visible");
      for (const cable of mine()) cable.thaw();
      catchUp();
    },

    block() {
      blocked = true;
    },
    unblock() {
      blocked = false;
      catchUp();
    },

    hide: () => setVisibility("hidden"),
    show: () => setVisibility("visible"),
  };
  const environment: Tab["environment"] = {
    locks: browser.lacks.locks ? undefined : locks.of(tab),
    openPipe: (name, received) => (browser.lacks.pipe ? undefined : browser.channels.open(tab, name, received)),
    storage: browser.storageOf(tab),
    clock,
    random: loop.random,
    window,
    document,
    fetch: (url, init) => browser.fetch(tab, url, init?.signal),
  };
  const WebSocket = network.sockets(tab, () => browser.cookie);
  return tab;
}

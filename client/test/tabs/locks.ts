import type { Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

type Run = (lock: Lock | null) => unknown;

interface Request {
  readonly tab: Tab;
  readonly name: string;
  readonly ifAvailable: boolean;
  readonly steal: boolean;
  /** The browser has decided: granted, or refused with null. */
  grant(lock: Lock | null): void;
  /** Another tab took it by force. */
  stolen(): void;
}

/** The exclusive Web Locks of one browser, as measured in Chromium. */
export interface Locks {
  /** A tab's view of them: `navigator.locks`. */
  of(tab: Tab): Pick<LockManager, "request" | "query">;
  /** The tab is gone, and with it what it held and waited for. */
  died(tab: Tab): void;
  holder(name: string): Tab | undefined;
  /** How often one was taken by force. */
  readonly steals: number;
  /** Tabs that hold or wait for anything, one for each lock. */
  readonly users: readonly Tab[];
}

/** @param hopMs between a page and the browser that keeps the locks, in milliseconds */
export function createLocks(loop: Loop, hopMs: number): Locks {
  let steals = 0;
  const held = new Map<string, Request>();
  const queues = new Map<string, Request[]>();
  const queue = (name: string) => queues.get(name) ?? queues.set(name, []).get(name)!;

  function next(name: string): void {
    const first = queue(name)[0];
    if (!first || held.has(name)) return;
    queue(name).shift();
    give(first);
  }

  function give(request: Request): void {
    held.set(request.name, request);
    request.grant({ name: request.name, mode: "exclusive" });
  }

  function release(request: Request): void {
    if (held.get(request.name) !== request) return;
    held.delete(request.name);
    next(request.name);
  }

  function arrived(request: Request): void {
    const { name } = request;
    const holder = held.get(name);
    const waiting = queue(name);
    if (request.steal) {
      held.delete(name);
      if (holder) steals++;
      holder?.stolen();
      give(request);
    } else if (request.ifAvailable && (holder || waiting.length)) {
      request.grant(null);
    } else {
      // Only the first to wait frees a holder in the back/forward cache; one more does nothing.
      const evicts = holder?.tab.cached && !waiting.length;
      waiting.push(request);
      if (evicts) holder.tab.evict("a lock request");
      next(name);
    }
  }

  function request<T>(tab: Tab, name: string, options: LockOptions, run: Run): Promise<T> {
    const { signal, ifAvailable = false, steal = false } = options;
    const bad = name.startsWith("-") || (steal && ifAvailable) || (signal && (steal || ifAvailable));
    if (bad) return Promise.reject(new DOMException("not supported", "NotSupportedError"));
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise<T>((resolve, reject) => {
      let state: "waiting" | "running" | "over" = "waiting";
      const inBrowser = (ms: number, task: () => void) =>
        loop.later(ms, () => {
          if (tab.alive) task();
        });
      const abort = () => {
        if (state !== "waiting") return;
        state = "over";
        reject(signal!.reason);
        inBrowser(hopMs, () => {
          const waiting = queue(name);
          if (waiting.includes(made)) waiting.splice(waiting.indexOf(made), 1);
          release(made);
          next(name);
        });
      };
      signal?.addEventListener("abort", abort, { once: true });
      const end = (settle: () => void) => {
        signal?.removeEventListener("abort", abort);
        inBrowser(hopMs, () => release(made));
        if (state === "over") return;
        state = "over";
        settle();
      };
      const made: Request = {
        tab,
        name,
        ifAvailable,
        steal,
        grant(lock) {
          tab.post("lock", hopMs, () => {
            if (state !== "waiting") return;
            state = "running";
            signal?.removeEventListener("abort", abort);
            let result;
            try {
              result = Promise.resolve(run(lock));
            } catch (error) {
              result = Promise.reject(error);
            }
            result.then(
              (value) => end(() => resolve(value as T)),
              (error: unknown) => end(() => reject(error)),
            );
          });
        },
        stolen() {
          tab.post("lock", hopMs, () => {
            if (state === "over") return;
            state = "over";
            reject(new DOMException("the lock was stolen", "AbortError"));
          });
        },
      };
      inBrowser(hopMs, () => {
        if (state === "waiting") arrived(made);
      });
    });
  }

  return {
    of: (tab) => ({
      request: (name: string, ...rest: [Run] | [LockOptions, Run]) =>
        request(tab, name, rest.length === 1 ? {} : rest[0], rest.length === 1 ? rest[0] : rest[1]) as never,

      query: () =>
        new Promise((resolve) => {
          loop.later(hopMs, () => {
            for (const { tab: other } of [...held.values()]) if (other.cached) other.evict("a lock query");
            const info = ({ name, tab: { id } }: Request): LockInfo => ({ name, mode: "exclusive", clientId: id });
            const answer = { held: [...held.values()].map(info), pending: [...queues.values()].flat().map(info) };
            tab.post("lock", hopMs, () => resolve(answer));
          });
        }),
    }),

    died(tab) {
      for (const [name, waiting] of queues) queues.set(name, waiting.filter((request) => request.tab !== tab));
      for (const request of [...held.values()]) if (request.tab === tab) release(request);
    },
    get steals() {
      return steals;
    },
    holder: (name) => held.get(name)?.tab,
    get users() {
      return [...held.values(), ...[...queues.values()].flat()].map(({ tab }) => tab);
    },
  };
}

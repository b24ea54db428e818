/** The browser double does what real Chromium was measured to do: the simulation is worth as much as this. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { FakeServer } from "../../src/testing.ts";
import { createBrowser, type Browser } from "./browser.ts";
import { createLoop, type Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

let loop: Loop;
let server: FakeServer;
let browser: Browser;
beforeEach(() => {
  loop = createLoop(1);
  server = new FakeServer();
  browser = createBrowser(loop, server, (url) => (url === "/d" ? { hello: 1 } : 403));
});

/** A tab's wish for a lock, and what became of it. */
function want(tab: Tab, options: LockOptions = {}, name = "L") {
  const wish = { granted: 0, given: undefined as unknown, ended: "", release: () => {} };
  const held = (lock: Lock | null) => {
    wish.granted++;
    wish.given = lock;
    return new Promise<void>((resolve) => {
      wish.release = resolve;
    });
  };
  tab.environment.locks!.request(name, options, held).then(
    () => (wish.ended = "released"),
    (error: Error) => (wish.ended = error.name),
  );
  return wish;
}

describe("locks", () => {
  test("are exclusive, and given in the order in which they were asked for", async () => {
    const wishes = [browser.open(), browser.open(), browser.open()].map((tab) => want(tab));
    await loop.advance(100);
    expect(wishes.map(({ granted }) => granted)).toEqual([1, 0, 0]);
    wishes[0]!.release();
    await loop.advance(100);
    expect(wishes.map(({ granted, ended }) => [granted, ended])).toEqual([[1, "released"], [1, ""], [0, ""]]);
  });

  test("are free again when a tab is closed or crashes", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()];
    const wishes = [first, second, third].map((tab) => want(tab));
    await loop.advance(100);
    first.close();
    await loop.advance(100);
    expect(wishes[1]!.granted).toBe(1);
    second.crash();
    await loop.advance(100);
    expect(wishes[2]!.granted).toBe(1);
    expect(wishes[0]!.ended).toBe("");
  });

  test("ifAvailable gives null where somebody has it or waits for it", async () => {
    const wish = want(browser.open(), { ifAvailable: true });
    await loop.advance(100);
    expect(wish.given).toMatchObject({ name: "L", mode: "exclusive" });
    const other = want(browser.open(), { ifAvailable: true });
    await loop.advance(100);
    expect(other.given).toBe(null);
  });

  test("an aborted request is never granted, not even when it was on its way", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()];
    const holder = want(first);
    const controller = new AbortController();
    const aborted = want(second, { signal: controller.signal });
    const last = want(third);
    await loop.advance(100);
    holder.release();
    await loop.advance(1); // the browser has given it to the second, which doesn't know yet
    controller.abort();
    await loop.advance(100);
    expect(aborted).toMatchObject({ granted: 0, ended: "AbortError" });
    expect(last.granted).toBe(1);
  });

  test("a name that begins with a dash, and steal with a signal, are not supported", async () => {
    const tab = browser.open();
    const wishes = [want(tab, {}, "-x"), want(tab, { steal: true, signal: new AbortController().signal })];
    await loop.advance(100);
    expect(wishes.map(({ ended }) => ended)).toEqual(["NotSupportedError", "NotSupportedError"]);
  });

  test("stealing rejects the holder with AbortError and leaves the queue as it is", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()];
    const holder = want(first);
    const waiting = want(second);
    await loop.advance(100);
    const thief = want(third, { steal: true });
    await loop.advance(100);
    expect(holder.ended).toBe("AbortError");
    expect([waiting.granted, thief.granted]).toEqual([0, 1]);
    thief.release();
    await loop.advance(100);
    expect(waiting.granted).toBe(1);
  });

  test("a frozen holder hears of a theft when it wakes", async () => {
    const tab = browser.open();
    const holder = want(tab);
    await loop.advance(100);
    tab.freeze();
    const thief = want(browser.open(), { steal: true });
    await loop.advance(100);
    expect([holder.ended, thief.granted]).toEqual(["", 1]);
    tab.resume();
    await loop.advance(100);
    expect(holder.ended).toBe("AbortError");
  });

  test("a frozen tab keeps its lock, and is given the next one: everyone else starves until it wakes", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()];
    want(first);
    const frozen = want(second);
    const starving = want(third);
    await loop.advance(100);
    second.freeze();
    first.close();
    await loop.advance(10_000);
    expect(browser.locks.holder("L")).toBe(second);
    expect([frozen.granted, starving.granted]).toEqual([0, 0]);
    second.resume();
    await loop.advance(100);
    expect(frozen.granted).toBe(1);
  });

  test("a request that is aborted in `freeze` leaves the way free", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()];
    const controller = new AbortController();
    second.environment.document!.addEventListener("freeze", () => controller.abort());
    want(first);
    want(second, { signal: controller.signal });
    const next = want(third);
    await loop.advance(100);
    second.freeze();
    first.close();
    await loop.advance(100);
    expect(next.granted).toBe(1);
  });

  describe("of a page in the back/forward cache", () => {
    let cached: Tab;
    let other: Tab;
    let holder: ReturnType<typeof want>;
    beforeEach(async () => {
      [cached, other] = [browser.open(), browser.open()];
      holder = want(cached);
      await loop.advance(100);
    });

    test("block who waited before, whatever else is asked for", async () => {
      const waiting = want(other);
      await loop.advance(100);
      cached.cache();
      const again = want(other);
      const maybe = want(other, { ifAvailable: true });
      other.environment.storage!.setItem("x", "1");
      await loop.advance(45_000);
      expect([waiting.granted, again.granted, maybe.given]).toEqual([0, 0, null]);
      expect(cached.alive).toBe(true);
    });

    test("are free for an abort and a fresh request", async () => {
      const controller = new AbortController();
      const waiting = want(other, { signal: controller.signal });
      await loop.advance(100);
      cached.cache();
      await loop.advance(100);
      controller.abort();
      const fresh = want(other);
      await loop.advance(10);
      expect([waiting.ended, fresh.granted, cached.alive]).toEqual(["AbortError", 1, false]);
    });

    test("are free for a request that is made afterwards, and after a query", async () => {
      cached.cache();
      const fresh = want(other);
      await loop.advance(10);
      expect(fresh.granted).toBe(1);
      other.cache();
      const third = browser.open();
      void third.environment.locks!.query();
      await loop.advance(10);
      expect(other.alive).toBe(false);
    });

    test("are free when a message comes on a channel that it has open", async () => {
      cached.environment.openPipe("C", () => {});
      const waiting = want(other);
      await loop.advance(100);
      cached.cache();
      other.environment.openPipe("C", () => {})!.post("anything");
      await loop.advance(50);
      expect([waiting.granted, cached.alive]).toEqual([1, false]);
    });

    test("are free when it gives them back in pagehide, and the page can be restored", async () => {
      cached.environment.window!.addEventListener("pagehide", () => holder.release());
      const waiting = want(other);
      await loop.advance(100);
      cached.cache();
      await loop.advance(50);
      expect([waiting.granted, cached.alive]).toEqual([1, true]);
      cached.restore();
      expect(cached.awake).toBe(true);
    });
  });
});

describe("channels", () => {
  const listen = (tab: Tab, heard: unknown[] = []) => ({
    heard,
    pipe: tab.environment.openPipe("C", (data) => heard.push(data))!,
  });

  test("carry clones to all others of the name, never to the sender, in order for each sender", async () => {
    const [first, second, third] = [browser.open(), browser.open(), browser.open()].map((tab) => listen(tab));
    const message = { list: [0] };
    first!.pipe.post(message);
    for (let i = 1; i <= 20; i++) {
      message.list.push(i);
      first!.pipe.post(i);
    }
    await loop.advance(50);
    expect(first!.heard).toEqual([]);
    expect(second!.heard).toEqual([{ list: [0] }, ...Array.from({ length: 20 }, (_, i) => i + 1)]);
    expect(third!.heard).toEqual(second!.heard);
    expect(third!.heard[0]).not.toBe(second!.heard[0]);
  });

  test("those of two senders may arrive in different orders at two tabs", async () => {
    const orders = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const tabs = [browser.open(), browser.open(), browser.open(), browser.open()].map((tab) => listen(tab));
      tabs[0]!.pipe.post("a");
      tabs[1]!.pipe.post("b");
      await loop.advance(10);
      orders.add(tabs[2]!.heard.join("") + tabs[3]!.heard.join(""));
      for (const { pipe } of tabs) pipe.close();
    }
    expect(orders).toEqual(new Set(["abab", "abba", "baab", "baba"]));
  });

  test("don't buffer: who listens later hears nothing", async () => {
    const first = listen(browser.open());
    first.pipe.post("lost");
    const second = listen(browser.open());
    await loop.advance(50);
    expect(second.heard).toEqual([]);
  });

  test("what can't be cloned throws, and so does a closed one", () => {
    const { pipe } = listen(browser.open());
    expect(() => pipe.post(() => {})).toThrow(expect.objectContaining({ name: "DataCloneError" }));
    pipe.close();
    expect(() => pipe.post(1)).toThrow(expect.objectContaining({ name: "InvalidStateError" }));
  });

  test("their handlers run in a frozen page, where timers don't", async () => {
    const tab = browser.open();
    const { heard } = listen(tab);
    const ticked = vi.fn();
    tab.environment.clock.setTimeout(ticked, 1_000);
    tab.freeze();
    listen(browser.open()).pipe.post("ping");
    await loop.advance(5_000);
    expect(heard).toEqual(["ping"]);
    expect(ticked).not.toHaveBeenCalled();
    tab.resume();
    await loop.advance(0);
    expect(ticked).toHaveBeenCalledOnce();
  });
});

describe("the life of a page", () => {
  /** Every event that the page gets, in order. */
  function events(tab: Tab): string[] {
    const seen: string[] = [];
    const { window, document } = tab.environment;
    for (const type of ["pagehide", "pageshow"]) {
      window!.addEventListener(type, (event) => seen.push(`${type} ${(event as PageTransitionEvent).persisted}`));
    }
    for (const type of ["freeze", "resume"]) document!.addEventListener(type, () => seen.push(type));
    document!.addEventListener("visibilitychange", () => seen.push(document!.visibilityState!));
    return seen;
  }

  test("is told to it as browsers do, and a crash is not", () => {
    const tab = browser.open();
    const seen = events(tab);
    tab.cache();
    tab.restore();
    tab.hide();
    tab.freeze();
    tab.resume();
    tab.show();
    tab.crash();
    const cache = ["pagehide true", "hidden", "freeze", "resume", "pageshow true", "visible"];
    expect(seen).toEqual([...cache, "hidden", "freeze", "resume", "visible"]);
    const closed = browser.open();
    const last = events(closed);
    closed.close();
    expect(last).toEqual(["pagehide false", "hidden"]);
  });

  test("a page that is gone never runs anything again", async () => {
    const tab = browser.open();
    const run = vi.fn();
    tab.environment.clock.setTimeout(run, 10);
    tab.environment.openPipe("C", run);
    tab.environment.fetch("/d").then(run, run);
    tab.environment.locks!.request("L", {}, run).then(run, run);
    browser.open().environment.openPipe("C", () => {})!.post(1);
    tab.crash();
    await loop.advance(1_000);
    expect(run).not.toHaveBeenCalled();
    expect(browser.tabs).toHaveLength(1);
    expect([...browser.locks.users, ...browser.channels.users]).toEqual([browser.tabs[0]]);
  });

  test("while the main thread is busy nothing runs, and afterwards everything in order", async () => {
    const tab = browser.open();
    const ran: unknown[] = [];
    tab.environment.clock.setTimeout(() => ran.push("timer"), 10);
    tab.environment.openPipe("C", (data) => ran.push(data));
    tab.block();
    await loop.advance(1_000);
    browser.open().environment.openPipe("C", () => {})!.post("message");
    await loop.advance(1_000);
    expect(ran).toEqual([]);
    tab.unblock();
    await loop.advance(0);
    expect(ran).toEqual(["timer", "message"]);
  });

  test("timers of a hidden page run once a second, chained ones after five minutes once a minute", async () => {
    const tab = browser.open();
    const { clock } = tab.environment;
    const ticks: number[] = [];
    const tick = () => {
      ticks.push(clock.now());
      clock.setTimeout(tick, 200);
    };
    tick();
    tab.hide();
    await loop.advance(10_000);
    expect(ticks.length).toBeLessThanOrEqual(12);
    await loop.advance(400_000);
    expect(ticks.at(-1)! - ticks.at(-2)!).toBe(60_000);
  });

  test("storage is shared and synchronous, and may throw", () => {
    const [first, second] = [browser.open().environment.storage!, browser.open().environment.storage!];
    first.setItem("a", "1");
    expect(second.getItem("a")).toBe("1");
    browser.lacks.storage = "full";
    expect(() => first.setItem("a", "2")).toThrow(expect.objectContaining({ name: "QuotaExceededError" }));
    expect(second.getItem("a")).toBe("1");
    browser.lacks.storage = true;
    expect(() => second.getItem("a")).toThrow(expect.objectContaining({ name: "SecurityError" }));
  });
});

describe("the network", () => {
  /** A page's socket, and what it was told. */
  function socketOf(tab: Tab) {
    const told: string[] = [];
    const socket = new tab.WebSocket("ws://test/", ["reconnect.v1"]);
    Object.assign(socket, {
      onopen: () => told.push("open"),
      onmessage: ({ data }: { data: string }) => told.push(data),
      onerror: () => told.push("error"),
      onclose: ({ code }: { code: number }) => told.push(`close ${code}`),
    });
    return { told, socket };
  }

  test("carries frames both ways, late and in order", async () => {
    const { told, socket } = socketOf(browser.open());
    await loop.advance(500);
    const received: unknown[] = [];
    server.intercept = (_, frame) => received.push(frame["n"]) > 0;
    for (let n = 0; n < 10; n++) {
      socket.send(JSON.stringify({ n }));
      server.socket.deliver(String(n));
    }
    expect(received).toEqual([]);
    await loop.advance(500);
    expect(received).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(told).toEqual(["open", ..."0123456789"]);
    socket.close(1000);
    await loop.advance(500);
    expect(told.at(-1)).toBe("close 1000");
    expect(server.socket.closed).toMatchObject({ code: 1000 });
  });

  test.each(["freeze", "cache"] as const)("a socket that is open through %s stays open at the server", async (sleep) => {
    const tab = browser.open();
    const { told } = socketOf(tab);
    await loop.advance(500);
    tab[sleep]();
    server.socket.deliver("never seen");
    await loop.advance(60_000);
    expect(server.socket.readyState).toBe(1);
    expect(told).toEqual(["open"]);
    if (sleep === "freeze") tab.resume();
    else tab.restore();
    await loop.advance(500);
    expect(told).toEqual(["open", "close 1006"]);
    expect(server.socket.readyState).toBe(3);
  });

  test("a broken one ends what is open and refuses what is new", async () => {
    const tab = browser.open();
    const { told } = socketOf(tab);
    await loop.advance(500);
    browser.network.state = "down";
    const second = socketOf(tab);
    const answer = tab.environment.fetch("/d").catch((error: unknown) => error);
    await loop.advance(500);
    expect(told).toEqual(["open", "close 1006"]);
    expect(second.told).toEqual(["error", "close 1006"]);
    expect(await answer).toBeInstanceOf(TypeError);
    expect(server.sockets).toHaveLength(1);
    browser.network.state = "up";
    expect(socketOf(tab).socket.readyState).toBe(0);
  });

  test("a mute one keeps what is under way until it is over", async () => {
    const tab = browser.open();
    const { told, socket } = socketOf(tab);
    await loop.advance(500);
    browser.network.state = "mute";
    socket.send('{"type":"X"}');
    socket.close();
    server.socket.deliver("late");
    await loop.advance(60_000);
    expect([told, server.socket.sent]).toEqual([["open", "close 1005"], []]);
    browser.network.state = "up";
    await loop.advance(500);
    expect(server.socket.sent).toEqual([{ type: "X" }]);
    expect(server.socket.readyState).toBe(3);
    expect(told).toEqual(["open", "close 1005"]);
  });

  test("the server sees which tab and which cookie opened a socket", async () => {
    const tab = browser.open();
    browser.cookie = "ada";
    socketOf(tab);
    browser.cookie = "bob";
    await loop.advance(500);
    expect(browser.network.origin(server.socket)).toEqual({ tab, cookie: "ada" });
  });

  test("fetch answers, fails with a status, and can be aborted", async () => {
    const { fetch } = browser.open().environment;
    const good = fetch("/d").then((response) => response.json());
    const bad = fetch("/x").then(({ ok, status }) => ({ ok, status }));
    const controller = new AbortController();
    const aborted = fetch("/d", { signal: controller.signal }).catch((error: Error) => error.name);
    controller.abort();
    await loop.advance(500);
    expect(await Promise.all([good, bad, aborted])).toEqual([{ hello: 1 }, { ok: false, status: 403 }, "AbortError"]);
  });
});

describe("the server double", () => {
  const hello = (fields: object) => ({ type: "HELLO", client_id: "c", streams: {}, ...fields });
  async function greet(fields: object, open = true) {
    const socket = new server.WebSocket("ws://test/", ["reconnect.v1"]);
    await loop.advance(0);
    if (open) socket.send(JSON.stringify(hello(fields)));
    await loop.advance(0);
    return server.socket;
  }
  const byes = () => server.sockets.map(({ readyState }) => readyState === 1);

  test("the newest (term, attempt) of a client wins, however they arrive", async () => {
    await greet({ term: 1, attempt: 5 });
    await greet({ term: 2, attempt: 1 });
    expect(byes()).toEqual([false, true]);
    await greet({ term: 1, attempt: 6 });
    expect(byes()).toEqual([false, true, false]);
    expect(server.socket.closed).toBe(null); // by the server, not by the client
    await greet({ term: 2, attempt: 2 });
    expect(byes()).toEqual([false, false, false, true]);
    expect(server.fenced).toBe(3);
    await greet({ client_id: "other", term: 1, attempt: 1 });
    expect(server.connected).toHaveLength(2);
  });

  test("a HELLO with the key of somebody else is not processed", async () => {
    server.identify = () => "ada";
    await greet({ key: "bob", streams: { s: null } });
    expect(server.connected).toEqual([]);
    await greet({ key: "ada", client_id: "d" });
    expect(server.connected).toHaveLength(1);
  });
});

import { forceCloseDatabase, IDBDatabase, IDBFactory, IDBObjectStore } from "fake-indexeddb";
import { describe, expect, test, vi } from "vitest";
import type { PersistenceEnvironment } from "../src/persistence/environment.ts";
import { persistOutbox, wipeOutbox } from "../src/persistence/index.ts";
import { FakeServer, type Frame } from "../src/testing.ts";
import { useFakeTime } from "./harness.ts";
import { Browser, pass, quiet, type Page } from "./persistence-pages.ts";

useFakeTime();

const HOUR = 3_600_000;
/** Swallows messages: nothing is ever answered. */
const mute = (_: unknown, { type }: Frame) => type === "MESSAGE";
/** Does what messages ask, and loses the answers. */
const loseAnswers = (server: FakeServer) => {
  const lose: typeof server.intercept = (_, frame) => {
    if (frame["type"] !== "MESSAGE") return false;
    server.intercept = null;
    server.receive({ deliver() {} } as never, frame);
    server.intercept = lose;
    return true;
  };
  server.intercept = lose;
};

function offline() {
  const server = new FakeServer();
  server.accepts = false;
  return new Browser(server);
}

/** Of a page whose database never opens. */
function opening(browser: Browser): PersistenceEnvironment {
  return { ...browser.environment(), indexedDB: () => ({ open: () => ({}) }) as never };
}

const payloads = ({ server }: Browser) => server.applied.map(({ payload }) => payload);
const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

/** Sends in one turn. */
function send({ client }: Page, values: unknown[], stream = "s") {
  return values.map((value) => client.send(stream, value));
}

describe("a page that is gone", () => {
  test("300 unsent messages, a reload, a crash while they go out: all arrive once, in order", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, range(300));
    await quiet();
    first.crash();
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([300]);
    expect(second.client.queue[299]).toMatchObject({ payload: 299, state: "queued", restored: true });
    browser.online();
    browser.server.limits["burst"] = 100;
    await pass(500);
    expect(payloads(browser).length).toBeGreaterThan(50);
    expect(payloads(browser).length).toBeLessThan(300);
    second.crash();
    const third = browser.open();
    await pass(10_000);
    expect(payloads(browser)).toEqual(range(300));
    expect(third.client.waiting).toBe(0);
    expect(await browser.rows()).toEqual([]);
  });

  test("a reload in the very turn of sending, before the database was open: all arrive once, in order", async () => {
    const browser = offline();
    const first = browser.open({ environment: opening(browser) });
    send(first, range(300));
    first.hide();
    first.crash();
    expect(Object.keys(browser.localStorage)).toHaveLength(1);
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([300]);
    expect(Object.keys(browser.localStorage)).toEqual([]);
    browser.online();
    await pass(10_000);
    expect(payloads(browser)).toEqual(range(300));
    expect(await browser.rows()).toEqual([]);
  });

  test("a page that comes back from the cache before its database was open looks after its own again", async () => {
    const browser = offline();
    const page = browser.open();
    send(page, [1, 2]);
    page.hide();
    page.show();
    await quiet();
    expect(Object.keys(browser.localStorage)).toEqual([]);
    browser.online();
    await pass(10_000);
    expect(payloads(browser)).toEqual([1, 2]);
  });

  test("another user's lifeboat stays where it is, and a logout sinks it", async () => {
    const browser = offline();
    const page = browser.open({ environment: opening(browser) });
    send(page, [1]);
    page.hide();
    page.crash();
    browser.open({ key: "u2" });
    await quiet();
    expect(Object.keys(browser.localStorage)).toHaveLength(1);
    await wipeOutbox("u1", browser.environment());
    expect(Object.keys(browser.localStorage)).toEqual([]);
  });

  test("what it had sent comes back with its id, number and producer, and gets the first answer", async () => {
    const browser = new Browser();
    const first = browser.open();
    await quiet();
    loseAnswers(browser.server);
    const sent = send(first, [1, 2]);
    await quiet();
    const before = browser.server.socket.of("MESSAGE");
    first.crash();
    browser.server.intercept = null;
    browser.open();
    await quiet();
    const after = browser.server.socket.of("MESSAGE");
    const name = ({ id, n, producer }: Frame) => ({ id, n, producer });
    expect(after.map(name)).toEqual(before.map(name));
    expect(after.map(({ id }) => id)).toEqual(sent.map(({ id }) => id));
    expect(payloads(browser)).toEqual([1, 2]);
    expect(await browser.rows()).toEqual([]);
  });

  test("a message is stored when `send` was called, and its number before it goes out", async () => {
    const browser = offline();
    const page = browser.open();
    const [promise] = send(page, ["x"]);
    await quiet();
    expect(await browser.rows()).toMatchObject([{ id: promise!.id, text: '"x"', n: null, producer: null, key: "u1" }]);
    let stored: Promise<Frame[]> | undefined;
    browser.server.intercept = (socket, frame) => {
      if (frame["type"] !== "MESSAGE") return false;
      stored = browser.rows();
      void stored.then(() => {
        browser.server.intercept = null;
        browser.server.receive(socket, frame);
      });
      return true;
    };
    browser.online();
    await pass(500);
    expect(await stored).toMatchObject([{ id: promise!.id, n: 1, producer: expect.any(String) }]);
  });

  test("while a number can't be stored yet, nothing of its stream goes out", async () => {
    const browser = new Browser();
    const page = browser.open();
    await quiet();
    const blocker = await new Promise<IDBDatabase>((resolve) => {
      const opening = browser.factory.open("reconnect_channels");
      opening.onsuccess = () => resolve(opening.result as never);
    });
    const transaction = blocker.transaction("outbox", "readwrite");
    let busy = true;
    const keepBusy = () => {
      if (busy) transaction.objectStore("outbox").count().onsuccess = keepBusy;
      else blocker.close();
    };
    keepBusy();
    send(page, [1]);
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(browser.server.socket.of("MESSAGE")).toEqual([]);
    busy = false;
    await quiet();
    expect(payloads(browser)).toEqual([1]);
  });

  test("another page that lives on takes its messages, without a reload", async () => {
    const browser = new Browser();
    const living = browser.open();
    const dying = browser.open();
    await quiet();
    browser.server.intercept = mute;
    send(dying, [1, 2]);
    await quiet();
    dying.crash();
    browser.server.intercept = null;
    await pass(31_000);
    expect(living.restored).toEqual([2]);
    expect(payloads(browser)).toEqual([1, 2]);
  });

  test("several, and several streams: the order of each page and stream", async () => {
    const browser = offline();
    for (const page of [1, 2, 3]) {
      const made = browser.open();
      for (const n of range(20)) for (const stream of ["a", "b"]) send(made, [`${page}.${n}`], stream);
      await quiet();
      made.crash();
    }
    browser.online();
    browser.open();
    await pass(5_000);
    for (const stream of ["a", "b"]) {
      for (const page of [1, 2, 3]) {
        const mine = browser.server.applied.filter((one) => one.stream === stream && String(one.payload).startsWith(`${page}.`));
        expect(mine.map(({ payload }) => payload)).toEqual(range(20).map((n) => `${page}.${n}`));
      }
    }
    expect(browser.server.applied).toHaveLength(120);
  });

  test("what the server refuses of it is told", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, ["bad", "good"]);
    await quiet();
    first.crash();
    browser.online();
    browser.server.intercept = (socket, { type, id, payload }) => {
      if (type !== "MESSAGE" || payload !== "bad") return false;
      socket.deliver({ type: "REJECT", id, code: 403, reason: "FORBIDDEN", detail: null, retry: false });
      return true;
    };
    const second = browser.open();
    await pass(1_000);
    expect(second.undelivered).toMatchObject([{ entry: { payload: "bad", restored: true }, reason: "403 FORBIDDEN" }]);
    expect(payloads(browser)).toEqual(["good"]);
    expect(await browser.rows()).toEqual([]);
  });
});

describe("several pages", () => {
  test("a page that lives keeps its own", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, [1]);
    await quiet();
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([]);
    browser.online();
    await pass(35_000);
    expect([second.restored, payloads(browser)]).toEqual([[], [1]]);
  });

  test("two that look at the same moment: one takes them", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, range(50));
    await quiet();
    first.crash();
    const [second, third] = [browser.open(), browser.open()];
    await quiet();
    expect([...second.restored, ...third.restored]).toEqual([50]);
    browser.online();
    await pass(2_000);
    expect(payloads(browser)).toEqual(range(50));
    const frames = browser.server.sockets.flatMap((socket) => socket.of("MESSAGE"));
    expect(frames).toHaveLength(50);
  });

  test.each([
    ["hide", "show"],
    ["freeze", "resume"],
  ] as const)("%s and %s: what others sent meanwhile isn't done twice, its promises settle, new ones keep the order", async (away, back) => {
    const browser = new Browser();
    const sleeper = browser.open();
    await quiet();
    browser.server.intercept = mute;
    const sent = send(sleeper, range(20)); // 16 with numbers, 4 without
    await quiet();
    sleeper[away]();
    browser.server.intercept = null;
    const other = browser.open();
    await quiet();
    expect(other.restored).toEqual([20]);
    expect(payloads(browser)).toEqual(range(20));
    expect(await browser.rows()).toEqual([]);
    sleeper[back]();
    await pass(1_000);
    sent.push(...send(sleeper, [20]));
    await quiet();
    expect((await Promise.all(sent)).map(({ duplicate }) => duplicate)).toEqual([...range(20).map(() => true), false]);
    expect(payloads(browser)).toEqual(range(21));
    expect(await browser.rows()).toEqual([]);
  });

  test("a page that slept can't take back what others may have sent, and doesn't evict it", async () => {
    const browser = offline();
    const controller = new AbortController();
    const sleeper = browser.open({ maxQueue: 2 });
    const withdrawn = sleeper.client.send("s", 1, { signal: controller.signal });
    const kept = sleeper.client.send("s", 2);
    await quiet();
    sleeper.hide();
    const other = browser.open();
    await quiet();
    sleeper.show();
    controller.abort();
    await expect(withdrawn).rejects.toMatchObject({ name: "OutcomeUnknown" });
    await expect(sleeper.client.send("s", 3)).rejects.toMatchObject({ name: "QueueOverflowError" });
    browser.online();
    await pass(3_000);
    expect(await kept).toMatchObject({ id: kept.id });
    expect(other.restored).toEqual([2]);
    expect(payloads(browser)).toEqual([1, 2]);
  });

  test("a page that slept doesn't take its rows back", async () => {
    const browser = offline();
    const sleeper = browser.open();
    send(sleeper, [1, 2]);
    await quiet();
    sleeper.hide();
    browser.open();
    await quiet();
    const owners = async () => (await browser.rows()).map(({ owner }) => owner);
    const taken = await owners();
    sleeper.show();
    browser.server.intercept = mute;
    browser.online();
    await pass(1_000);
    expect(sleeper.client.queue).toMatchObject([{ state: "sent" }, { state: "sent" }]);
    expect(await owners()).toEqual(taken);
    // The numbers are those of the page that owns them.
    for (const row of await browser.rows()) expect([row["n"], row["producer"] === row["origin"]]).toEqual([expect.any(Number), false]);
  });

  test("a page that slept stores nothing again that is done", async () => {
    const browser = offline();
    const sleeper = browser.open();
    const sent = send(sleeper, [1, 2]);
    await quiet();
    sleeper.hide();
    browser.online();
    browser.open();
    await pass(1_000);
    expect(payloads(browser)).toEqual([1, 2]);
    browser.server.intercept = mute;
    sleeper.show();
    await pass(1_000);
    expect(sleeper.client.queue).toMatchObject([{ state: "sent" }, { state: "sent" }]);
    expect(await browser.rows()).toEqual([]);
    browser.server.intercept = null;
    await pass(10_000);
    expect(await Promise.all(sent)).toMatchObject([{ duplicate: true }, { duplicate: true }]);
  });

  test("the one that adopted dies, too: the sleeper goes on with what it has", async () => {
    const browser = offline();
    const sleeper = browser.open();
    const sent = send(sleeper, range(5));
    await quiet();
    sleeper.hide();
    const other = browser.open();
    await quiet();
    expect(other.restored).toEqual([5]);
    other.crash();
    browser.online();
    sleeper.show();
    await pass(2_000);
    await Promise.all(sent);
    expect(sleeper.restored).toEqual([]);
    expect(payloads(browser)).toEqual(range(5));
    expect(await browser.rows()).toEqual([]);
  });

  test("what one outbox numbered stays with one page", async () => {
    const browser = new Browser();
    const sleeper = browser.open();
    await quiet();
    browser.server.intercept = mute;
    send(sleeper, ["a", "b"]);
    await quiet();
    sleeper.hide();
    const second = browser.open();
    await quiet();
    sleeper.show();
    await pass(500);
    send(sleeper, ["c"]);
    await quiet();
    sleeper.crash();
    const third = browser.open();
    await quiet();
    expect([second.restored, third.restored]).toEqual([[2], []]);
    await pass(31_000);
    expect([second.restored, third.restored]).toEqual([[2, 1], []]);
    browser.server.intercept = null;
    await pass(60_000);
    expect(payloads(browser)).toEqual(["a", "b", "c"]);
    expect(await browser.rows()).toEqual([]);
  });

  test("without locks, pages are asked whether they live", async () => {
    const browser = offline();
    const rooms = new Map<string, Set<{ onmessage: ((event: never) => void) | null }>>();
    const environment = (): PersistenceEnvironment => ({
      ...browser.environment(),
      locks: undefined,
      openChannel(name) {
        const room = rooms.get(name) ?? new Set();
        rooms.set(name, room);
        const channel = {
          onmessage: null as ((event: never) => void) | null,
          close: () => void room.delete(channel),
          postMessage(data: unknown) {
            for (const other of room) if (other !== channel) queueMicrotask(() => other.onmessage?.({ data } as never));
          },
        };
        room.add(channel);
        return channel as never;
      },
    });
    const first = browser.open({ environment: environment() });
    send(first, [1, 2]);
    await quiet();
    const second = browser.open({ environment: environment() });
    await pass(1_000);
    expect(second.restored).toEqual([]);
    first.hide();
    const third = browser.open({ environment: environment() });
    await pass(1_000);
    expect(third.restored).toEqual([2]);
  });
});

describe("nothing of another", () => {
  test("user is read, sent or touched", async () => {
    const browser = offline();
    const first = browser.open({ key: "u1" });
    send(first, ["secret"]);
    await quiet();
    first.crash();
    browser.online();
    const second = browser.open({ key: "u2" });
    send(second, ["mine"]);
    await pass(35_000);
    expect([second.restored, payloads(browser)]).toEqual([[], ["mine"]]);
    expect(await browser.rows()).toMatchObject([{ key: "u1", text: '"secret"' }]);
    const third = browser.open({ key: "u1" });
    await pass(1_000);
    expect(third.restored).toEqual([1]);
  });

  test("consumer is sent to this one", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, [1]);
    await quiet();
    first.crash();
    const store = persistOutbox({ environment: browser.environment() })({
      key: "u1",
      url: "ws://test/other/",
      clock: browser.environment().clock,
      emit() {},
      error() {},
    });
    expect(await vi.waitFor(() => store.adopt!())).toEqual([]);
  });

  test("user stays for ever: old messages go when anybody opens the page", async () => {
    const browser = offline();
    const first = browser.open({ key: "u1" });
    send(first, [1]);
    await quiet();
    first.crash();
    vi.setSystemTime(Date.now() + 24 * HOUR);
    browser.open({ key: "u2" });
    await quiet();
    expect(await browser.rows()).toEqual([]);
  });
});

describe("caps", () => {
  test("what is too old is not sent, and told", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, ["old"]);
    await quiet();
    vi.setSystemTime(Date.now() + 20 * HOUR);
    send(first, ["newer"]);
    await quiet();
    first.crash();
    vi.setSystemTime(Date.now() + 4 * HOUR);
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([1]);
    expect(second.undelivered).toMatchObject([{ entry: { payload: "old" }, reason: "age" }]);
    expect(await browser.rows()).toMatchObject([{ text: '"newer"' }]);
  });

  test("of many pages that are gone the oldest messages go, and that is told", async () => {
    const browser = offline();
    for (const page of [1, 2]) {
      const made = browser.open();
      send(made, range(10, page * 10));
      await quiet();
      made.crash();
      await pass(10);
    }
    const last = browser.open({ persist: { maxCount: 12 } });
    await quiet();
    expect(last.restored).toEqual([12]);
    expect(last.undelivered.map(({ entry, reason }) => [entry.payload, reason])).toEqual(range(8, 10).map((n) => [n, "count"]));
    expect(await browser.rows()).toHaveLength(12);
  });

  test("bytes count, too", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, ["x".repeat(60), "y".repeat(30), "z".repeat(30)]);
    await quiet();
    first.crash();
    const second = browser.open({ persist: { maxBytes: 100 } });
    await quiet();
    expect(second.undelivered).toMatchObject([{ entry: { payload: "x".repeat(60) }, reason: "bytes" }]);
  });

  test.each([0, -1, NaN])("of %s are refused", (maxAgeMs) => {
    expect(() => persistOutbox({ maxAgeMs })).toThrow(RangeError);
  });
});

describe("ends", () => {
  test("a message that is answered, evicted, withdrawn or refused leaves the store", async () => {
    const browser = offline();
    const page = browser.open({ maxQueue: 2 });
    const controller = new AbortController();
    void page.client.send("s", "withdrawn", { signal: controller.signal });
    await quiet();
    controller.abort();
    send(page, ["evicted", "answered", "refused"]);
    await quiet();
    expect((await browser.rows()).map(({ text }) => text)).toEqual(['"answered"', '"refused"']);
    browser.server.intercept = (socket, { type, id, payload }) => {
      if (type !== "MESSAGE" || payload !== "refused") return false;
      socket.deliver({ type: "REJECT", id, code: 422, reason: "no", detail: null, retry: false });
      return true;
    };
    browser.online();
    await pass(1_000);
    expect(await browser.rows()).toEqual([]);
  });

  test("FAILED: the errors say what is retained, and another page delivers it", async () => {
    const browser = new Browser();
    const failing = browser.open();
    await quiet();
    browser.server.intercept = mute;
    const sent = send(failing, range(20));
    await quiet();
    browser.server.socket.deliver({ type: "BYE", code: 4503, reason: "", reconnect: false });
    await quiet();
    expect(failing.client.state).toBe("FAILED");
    await expect(sent[0]).rejects.toMatchObject({ name: "OutcomeUnknown", retained: true });
    await expect(sent[19]).rejects.toMatchObject({ name: "ClosedError", retained: true });
    browser.server.intercept = null;
    const other = browser.open();
    await pass(1_000);
    expect(other.restored).toEqual([20]);
    expect(payloads(browser)).toEqual(range(20));
  });

  test("FAILED and retry(): the page takes them up again, and new ones don't disturb them", async () => {
    const browser = new Browser();
    const page = browser.open();
    await quiet();
    browser.server.intercept = mute;
    send(page, range(20));
    await quiet();
    browser.server.socket.deliver({ type: "BYE", code: 4503, reason: "", reconnect: false });
    await quiet();
    browser.server.intercept = null;
    page.client.retry();
    const fresh = send(page, ["fresh"]);
    await pass(3_000);
    await Promise.all(fresh);
    expect(page.restored).toEqual([20]);
    expect(payloads(browser).filter((payload) => payload !== "fresh")).toEqual(range(20));
    expect(await browser.rows()).toEqual([]);
  });

  test("close(): what was never sent goes, what may have arrived is followed up by the next page", async () => {
    const browser = new Browser();
    const page = browser.open();
    await quiet();
    browser.server.intercept = mute;
    const sent = send(page, range(20));
    await quiet();
    page.client.close(1000, "unmount");
    await expect(sent[15]).rejects.toMatchObject({ name: "OutcomeUnknown", retained: true });
    await expect(sent[16]).rejects.toMatchObject({ name: "ClosedError", retained: false });
    await quiet();
    expect(await browser.rows()).toHaveLength(16);
    browser.server.intercept = null;
    const next = browser.open();
    await quiet();
    expect(next.restored).toEqual([16]);
    expect(payloads(browser)).toEqual(range(16));
    expect(browser.locks).toHaveLength(1);
  });

  test("close() of a page that adopted: others' messages stay", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, [1, 2]);
    await quiet();
    first.crash();
    const second = browser.open();
    await quiet();
    second.client.close();
    await quiet();
    const third = browser.open();
    await quiet();
    expect([second.restored, third.restored]).toEqual([[2], [2]]);
  });

  test("wipe: nothing of the user stays, all of others does", async () => {
    const browser = offline();
    const [first, second] = [browser.open({ key: "u1" }), browser.open({ key: "u2" })];
    send(first, [1]);
    send(second, [2]);
    await quiet();
    first.client.close();
    await Promise.all([first.store.wipe!(), quiet()]);
    expect(await browser.rows()).toMatchObject([{ key: "u2" }]);
    await Promise.all([wipeOutbox("u2", browser.environment()), quiet()]);
    expect(await browser.rows()).toEqual([]);
  });
});

describe("storage that fails: nothing is lost or delayed for long, and one event says so", () => {
  const broken: [string, (environment: PersistenceEnvironment) => Partial<PersistenceEnvironment>, RegExp][] = [
    ["is missing", () => ({ indexedDB: () => undefined }), /NotSupportedError/],
    [
      "is blocked",
      () => ({
        indexedDB: () => {
          throw new DOMException("denied", "SecurityError");
        },
      }),
      /SecurityError/,
    ],
    [
      "can't be opened",
      ({ indexedDB }) => ({
        indexedDB: () =>
          ({
            open() {
              const request = indexedDB()!.open("x");
              queueMicrotask(() => {
                Object.defineProperty(request, "error", { value: new DOMException("private", "InvalidStateError") });
                request.onerror?.({} as never);
              });
              return request;
            },
          }) as never,
      }),
      /InvalidStateError/,
    ],
    ["never answers", () => ({ indexedDB: () => ({ open: () => ({}) }) as never }), /TimeoutError/],
    [
      "is used by a newer version",
      ({ indexedDB }) => {
        indexedDB()!.open("reconnect_channels", 2).onsuccess = () => {};
        return {};
      },
      /VersionError/,
    ],
  ];
  test.each(broken)("%s", async (_, breaking, reason) => {
    const browser = new Browser();
    const usual = browser.environment();
    const page = browser.open({ environment: { ...usual, ...breaking(usual) } });
    const sent = send(page, range(40));
    await pass(3_000);
    sent.push(...send(page, [40]));
    await quiet();
    await Promise.all(sent);
    expect(payloads(browser)).toEqual(range(41));
    expect(page.told).toEqual([{ available: false, reason: expect.stringMatching(reason) }]);
    expect(page.errors).toEqual([]);
  });

  test.each([1, 2, 17, 40])("the quota is used up at write %i, and later there is room again", async (nth) => {
    const browser = offline();
    const page = browser.open();
    await quiet();
    let writes = 0;
    let full = true;
    const put = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore, ...args: never[]) {
      const request = (put as (...given: never[]) => IDBRequest).apply(this, args);
      if (++writes >= nth && full) {
        const { transaction } = request as IDBRequest & { transaction: IDBTransaction & { _abort(name: string): void } };
        queueMicrotask(() => transaction._abort("QuotaExceededError"));
      }
      return request;
    } as never);
    const sent: Promise<unknown>[] = [];
    for (const n of range(50)) {
      sent.push(...send(page, [n]));
      await quiet();
    }
    expect(page.told).toMatchObject([{ available: false, reason: expect.stringMatching(/QuotaExceeded/) }]);
    browser.online();
    await pass(2_000);
    await Promise.all(sent);
    expect(payloads(browser)).toEqual(range(50));
    full = false;
    send(page, [50]);
    await quiet();
    expect(page.told.at(-1)).toEqual({ available: true, reason: "" });
    expect(page.told).toHaveLength(2);
    expect(await browser.rows()).toEqual([]);
  });

  test("the database is deleted under it: what comes next is stored anew", async () => {
    const browser = offline();
    const page = browser.open();
    send(page, [1]);
    await quiet();
    browser.factory.deleteDatabase("reconnect_channels");
    await quiet();
    send(page, [2]);
    await quiet();
    expect((await browser.rows()).map(({ text }) => text)).toEqual(["2"]);
    browser.online();
    await pass(1_000);
    expect(payloads(browser)).toEqual([1, 2]);
    expect(page.told).toEqual([]);
  });

  test("the browser closes the database: it is opened again", async () => {
    const browser = offline();
    let opened: IDBDatabase[] = [];
    const { transaction } = IDBDatabase.prototype;
    vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (this: IDBDatabase, ...args: never[]) {
      opened.push(this);
      return (transaction as (...given: never[]) => IDBTransaction).apply(this, args);
    } as never);
    const page = browser.open();
    send(page, [1]);
    await quiet();
    forceCloseDatabase(opened.at(-1) as never);
    await quiet();
    opened = [];
    send(page, [2]);
    await quiet();
    expect((await browser.rows()).map(({ text }) => text)).toEqual(["1", "2"]);
    expect(page.told).toEqual([]);
  });

  test("a newer version of the site upgrades it: that isn't held up", async () => {
    const browser = offline();
    const page = browser.open();
    send(page, [1]);
    await quiet();
    const upgraded = vi.fn();
    browser.factory.open("reconnect_channels", 2).onsuccess = upgraded;
    await quiet();
    expect(upgraded).toHaveBeenCalled();
    browser.online();
    send(page, [2]);
    await pass(1_000);
    expect(payloads(browser)).toEqual([1, 2]);
    expect(page.told).toMatchObject([{ available: false, reason: expect.stringMatching(/newer version/) }]);
  });

  test("rows that this version didn't write are dropped", async () => {
    const browser = offline();
    const first = browser.open();
    send(first, [1, 2, 3]);
    await quiet();
    first.crash();
    const [row] = await browser.rows();
    await new Promise<void>((resolve) => {
      const opening = browser.factory.open("reconnect_channels");
      opening.onsuccess = () => {
        const store = opening.result.transaction("outbox", "readwrite").objectStore("outbox");
        store.put({ ...row, text: "{" });
        for (const [i, fields] of [{ n: 1 }, { stream: "a b" }, { owner: 1 }, { order: "x" }].entries()) {
          store.put({ ...row, id: `forged${i}`, ...fields });
        }
        opening.result.close();
        resolve();
      };
    });
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([2]);
    expect(await browser.rows()).toHaveLength(2);
  });

  test("without an identity key messages stay in memory", async () => {
    const told = vi.fn();
    const environment = new Browser().environment();
    const store = persistOutbox({ environment })({ key: undefined, url: "u", clock: environment.clock, emit: told, error() {} });
    expect(told).not.toHaveBeenCalled();
    await quiet();
    expect(told.mock.calls).toEqual([["persistence", { available: false, reason: "no identity key" }]]);
    expect(store.save({} as never)).toBeUndefined();
  });
});

test("300 sends in a loop are a handful of transactions", async () => {
  const browser = offline();
  const page = browser.open();
  await quiet();
  const transactions = vi.spyOn(IDBDatabase.prototype, "transaction");
  send(page, range(300));
  await quiet();
  expect(transactions).toHaveBeenCalledTimes(1);
  expect(transactions).toHaveBeenCalledWith("outbox", "readwrite", { durability: "relaxed" });
});

test("a fresh browser: nothing is stored, nothing is told", async () => {
  const browser = new Browser();
  browser.factory = new IDBFactory();
  const page = browser.open();
  await pass(1_000);
  expect([page.told, page.restored, page.errors]).toEqual([[], [], []]);
});

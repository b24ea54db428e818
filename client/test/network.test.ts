import { describe, expect, test, vi } from "vitest";
import type { NetworkSources } from "../src/network.ts";
import { FakeServer } from "../src/testing.ts";
import { connected, settle, useFakeTime, world, wholeTest } from "./harness.ts";

useFakeTime();

class Page extends EventTarget {
  visibilityState = "visible";
  type: string | undefined;
}

function browser() {
  const [window, document, connection] = [new Page(), new Page(), new Page()];
  const sources: NetworkSources = { window, document, connection };
  return {
    networkAware: sources,
    window,
    document,
    connection,
    fire: (target: EventTarget, type: string) => target.dispatchEvent(new Event(type)),
  };
}

type Wake = [string, (page: ReturnType<typeof browser>) => void];

/** Each way in which a page learns that now may be a good time. */
const WAKES: Wake[] = [
  ["online", ({ window, fire }) => fire(window, "online")],
  ["getting visible", ({ document, fire }) => fire(document, "visibilitychange")],
];
/** And those of the whole client. */
const PAGE_WAKES: Wake[] = [
  ["a change of the network", ({ connection, fire }) => fire(connection, "change")],
  ["pageshow", ({ window, fire }) => fire(window, "pageshow")],
  ["resume, at the document", ({ document, fire }) => fire(document, "resume")],
];

describe("while RECONNECTING", () => {
  const triesAtOnce = async (_: string, wake: Wake[1]) => {
    const page = browser();
    const { client, server } = await connected({ networkAware: page.networkAware, baseMs: 20_000 });
    server.drop();
    await settle(2_000);
    expect(server.sockets).toHaveLength(1);
    wake(page);
    await settle();
    expect(server.sockets).toHaveLength(2);
    expect(client.state).toBe("CONNECTED");
  };
  test.each(WAKES)("%s: an attempt at once", triesAtOnce);
  wholeTest.each(PAGE_WAKES)("%s: an attempt at once", triesAtOnce);

  test("at most one attempt a second, and the last event is not lost", async () => {
    const page = browser();
    const server = new FakeServer();
    server.accepts = false;
    const { client } = world({ networkAware: page.networkAware, baseMs: 20_000 }, server);
    await settle(100);
    server.drop();
    await settle();
    for (let i = 0; i < 10; i++) {
      page.fire(page.window, "online");
      await settle();
      server.drop();
      await settle();
    }
    expect(server.sockets).toHaveLength(2);
    await settle(999);
    expect(server.sockets).toHaveLength(2);
    await settle(1);
    expect(server.sockets).toHaveLength(3);
    client.close();
  });

  test("BYE's minimum holds against network events", async () => {
    const page = browser();
    const { client, server } = await connected({ networkAware: page.networkAware });
    server.socket.deliver({ type: "BYE", code: 4013, reason: "", reconnect: true, retry_after_ms: [3_000, 9_000] });
    await settle();
    page.fire(page.window, "online");
    await settle(2_999);
    expect(server.sockets).toHaveLength(1);
    await settle(1);
    expect(server.sockets).toHaveLength(2);
    client.close();
  });

  test("a socket that hangs in opening is replaced when the network changed, not when the page got visible", async () => {
    const page = browser();
    const server = new FakeServer();
    server.accepts = false;
    const { client } = world({ networkAware: page.networkAware }, server);
    await settle(2_000);
    page.fire(page.document, "visibilitychange");
    await settle();
    expect(server.sockets).toHaveLength(1);
    page.fire(page.window, "online");
    await settle();
    expect(server.sockets).toHaveLength(2);
    expect(server.sockets[0]!.closed).not.toBeNull();
    client.close();
  });

  test("onLine is never asked", async () => {
    vi.stubGlobal("navigator", {
      get onLine() {
        throw new Error("asked");
      },
    });
    const { client } = await connected({ networkAware: true });
    client.close();
  });
});

describe("while CONNECTED", () => {
  const probes = async (_: string, wake: Wake[1]) => {
    const page = browser();
    const { client, server } = await connected({ networkAware: page.networkAware });
    await settle(2_000);
    wake(page);
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toEqual([{ type: "SUBSCRIBE", ref: 1, streams: {} }]);
    await settle(5_000);
    expect(client.state).toBe("CONNECTED");
    expect(server.sockets).toHaveLength(1);
  };
  test.each(WAKES)("%s: a probe; an answer is all it takes", probes);
  wholeTest.each(PAGE_WAKES)("%s: a probe; an answer is all it takes", probes);

  test("no answer within 3 s is the end", async () => {
    const page = browser();
    const { client, server } = await connected({ networkAware: page.networkAware });
    server.intercept = () => true;
    await settle(2_000);
    page.fire(page.window, "online");
    await settle(2_999);
    expect(client.state).toBe("CONNECTED");
    await settle(1);
    expect(client.state).toBe("RECONNECTING");
  });

  wholeTest("a machine that slept is noticed by the clock", async () => {
    const page = browser();
    const { server } = await connected({ networkAware: page.networkAware });
    await settle(4_000);
    server.ping();
    await settle(500);
    vi.setSystemTime(Date.now() + 600_000);
    await settle(500);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(1);
  });

  test("a hidden page's rare timers are not a sleep", async () => {
    const page = browser();
    page.document.visibilityState = "hidden";
    const { server } = await connected({ networkAware: page.networkAware });
    await settle(4_500);
    vi.setSystemTime(Date.now() + 60_000);
    await settle(500);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(0);
  });

  wholeTest("new estimates of the same connection are no change", async () => {
    const page = browser();
    page.connection.type = "wifi";
    const { server } = await connected({ networkAware: page.networkAware });
    await settle(2_000);
    page.fire(page.connection, "change");
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(0);
    page.connection.type = "cellular";
    page.fire(page.connection, "change");
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(1);
  });
});

describe("a page that sleeps", () => {
  wholeTest.each([
    ["pagehide", "pageshow"],
    ["freeze", "resume"],
  ])("%s closes the socket, %s comes back; messages wait", async (sleep, wake) => {
    const page = browser();
    const { client, server } = await connected({ networkAware: page.networkAware });
    const target = sleep === "freeze" ? page.document : page.window;
    await settle(2_000);
    page.fire(target, sleep);
    expect(server.socket.closed).toEqual({ code: 1000, reason: sleep });
    expect(client.state).toBe("DISCONNECTED");
    const sent = client.send("s", 1);
    await settle(60_000);
    expect(server.sockets).toHaveLength(1);
    page.fire(target, wake);
    await Promise.all([sent, settle()]);
    expect(client.state).toBe("CONNECTED");
    expect(server.applied).toHaveLength(1);
  });
});

wholeTest("close() takes every listener off", async () => {
  const page = browser();
  const listeners = new Set<string>();
  for (const target of [page.window, page.document, page.connection]) {
    const { addEventListener } = target;
    target.addEventListener = function (type: string, listener: never, options: AddEventListenerOptions) {
      listeners.add(type);
      expect(options.signal).toBeInstanceOf(AbortSignal);
      addEventListener.call(target, type, listener, options);
    } as never;
  }
  const { client, server } = await connected({ networkAware: page.networkAware });
  client.close();
  expect([...listeners].sort()).toEqual(
    ["change", "freeze", "online", "pagehide", "pageshow", "resume", "visibilitychange"].sort(),
  );
  for (const [, wake] of WAKES) wake(page);
  await settle(60_000);
  expect(server.sockets).toHaveLength(1);
  expect(vi.getTimerCount()).toBe(0);
});

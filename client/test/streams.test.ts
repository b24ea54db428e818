import { describe, expect, test, vi } from "vitest";
import { PayloadError, Rejected } from "../src/index.ts";
import { FakeServer } from "../src/testing.ts";
import { collector, connected, settle, useFakeTime, world, wholeTest } from "./harness.ts";

useFakeTime();

async function subscribed(stream = "s", server = new FakeServer()) {
  const made = await connected({}, server);
  const screen = collector();
  const subscription = made.client.subscribe(stream, screen);
  await settle();
  return { ...made, screen, subscription, log: server.log(stream) };
}

describe("subscribing", () => {
  test("before WELCOME: HELLO names it", async () => {
    const made = world();
    made.server.publish("s", "one");
    const screen = collector();
    made.client.subscribe("s", screen);
    await settle();
    expect(made.server.socket.of("HELLO")[0]!["streams"]).toEqual({ s: null });
    expect(made.server.socket.of("SUBSCRIBE")).toEqual([]);
    expect(screen.seen).toEqual([{ state: null }, "one"]);
  });

  test("between HELLO and WELCOME: SUBSCRIBE follows", async () => {
    const made = world();
    made.server.intercept = () => true;
    await settle();
    made.client.subscribe("s", collector());
    made.server.welcome(made.server.socket);
    await settle();
    expect(made.server.socket.of("SUBSCRIBE")).toMatchObject([{ streams: { s: null } }]);
  });

  test("several in one turn share a SUBSCRIBE", async () => {
    const { client, server } = await connected();
    client.subscribe("a");
    client.subscribe("b").close();
    client.subscribe("b");
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toMatchObject([{ ref: 1, streams: { a: null, b: null } }]);
    expect(server.socket.of("UNSUBSCRIBE")).toEqual([]);
  });

  wholeTest("snapshots with state, and what subscribers are told of them", async () => {
    const server = new FakeServer();
    server.publish("s", 1);
    server.log("s").state = { cards: [1] };
    const { client } = await connected({}, server);
    const onSnapshot = vi.fn();
    const onEvents = vi.fn();
    const subscription = client.subscribe("s", { onSnapshot, onEvents });
    await settle();
    server.publish("s", 2);
    await settle();
    expect(onSnapshot.mock.calls).toEqual([[{ cards: [1] }, { reason: "new", exact: true, partial: false, seq: 1 }]]);
    expect(onEvents.mock.calls[0]![1]).toEqual({ from: 1, to: 2, complete: true });
    expect(subscription).toMatchObject({ stream: "s", seq: 2, sync: { kind: "live", waiting: 0 } });
    expect(subscription.position).toEqual({ epoch: "e1", seq: 2, checksum: server.log("s").checksum() });
  });

  test("a later subscriber of the same stream gets a state by a fresh SUBSCRIBE null, and so does the first", async () => {
    const { client, server, screen } = await subscribed();
    server.publish("s", 1);
    await settle();
    const later = collector();
    client.subscribe("s", later);
    await settle();
    expect(server.socket.of("SUBSCRIBE").at(-1)).toMatchObject({ streams: { s: null } });
    server.publish("s", 2);
    await settle();
    expect(later.seen).toEqual([{ state: null }, 1, 2]);
    expect(screen.seen).toEqual([{ state: null }, 1, { state: null }, 1, 2]);
  });

  test("no entry reaches a subscriber before its state, not even in the same turn", async () => {
    const { client, server, log } = await subscribed();
    const later = collector();
    client.subscribe("s", later);
    log.append(1);
    server.socket.onmessage?.({ data: JSON.stringify(log.delta("s", 0)) } as never);
    expect(later.seen).toEqual([]);
    await settle();
    expect(later.seen).toEqual([{ state: null }, 1]);
  });

  test("the last close unsubscribes; frames on their way are ignored", async () => {
    const { client, server, screen, subscription } = await subscribed();
    const other = client.subscribe("s");
    await settle();
    other.close();
    other.close();
    expect(server.socket.of("UNSUBSCRIBE")).toEqual([]);
    server.publish("s", "late");
    subscription.close();
    await settle();
    expect(server.socket.of("UNSUBSCRIBE")).toMatchObject([{ streams: ["s"] }]);
    expect(screen.seen.filter((seen) => seen === "late")).toEqual([]);
    expect(client.snapshot.streams).toEqual({});
  });

  test("closed between HELLO and WELCOME: the server is told", async () => {
    const made = world();
    const subscription = made.client.subscribe("s");
    made.server.intercept = () => true;
    await settle();
    subscription.close();
    made.server.welcome(made.server.socket);
    await settle();
    expect(made.server.socket.of("UNSUBSCRIBE")).toMatchObject([{ streams: ["s"] }]);
  });

  test("a signal closes it", async () => {
    const { client, server } = await connected();
    const controller = new AbortController();
    client.subscribe("s", { signal: controller.signal });
    client.subscribe("t", { signal: AbortSignal.abort() });
    await settle();
    controller.abort();
    expect(server.socket.of("UNSUBSCRIBE")).toMatchObject([{ streams: ["s"] }]);
    expect(client.snapshot.streams).toEqual({});
  });

  test("streams that the server joined are tracked; a later subscriber asks for the state", async () => {
    const server = new FakeServer();
    server.streams = ["board:1"];
    server.publish("board:1", 1);
    const { client } = await connected({}, server);
    expect(client.snapshot.streams["board:1"]).toEqual({ seq: 1, kind: "live" });
    const screen = collector();
    const subscription = client.subscribe("board:1", screen);
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toMatchObject([{ streams: { "board:1": null } }]);
    expect(screen.seen).toEqual([{ state: null }, 1]);
    subscription.close();
    expect(server.socket.of("UNSUBSCRIBE")).toEqual([]);
    server.drop();
    await settle(500);
    expect(server.socket.of("HELLO")[0]!["streams"]["board:1"]).toMatchObject({ last_seq_id: 1 });
  });

  test("bad names, and more streams than a socket carries", async () => {
    const { client } = await connected();
    for (const name of ["", "a b", "x".repeat(101), "ä", 7]) {
      expect(() => client.subscribe(name as string)).toThrow(PayloadError);
    }
    for (let i = 0; i < 100; i++) client.subscribe(`s${i}`);
    expect(() => client.subscribe("more")).toThrow(PayloadError);
  });
});

describe("resuming", () => {
  test("from the position, without gap or repeat", async () => {
    const { server, screen } = await subscribed();
    server.publish("s", 1);
    await settle();
    server.drop();
    await settle();
    server.publish("s", 2);
    await settle(500);
    expect(server.socket.of("HELLO")[0]!["streams"]["s"]).toEqual({
      epoch: "e1",
      last_seq_id: 1,
      checksum: server.log("s").checksum(1),
    });
    expect(screen.seen).toEqual([{ state: null }, 1, 2]);
  });

  test("another epoch replaces everything", async () => {
    const { server, screen, log } = await subscribed();
    server.publish("s", 1);
    await settle();
    server.drop();
    log.epoch = "e2";
    log.state = "new life";
    await settle(500);
    expect(screen.seen).toEqual([{ state: null }, 1, { state: "new life" }]);
  });

  test("a snapshot that was asked for and not received is asked for again", async () => {
    const { client, server } = await subscribed();
    server.publish("s", 1);
    await settle();
    server.intercept = (_, { type }) => type === "SUBSCRIBE";
    const later = collector();
    client.subscribe("s", later);
    await settle();
    server.drop();
    await settle(500);
    expect(server.socket.of("HELLO")[0]!["streams"]).toEqual({ s: null });
    expect(later.seen).toEqual([{ state: null }, 1]);
  });
});

describe("applying", () => {
  const faults: [string, (log: ReturnType<FakeServer["log"]>) => object][] = [
    ["a hole", (log) => log.delta("s", 2)],
    ["a wrong checksum", (log) => ({ ...log.delta("s", 1, 2), checksum: 7 })],
    ["another epoch", (log) => ({ ...log.delta("s", 1, 2), epoch: "other" })],
    ["seqs out of order", (log) => ({ ...log.delta("s", 1, 3), payload: log.delta("s", 1, 3)["payload"].reverse() })],
    ["a missing entry", (log) => ({ ...log.delta("s", 1, 3), payload: log.delta("s", 1, 3)["payload"].slice(1) })],
    ["the same seq with another sum", (log) => ({ ...log.delta("s", 1, 1), checksum: 7 })],
  ];

  test.each(faults)("%s is not applied, and healed by SUBSCRIBE from the position", async (_, fault) => {
    const { server, screen, log, recorder } = await subscribed();
    server.publish("s", 1);
    await settle();
    const before = log.wire(1);
    log.append(2);
    log.append(3);
    server.socket.deliver(fault(log));
    await settle();
    expect(server.socket.of("SUBSCRIBE").at(-1)).toEqual({ type: "SUBSCRIBE", ref: 2, streams: { s: before } });
    expect(screen.seen).toEqual([{ state: null }, 1, 2, 3]);
    expect(recorder.counters["reconnect_frames_refused_total"]).toBe(1);
  });

  test("repeats are ignored, partly repeated frames are trimmed", async () => {
    const { server, screen, log } = await subscribed();
    for (const n of [1, 2]) server.publish("s", n);
    await settle();
    log.append(3);
    server.socket.deliver(log.delta("s", 0, 1));
    server.socket.deliver(log.delta("s", 0, 2));
    server.socket.deliver(log.delta("s", 1, 3));
    await settle();
    expect(screen.seen).toEqual([{ state: null }, 1, 2, 3]);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(1);
  });

  test("frames are ignored while the answer to a SUBSCRIBE is awaited", async () => {
    const { server, screen, log } = await subscribed();
    server.intercept = (_, { type }) => type === "SUBSCRIBE";
    for (const n of [1, 2]) log.append(n);
    server.socket.deliver(log.delta("s", 1, 2));
    await settle();
    server.socket.deliver(log.delta("s", 0, 2));
    server.socket.deliver({ type: "SUBSCRIBED", ref: 1 });
    server.socket.deliver(log.delta("s", 0, 2));
    await settle();
    expect(screen.seen).toEqual([{ state: null }]);
    server.socket.deliver({ type: "SUBSCRIBED", ref: 2 });
    server.socket.deliver(log.delta("s", 0, 2));
    await settle();
    expect(screen.seen).toEqual([{ state: null }, 1, 2]);
  });

  test("a server whose answers don't fit is asked ever more slowly, and at last for a snapshot", async () => {
    const { server, log } = await subscribed();
    log.append(1);
    server.intercept = (socket, { type, ref }) => {
      if (type !== "SUBSCRIBE") return false;
      socket.deliver({ type: "SUBSCRIBED", ref });
      socket.deliver({ ...log.delta("s", 0, 1), checksum: 7 });
      return true;
    };
    server.socket.deliver({ ...log.delta("s", 0, 1), checksum: 7 });
    await settle();
    const count = () => server.socket.of("SUBSCRIBE").length - 1;
    expect(count()).toBe(1);
    await settle(499);
    expect(count()).toBe(1);
    await settle(1);
    expect(count()).toBe(2);
    await settle(10_000);
    expect(count()).toBeLessThan(6);
    expect(server.socket.of("SUBSCRIBE").at(-1)!["streams"]).toEqual({ s: null });
  });

  test("snapshots in parts: each is acknowledged, the state is whole", async () => {
    const { server, screen, log } = await subscribed();
    for (let i = 0; i < 3; i++) log.append(i);
    const text = JSON.stringify({ big: "x".repeat(20) });
    const { payload: _, ...head } = log.snapshot("s", "gap");
    const at = { ...head, ...{ seq: 3, checksum: log.checksum() } };
    for (const part of [1, 2, 3]) {
      server.socket.deliver({ ...at, part, parts: 3, chunk: text.slice((part - 1) * 10, part === 3 ? undefined : part * 10) });
    }
    await settle();
    expect(screen.seen.at(-1)).toEqual({ state: { big: "x".repeat(20) } });
    expect(server.socket.of("ACK").slice(-3)).toEqual([
      { type: "ACK", streams: {}, parts: { s: 1 } },
      { type: "ACK", streams: {}, parts: { s: 2 } },
      { type: "ACK", streams: { s: log.wire() } },
    ]);
  });

  test("a part that doesn't continue discards, and the stream is asked for again", async () => {
    const { server, screen, log } = await subscribed();
    const at = { ...log.snapshot("s", "gap"), payload: undefined, parts: 3 };
    server.socket.deliver({ ...at, part: 1, chunk: "1" });
    server.socket.deliver({ ...at, part: 3, chunk: "1" });
    await settle();
    expect(screen.seen).toEqual([{ state: null }]);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(2);
  });

  test("ACK after a snapshot, after 100 entries, after 64 KiB, after a page; not in between", async () => {
    const { server, log } = await subscribed();
    const acks = () => server.socket.of("ACK").length;
    expect(acks()).toBe(1);
    for (let i = 0; i < 99; i++) server.publish("s", i);
    await settle();
    expect(acks()).toBe(1);
    server.publish("s", 100);
    await settle();
    expect(server.socket.of("ACK").at(-1)).toEqual({ type: "ACK", streams: { s: log.wire() } });
    server.publish("s", "x".repeat(65_000));
    await settle();
    expect(acks()).toBe(2);
    server.publish("s", "x".repeat(600));
    await settle();
    expect(acks()).toBe(3);
    log.append("page");
    server.socket.deliver(log.delta("s", log.seq - 1, log.seq, false));
    await settle();
    expect(acks()).toBe(4);
  });

  test("an empty page asks for an ACK, and is nothing to the application", async () => {
    const { server, screen, log } = await subscribed();
    server.publish("s", "live");
    await settle();
    const seen = screen.seen.length;
    server.socket.deliver(log.delta("s", log.seq, log.seq, false));
    await settle();
    expect(server.socket.of("ACK").slice(1)).toEqual([{ type: "ACK", streams: { s: log.wire() } }]);
    expect(screen.seen).toHaveLength(seen);
  });
});

test("on a slow line an ACK follows the traffic of 5 s", async () => {
  const { server, log } = await subscribed();
  const acks = () => server.socket.of("ACK").length;
  expect(acks()).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  for (let second = 0; second < 6; second++) {
    server.publish("s", second);
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(acks()).toBe(1);
  server.publish("s", "the sixth second is over");
  await settle();
  expect(server.socket.of("ACK").slice(1)).toEqual([{ type: "ACK", streams: { s: log.wire() } }]);
});

describe("a handler that throws", () => {
  wholeTest("advances the position, is reported, marks the stream stale and gets one snapshot", async () => {
    const { client, server, heard } = await connected();
    let fails = true;
    const screen = collector();
    client.subscribe("other", { onEvents: () => {} });
    const subscription = client.subscribe("s", {
      onSnapshot: screen.onSnapshot!,
      onEvents(entries, info) {
        if (fails) throw new Error("bug");
        screen.onEvents!(entries, info);
      },
    });
    await settle();
    server.intercept = (_, { type }) => type === "SUBSCRIBE";
    server.publish("s", 1);
    await settle();
    expect(subscription.seq).toBe(1);
    expect(subscription.sync.kind).toBe("stale");
    expect(heard["error"]).toEqual([new Error("bug")]);
    const asked = server.socket.of("SUBSCRIBE").at(-1)!;
    expect(asked["streams"]).toEqual({ s: null });
    fails = false;
    server.intercept = null;
    server.receive(server.socket, asked);
    await settle();
    expect(subscription.sync.kind).toBe("live");
    expect(screen.seen).toEqual([{ state: null }, { state: null }, 1]);
  });

  wholeTest("again gets no second snapshot until the stream was live for a while", async () => {
    const { client, server } = await connected();
    const subscription = client.subscribe("s", {
      onEvents() {
        throw new Error("bug");
      },
    });
    await settle();
    const count = () => server.socket.of("SUBSCRIBE").length - 1;
    server.publish("s", 1);
    await settle();
    expect(count()).toBe(1);
    server.publish("s", 2);
    await settle(20_000);
    expect(count()).toBe(1);
    expect(subscription.sync.kind).toBe("stale");
    server.ping();
    await settle(11_000);
    server.publish("s", 3);
    await settle();
    expect(count()).toBe(2);
  });
});

describe("ERROR", () => {
  wholeTest("403 ends the streams that it names, for good", async () => {
    const { client, server, heard } = await connected();
    const onSync = vi.fn();
    const bad = client.subscribe("bad", { onSync });
    client.subscribe("good");
    server.intercept = (socket, { type, ref }) => {
      if (type !== "SUBSCRIBE") return false;
      socket.deliver({ type: "SUBSCRIBED", ref });
      socket.deliver({ type: "ERROR", code: 403, reason: "FORBIDDEN", detail: "", ref, streams: ["bad"] });
      server.join(socket, "good", null);
      return true;
    };
    await settle();
    expect(heard["error"]).toMatchObject([{ name: "Rejected", code: 403, streams: ["bad"] }]);
    expect(heard["error"]![0]).toBeInstanceOf(Rejected);
    expect(bad.sync.kind).toBe("stale");
    expect(onSync.mock.lastCall).toMatchObject([{ kind: "stale" }]);
    expect(client.sync.kind).toBe("live");
    server.drop();
    await settle(500);
    expect(Object.keys(server.socket.of("HELLO")[0]!["streams"])).toEqual(["good"]);
    bad.close();
  });

  test.each([503, 429])("%i: SUBSCRIBE again after retry_after_ms", async (code) => {
    const { client, server } = await connected();
    client.subscribe("s");
    let refused = 0;
    server.intercept = (socket, { type, ref }) => {
      if (type !== "SUBSCRIBE" || refused++) return false;
      socket.deliver({ type: "SUBSCRIBED", ref });
      socket.deliver({ type: "ERROR", code, reason: "X", ref, streams: ["s"], retry_after_ms: 2_000 });
      return true;
    };
    await settle();
    expect(client.sync.kind).toBe("catching-up");
    await settle(1_999);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(1);
    await settle(501);
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(2);
    expect(client.sync.kind).toBe("live");
  });
});

test("ERROR of a SUBSCRIBE that a later one replaced is old news; one more subscriber doesn't break a wait", async () => {
  const { client, server, log } = await subscribed();
  server.intercept = (_, { type }) => type === "SUBSCRIBE";
  for (const n of [1, 2]) log.append(n);
  server.socket.deliver(log.delta("s", 1, 2));
  await settle();
  const refuse = (ref: number) =>
    server.socket.deliver({ type: "ERROR", code: 503, reason: "X", ref, streams: ["s"], retry_after_ms: 1_000 });
  refuse(1);
  await settle(3_000);
  expect(server.socket.of("SUBSCRIBE")).toHaveLength(2);
  refuse(2);
  await settle();
  client.subscribe("s");
  await settle(999);
  expect(server.socket.of("SUBSCRIBE")).toHaveLength(2);
  await settle(251);
  expect(server.socket.of("SUBSCRIBE")).toMatchObject([{}, {}, { ref: 3, streams: { s: null } }]);
});

test("the clock of messages is above that of entries", async () => {
  const { client, server } = await subscribed();
  for (let i = 0; i < 9; i++) server.publish("s", i);
  await settle();
  await Promise.all([client.send("s", 1), settle()]);
  expect(server.socket.of("MESSAGE")).toMatchObject([{ clock: 10 }]);
});

describe("PING", () => {
  test("its answer acknowledges, too", async () => {
    const { server } = await subscribed();
    for (let i = 0; i < 99; i++) server.publish("s", i);
    server.ping();
    server.publish("s", 100);
    await settle();
    expect(server.socket.of("ACK")).toHaveLength(1);
  });

  test("a head that a snapshot in parts is on its way to is no loss", async () => {
    const { server, log } = await subscribed();
    for (const n of [1, 2]) log.append(n);
    const at = { ...log.snapshot("s", "gap"), seq: 2, checksum: log.checksum(), payload: undefined, parts: 2 };
    server.socket.deliver({ ...at, part: 1, chunk: "[" });
    server.ping();
    server.socket.deliver({ ...at, part: 2, chunk: "]" });
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(1);
  });

  test("is answered with every position at once", async () => {
    const { server, log } = await subscribed();
    server.publish("s", 1);
    server.ping();
    await settle();
    expect(server.socket.of("PONG")).toEqual([{ type: "PONG", t: 1, streams: { s: log.wire() } }]);
  });

  test.each(["a higher seq", "another checksum"])("a head with %s shows a loss", async (what) => {
    const { server, screen, log } = await subscribed();
    server.publish("s", 1);
    await settle();
    log.append(2);
    const head = what === "a higher seq" ? log.wire() : { ...log.wire(1), checksum: 7 };
    server.socket.deliver({ type: "PING", t: 2, heads: { s: head } });
    await settle();
    expect(server.socket.of("SUBSCRIBE")).toHaveLength(2);
    expect(screen.seen).toEqual([{ state: null }, 1, 2]);
  });

  test("a stream without a head is stale, until it has one", async () => {
    const { client, server, heard } = await subscribed();
    const since = Date.now();
    await settle(10_000);
    server.socket.deliver({ type: "PING", t: 2, heads: {} });
    await settle();
    expect(client.sync).toEqual({ kind: "stale", since, waiting: 0 });
    server.ping();
    await settle();
    expect(client.sync.kind).toBe("live");
    expect(heard["syncChange"]!.slice(-2)).toMatchObject([{ kind: "stale" }, { kind: "live" }]);
  });
});

describe("what people see", () => {
  test("catching up counts, live, stale since the last proof", async () => {
    const made = await subscribed();
    const { client, server, log } = made;
    for (let i = 0; i < 4; i++) log.append(i);
    server.intercept = (_, { type }) => type !== "HELLO";
    server.drop();
    const since = Date.now();
    await settle(250);
    expect(client.sync).toEqual({ kind: "stale", since, waiting: 0 });
    expect(made.subscription.sync).toEqual({ kind: "stale", since, waiting: 0 });
    server.intercept = (socket, { type }) => {
      if (type === "HELLO") {
        server.welcome(socket);
        socket.deliver(log.delta("s", 0, 3, false));
      }
      return true;
    };
    await settle(250);
    expect(client.sync).toEqual({ kind: "catching-up", n: 3, waiting: 0 });
    server.socket.deliver(log.delta("s", 3, 4));
    await settle();
    expect(client.sync).toEqual({ kind: "live", waiting: 0 });
  });

  test("snapshot and sync keep their identity until something changes; `change` tells once a turn", async () => {
    const { client, server, heard } = await subscribed();
    const { snapshot, sync } = client;
    server.ping();
    await settle();
    expect(client.snapshot).toBe(snapshot);
    expect(client.sync).toBe(sync);
    expect(Object.isFrozen(snapshot)).toBe(true);
    const told = heard["change"]!.length;
    server.socket.deliver(server.log("s").delta("s", 0));
    server.publish("s", 1);
    await settle();
    expect(client.snapshot).not.toBe(snapshot);
    expect(heard["change"]!.length).toBe(told + 1);
    expect(heard["change"]!.at(-1)).toBe(client.snapshot);
  });

  wholeTest("onSync follows the one stream", async () => {
    const { client, server } = await connected();
    const kinds: string[] = [];
    client.subscribe("s", { onSync: ({ kind }) => kinds.push(kind) });
    await settle();
    server.drop();
    await settle(500);
    expect(kinds).toEqual(["catching-up", "live", "stale", "catching-up", "live"]);
  });
});

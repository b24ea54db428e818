import { describe, expect, test, vi } from "vitest";
import { OutcomeUnknown, ClosedError } from "../src/index.ts";
import { FakeServer } from "../src/testing.ts";
import { collector, connected, settle, states, useFakeTime, world } from "./harness.ts";

useFakeTime();

describe("connecting", () => {
  test("CONNECTED means that WELCOME came", async () => {
    const made = world();
    made.server.intercept = () => true;
    await settle();
    expect(made.client.state).toBe("RECONNECTING");
    expect(made.server.socket.sent).toMatchObject([
      { type: "HELLO", protocol: "reconnect.v1", term: 0, attempt: 1, clock: 0, streams: {} },
    ]);
    made.server.welcome(made.server.socket);
    await settle();
    expect(made.client.state).toBe("CONNECTED");
    expect(made.client.snapshot).toMatchObject({ state: "CONNECTED", attempt: 0, session: "s1" });
  });

  test("offers the subprotocol", async () => {
    const { server } = await connected();
    expect(server.socket.protocols).toEqual(["reconnect.v1"]);
  });

  test("socket and WELCOME together have 8 s", async () => {
    const made = world();
    made.server.intercept = () => true;
    await settle(7_999);
    expect(made.server.sockets).toHaveLength(1);
    expect(made.server.socket.closed).toBeNull();
    await settle(1);
    expect(made.server.socket.closed).not.toBeNull();
    expect(made.client.snapshot.retryAt).toBe(Date.now() + 500);
    await settle(500);
    expect(made.server.sockets).toHaveLength(2);
    expect(made.server.socket.of("HELLO")).toMatchObject([{ attempt: 2 }]);
  });

  test("a socket that never opens is given up, too", async () => {
    const server = new FakeServer();
    server.accepts = false;
    world({}, server);
    await settle(8_000);
    expect(server.socket.closed).not.toBeNull();
  });

  test("a constructor that throws is a failed attempt", async () => {
    class Blocked {
      constructor() {
        throw new Error("SecurityError");
      }
    }
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    const made = world({ WebSocket: Blocked as never });
    await settle();
    expect(made.client.state).toBe("RECONNECTING");
    expect(made.client.snapshot.attempt).toBe(2);
    expect(log).toHaveBeenCalledOnce();
    made.client.close();
  });

  test("the server's identity is kept and said again; the traceparent travels", async () => {
    const server = new FakeServer();
    server.intercept = (socket, frame) => {
      if (frame["type"] === "HELLO") server.welcome(socket, { identity: "signed" });
      return true;
    };
    await connected({ traceparent: () => "00-aa-bb-01" }, server);
    server.drop();
    await settle(500);
    expect(server.sockets[0]!.of("HELLO")[0]).not.toHaveProperty("identity");
    expect(server.socket.of("HELLO")[0]).toMatchObject({ identity: "signed", traceparent: "00-aa-bb-01" });
  });

  test("without the subprotocol it is somebody else's socket", async () => {
    const server = new FakeServer();
    server.accepts = "";
    const made = world({}, server);
    await settle();
    expect(server.socket.sent).toEqual([]);
    expect(server.socket.closed).not.toBeNull();
    expect(made.heard["handshake"]).toHaveLength(1);
    expect(made.client.state).toBe("RECONNECTING");
  });

  test("three opens in a row without WELCOME are told", async () => {
    const made = world();
    made.server.intercept = () => true;
    for (let i = 0; i < 3; i++) {
      await settle();
      expect(made.heard["handshake"]).toHaveLength(0);
      made.server.drop();
      await settle();
      made.client.retry();
    }
    expect(made.heard["handshake"]).toHaveLength(1);
    made.client.close();
  });

  test("a WELCOME between them, or a BYE, is no reason for alarm", async () => {
    const server = new FakeServer();
    const made = world({}, server);
    const answers = ["nothing", "nothing", "welcome", "nothing", "nothing", "bye", "bye", "bye"];
    server.intercept = (socket, { type }) => {
      if (type !== "HELLO") return;
      const answer = answers.shift();
      if (answer === "welcome") server.welcome(socket);
      if (answer === "bye") socket.deliver({ type: "BYE", code: 4013, reason: "", reconnect: true });
      return true;
    };
    while (answers.length) {
      await settle();
      server.drop();
      await settle();
      made.client.retry();
    }
    await settle();
    expect(made.heard["handshake"]).toEqual([]);
    made.client.close();
  });

  test("three attempts that never opened are told once: Chromium refuses an answer without subprotocol", async () => {
    const server = new FakeServer();
    server.accepts = false;
    const made = world({}, server);
    for (let i = 0; i < 5; i++) {
      server.drop();
      await settle();
      made.client.retry();
    }
    expect(made.heard["handshake"]).toHaveLength(1);
    made.client.close();
  });
});

describe("dropping", () => {
  test("goes over DISCONNECTED to RECONNECTING, and comes back", async () => {
    const made = await connected();
    made.server.drop(1012, undefined);
    await settle();
    expect(made.heard["stateChange"]!.slice(1)).toMatchObject([{ reason: "1012" }, { reason: "1012" }]);
    expect(states(made)).toBe("CONNECTED DISCONNECTED RECONNECTING");
    await settle(500);
    expect(states(made)).toBe("CONNECTED DISCONNECTED RECONNECTING CONNECTED");
  });

  test("a terminal code goes the same way, and fails without a socket", async () => {
    const made = await connected();
    made.server.drop(4503);
    await settle(60_000);
    expect(states(made)).toBe("CONNECTED DISCONNECTED RECONNECTING FAILED");
    expect(made.server.sockets).toHaveLength(1);
  });

  test.each([
    [{ code: 4012, reconnect: false }, "FAILED"],
    [{ code: 4503, reconnect: true }, "RECONNECTING"],
  ])("BYE %o wins over the code", async (bye, state) => {
    const made = await connected();
    made.server.socket.deliver({ type: "BYE", reason: "x", ...bye });
    made.server.drop(1006);
    await settle();
    expect(made.client.state).toBe(state);
    made.client.close();
  });

  test("BYE's window overrides the backoff", async () => {
    const made = await connected();
    made.server.socket.deliver({ type: "BYE", code: 4012, reason: "", reconnect: true, retry_after_ms: [3_000, 9_000] });
    await settle();
    expect(made.server.socket.closed).not.toBeNull();
    expect(made.client.snapshot.retryAt).toBe(Date.now() + 6_000);
    await settle(5_999);
    expect(made.server.sockets).toHaveLength(1);
    await settle(1);
    expect(made.server.sockets).toHaveLength(2);
  });

  test("a BYE before WELCOME counts", async () => {
    const made = world();
    made.server.intercept = (socket) => {
      socket.deliver({ type: "BYE", code: 4501, reason: "login", reconnect: false, retry_after_ms: [0, 0] });
      return true;
    };
    await settle();
    expect(states(made)).toBe("FAILED");
  });

  test("late callbacks of an older socket are ignored, and it is closed before a new one opens", async () => {
    const made = world();
    made.server.intercept = () => true;
    await settle();
    const old = made.server.socket;
    const { onmessage, onclose } = old;
    await settle(8_500);
    expect(made.server.sockets).toHaveLength(2);
    expect(old.closed).not.toBeNull();
    expect(old.onmessage).toBeNull();
    onmessage?.({ data: JSON.stringify({ type: "WELCOME", clock: 1, streams: [], limits: {} }) } as never);
    onclose?.({ code: 4503 } as never);
    await settle();
    expect(made.client.state).toBe("RECONNECTING");
    expect(made.server.sockets).toHaveLength(2);
  });

  test("the backoff doubles downward-jittered to its cap, and capped waits are counted", async () => {
    const made = world();
    made.server.accepts = false;
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      await settle();
      made.server.drop();
      await settle();
      waits.push(made.client.snapshot.retryAt! - Date.now());
      await settle(waits.at(-1)!);
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]);
    expect(made.recorder.counters["reconnect_backoff_capped_total"]).toBe(4);
    made.client.close();
  });

  test("the count resets after 5 s of uptime, not on open", async () => {
    const made = await connected();
    for (const expected of [500, 1_000, 2_000]) {
      made.server.drop();
      await settle();
      expect(made.client.snapshot.retryAt! - Date.now()).toBe(expected);
      await settle(expected);
      expect(made.client.state).toBe("CONNECTED");
      await settle(1_000);
    }
    await settle(4_000);
    made.server.drop();
    await settle();
    expect(made.client.snapshot.retryAt! - Date.now()).toBe(250);
  });

  test("maxAttempts ends in FAILED; retry() starts again", async () => {
    const server = new FakeServer();
    server.accepts = false;
    const made = world({ maxAttempts: 2 }, server);
    for (let i = 0; i < 2; i++) {
      await settle();
      server.drop();
      await settle(1_000);
    }
    expect(states(made)).toBe("FAILED");
    server.accepts = true;
    made.client.retry();
    await settle();
    expect(states(made)).toBe("FAILED DISCONNECTED RECONNECTING CONNECTED");
  });

  test("retry() ends a wait", async () => {
    const made = await connected();
    made.server.drop();
    await settle();
    made.client.retry();
    await settle();
    expect(made.client.state).toBe("CONNECTED");
  });
});

describe("silence", () => {
  test("nothing heard for 25 s is the end of a connection", async () => {
    const made = await connected();
    await settle(20_000);
    made.server.ping();
    await settle(24_999);
    expect(made.client.state).toBe("CONNECTED");
    await settle(2);
    expect(made.client.state).toBe("RECONNECTING");
    expect(made.server.sockets[0]!.closed).not.toBeNull();
  });

  test("a slower heartbeat gets more time", async () => {
    const made = world();
    made.server.intercept = (socket) => (made.server.welcome(socket, { heartbeat_ms: 60_000 }), true);
    await settle(60_000);
    expect(made.client.state).toBe("CONNECTED");
    await settle(10_001);
    expect(made.client.state).toBe("RECONNECTING");
  });
});

describe("INVALID_SEQ", () => {
  test("drops the named positions, then all, then backs off", async () => {
    const { server, client } = await connected();
    for (const name of ["a", "b"]) {
      server.publish(name, 1);
      client.subscribe(name, collector());
    }
    await settle();
    server.intercept = (socket, frame) => {
      if (frame["type"] !== "HELLO") return true;
      const streams = Object.keys(frame["streams"]).filter((name) => name === "a");
      socket.deliver({ type: "ERROR", code: 400, reason: "INVALID_SEQ", detail: "", streams });
      socket.deliver({ type: "BYE", code: 4000, reason: "INVALID_SEQ", reconnect: true, retry_after_ms: [0, 0] });
      return true;
    };
    server.drop();
    const waits: number[] = [];
    const claims: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      await settle();
      const wait = client.snapshot.retryAt! - Date.now();
      await settle(wait);
      claims.push(Object.values(server.socket.of("HELLO")[0]!["streams"]).map((claim) => claim !== null));
      waits.push(client.snapshot.retryAt! - Date.now());
    }
    expect(claims).toEqual([
      [true, true],
      [false, true],
      [false, false],
      [false, false],
    ]);
    expect(waits.slice(0, 2)).toEqual([250, 250]);
    expect(waits[2]).toBeGreaterThan(250);
    client.close();
  });
});

describe("ending", () => {
  test("close() leaves no timers and no listeners, and is final", async () => {
    const made = await connected();
    const { client, server } = made;
    client.subscribe("s", collector());
    client.send("s", 1).catch(() => {});
    await settle();
    client.close(4999, "enough");
    expect(server.socket.closed).toEqual({ code: 4999, reason: "enough" });
    expect(client.state).toBe("DISCONNECTED");
    await settle();
    expect(vi.getTimerCount()).toBe(0);
    expect(server.socket.onmessage).toBeNull();
    client.retry();
    client.close();
    await expect(client.send("s", 2)).rejects.toBeInstanceOf(ClosedError);
    expect(() => client.subscribe("s")).toThrow(ClosedError);
    await settle(60_000);
    expect(server.sockets).toHaveLength(1);
  });

  test("close() takes its listeners off signals that outlive it", async () => {
    const made = await connected();
    const { signal } = new AbortController();
    const on = vi.spyOn(signal, "addEventListener");
    const off = vi.spyOn(signal, "removeEventListener");
    made.client.subscribe("s", { signal });
    made.client.on("change", () => {}, { signal });
    made.client.send("s", 1, { signal }).catch(() => {});
    made.client.close();
    expect(on).toHaveBeenCalledTimes(3);
    for (const [type, listener] of on.mock.calls) expect(off).toHaveBeenCalledWith(type, listener);
  });

  test.each(["connecting", "waiting"])("close() while %s", async (when) => {
    const server = new FakeServer();
    server.accepts = false;
    const { client } = world({}, server);
    if (when === "waiting") server.drop();
    await settle(100);
    client.close();
    await settle(60_000);
    expect(vi.getTimerCount()).toBe(0);
    expect(server.sockets).toHaveLength(1);
    expect(client.state).toBe("DISCONNECTED");
  });

  test("close() from a stateChange listener", async () => {
    const made = await connected();
    made.client.on("stateChange", ({ to }) => to === "DISCONNECTED" && made.client.close());
    made.server.drop();
    await settle(60_000);
    expect(made.client.state).toBe("DISCONNECTED");
    expect(vi.getTimerCount()).toBe(0);
  });

  test("close() from a listener at the moment of CONNECTED", async () => {
    const made = world();
    made.client.on("stateChange", ({ to }) => to === "CONNECTED" && made.client.close());
    await settle();
    expect(made.server.socket.closed).not.toBeNull();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("an aborted signal closes; an already aborted one never connects", async () => {
    const controller = new AbortController();
    const made = await connected({ signal: controller.signal });
    controller.abort();
    expect(made.client.state).toBe("DISCONNECTED");
    const other = world({ signal: AbortSignal.abort() });
    await settle(1_000);
    expect(other.server.sockets).toHaveLength(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("FAILED settles every promise: sent ones are unknown, others were never sent", async () => {
    const made = await connected();
    made.server.intercept = (_, frame) => frame["type"] === "MESSAGE";
    made.server.limits["in_flight"] = 1;
    const sent = Array.from({ length: 20 }, (_, i) => made.client.send("s", i));
    await settle();
    made.server.drop(4501);
    const outcomes = await Promise.allSettled(sent);
    const errors = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason);
    expect(errors.slice(0, 16).every((error) => error instanceof OutcomeUnknown)).toBe(true);
    expect(errors.slice(16).every((error) => error instanceof ClosedError)).toBe(true);
    expect(made.client.waiting).toBe(0);
    await expect(made.client.send("s", 1)).rejects.toBeInstanceOf(ClosedError);
  });
});

describe("bad server data", () => {
  test.each([
    "{",
    "[]",
    "null",
    '"x"',
    '{"type":"SYNC_DELTA"}',
    '{"type":"SYNC_DELTA","stream":"s","epoch":"e","from":0,"to":1,"checksum":0,"complete":true,"payload":[{}]}',
    '{"type":"SYNC_SNAPSHOT","stream":"s","epoch":"e1","seq":1,"checksum":0,"part":2,"parts":1e9,"chunk":7}',
    '{"type":"PING"}',
    '{"type":"PING","heads":{"s":7}}',
    '{"type":"ERROR","code":400,"reason":"X","streams":7}',
    '{"type":"REJECT","id":{},"code":1,"reason":"x"}',
    '{"type":"constructor"}',
    '{"type":"toString"}',
    '{"type":7}',
    '{"type":"BYE","code":"x"}',
    '{"type":"WELCOME","clock":1,"streams":[],"limits":{}}',
  ])("%s never throws and never ends the connection", async (data) => {
    const { client, server } = await connected();
    client.subscribe("s", collector());
    await settle();
    server.socket.deliver(data);
    await settle();
    expect(client.state).toBe("CONNECTED");
    server.publish("s", "after");
    await settle(1_000);
    expect(client.snapshot.streams["s"]).toEqual({ seq: 1, kind: "live" });
    client.close();
  });

  test("a frame of an unknown type is the application's", async () => {
    const made = await connected();
    made.server.socket.deliver({ type: "chat.typing", who: "x" });
    await settle();
    expect(made.heard["message"]).toEqual([{ type: "chat.typing", who: "x" }]);
  });
});

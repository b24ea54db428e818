/** A socket that is open and dead: what the page says meanwhile, and how soon the client finds out. */
import { describe, expect, test } from "vitest";
import { FakeServer, type Frame } from "../src/testing.ts";
import { collector, connected, settle, useFakeTime, world } from "./harness.ts";

useFakeTime();

const nothing = () => true;
const probes = (server: FakeServer) =>
  server.sockets.flatMap((socket) => socket.of("SUBSCRIBE")).filter(({ streams }) => Object.keys(streams).length === 0);

describe("an overdue heartbeat", () => {
  test("says stale since the last frame that was heard, until a frame comes", async () => {
    const { client, server, heard } = await connected();
    const subscription = client.subscribe("s", collector());
    await settle(5_000);
    await Promise.all([client.send("s", 1), settle()]);
    const since = Date.now();
    await settle(17_999);
    expect(client.sync.kind).toBe("live");
    await settle(1);
    expect(client.state).toBe("CONNECTED");
    for (const sync of [client.sync, subscription.sync, heard["syncChange"]!.at(-1)]) {
      expect(sync).toEqual({ kind: "stale", since, waiting: 0 });
    }
    expect(client.snapshot.streams["s"]!.kind).toBe("stale");
    server.socket.deliver({ type: "chat.typing" });
    await settle();
    expect(client.sync).toEqual({ kind: "live", waiting: 0 });
    expect(heard["syncChange"]!.at(-1)).toEqual({ kind: "live", waiting: 0 });
  });

  test("without a subscription, too", async () => {
    const { client, server } = await connected();
    await settle(1_000);
    server.ping();
    const since = Date.now();
    await settle(18_000);
    expect(client.sync).toEqual({ kind: "stale", since, waiting: 0 });
  });

  test("the time stays when the connection is given up, and until the stream is live again", async () => {
    const { client, server } = await connected();
    client.subscribe("s", collector());
    await settle(5_000);
    await Promise.all([client.send("s", 1), settle()]);
    const since = Date.now();
    server.intercept = nothing;
    await settle(25_000);
    expect(client.state).toBe("RECONNECTING");
    expect(client.sync).toEqual({ kind: "stale", since, waiting: 0 });
  });

  test("counts from the server's own heartbeat", async () => {
    const made = world();
    made.server.intercept = (socket) => (made.server.welcome(socket, { heartbeat_ms: 60_000 }), true);
    await settle(62_999);
    expect(made.client.sync.kind).toBe("live");
    await settle(1);
    expect(made.client.sync.kind).toBe("stale");
    expect(made.client.state).toBe("CONNECTED");
  });

  test("is no news in a heartbeat's time", async () => {
    const { client, server, heard } = await connected();
    for (let i = 0; i < 10; i++) {
      await settle(15_000);
      server.ping();
    }
    await settle();
    expect(client.sync.kind).toBe("live");
    expect(heard["syncChange"]!.filter((sync) => (sync as { kind: string }).kind === "stale")).toHaveLength(1);
  });
});

describe("a message without an answer", () => {
  test("5 s of silence: a probe; 3 s more: the connection is given up, and the message goes again", async () => {
    const { client, server } = await connected();
    await settle(4_000);
    server.intercept = nothing;
    const promise = client.send("s", 1);
    await settle(4_999);
    expect(probes(server)).toHaveLength(0);
    await settle(1);
    expect(probes(server)).toHaveLength(1);
    await settle(2_999);
    expect(client.state).toBe("CONNECTED");
    await settle(1);
    expect(client.state).toBe("RECONNECTING");
    expect(server.socket.closed).not.toBeNull();
    server.intercept = null;
    await settle(500);
    expect(await promise).toMatchObject({ seq: 1 });
  });

  test("later messages don't put the probe off", async () => {
    const { client, server } = await connected();
    server.intercept = nothing;
    for (let i = 0; i < 8; i++) {
      void client.send("s", i);
      await settle(1_000);
    }
    expect(client.state).toBe("RECONNECTING");
  });

  test("a slow handler never cuts a connection that answers", async () => {
    const { client, server, heard } = await connected();
    let message: Frame | null = null;
    server.intercept = (_, frame) => frame["type"] === "MESSAGE" && ((message = frame), true);
    const promise = client.send("s", 1);
    await settle(24_000);
    expect(probes(server)).toHaveLength(3);
    expect(client.state).toBe("CONNECTED");
    server.intercept = null;
    server.receive(server.socket, message!);
    await settle();
    expect(await promise).toMatchObject({ seq: 1, duplicate: false });
    expect(server.sockets).toHaveLength(1);
    expect(heard["error"]).toEqual([]);
    await settle(10_000);
    expect(probes(server)).toHaveLength(3);
  });

  test("whatever is heard puts the probe off", async () => {
    const { client, server } = await connected();
    server.intercept = (_, { type }) => type === "MESSAGE";
    client.subscribe("other", collector());
    void client.send("s", 1);
    for (let i = 0; i < 20; i++) {
      await settle(4_900);
      server.publish("other", i);
    }
    expect(probes(server)).toHaveLength(0);
    await settle(5_000);
    expect(probes(server)).toHaveLength(1);
    expect(client.state).toBe("CONNECTED");
  });

  test("a refusal is an answer", async () => {
    const { client, server } = await connected();
    server.intercept = (socket, { type, id }) => {
      if (type === "MESSAGE") {
        socket.deliver({ type: "REJECT", id, code: 503, reason: "UNAVAILABLE", detail: "", retry: true, retry_after_ms: 60_000 });
      }
      return true;
    };
    void client.send("s", 1);
    await settle(17_000);
    expect(probes(server)).toHaveLength(0);
    expect(client.state).toBe("CONNECTED");
  });
});

describe("a PING without a live stream's head", () => {
  async function doubted() {
    const made = await connected();
    made.client.subscribe("s", collector());
    made.client.subscribe("t", collector());
    await settle();
    const since = Date.now();
    await settle(10_000);
    made.server.socket.deliver({ type: "PING", t: 1, heads: { t: made.server.log("t").wire() } });
    await settle();
    expect(made.client.snapshot.streams).toMatchObject({ s: { kind: "stale" }, t: { kind: "live" } });
    expect(made.client.sync).toEqual({ kind: "stale", since, waiting: 0 });
    return made;
  }

  test("marks it stale until one names it", async () => {
    const { client, server } = await doubted();
    server.ping();
    await settle();
    expect(client.sync.kind).toBe("live");
  });

  test("until its entries come; other streams' don't count", async () => {
    const { client, server } = await doubted();
    server.publish("t", 1);
    await settle();
    expect(client.sync.kind).toBe("stale");
    server.publish("s", 1);
    await settle();
    expect(client.sync.kind).toBe("live");
  });

  test("also while a snapshot comes in parts", async () => {
    const { client, server } = await connected();
    client.subscribe("s", collector());
    await settle();
    server.socket.deliver({ ...server.log("s").snapshot("s", "gap"), payload: undefined, part: 1, parts: 2, chunk: "[" });
    server.socket.deliver({ type: "PING", t: 1, heads: {} });
    await settle();
    expect(client.sync.kind).toBe("stale");
  });
});

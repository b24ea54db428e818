import { describe, expect, test, vi } from "vitest";
import { ClosedError, OutcomeUnknown, PayloadError, QueueOverflowError, Rejected } from "../src/index.ts";
import type { StoredMessage } from "../src/item.ts";
import type { Options } from "../src/options.ts";
import { FakeServer, type Frame } from "../src/testing.ts";
import { collector, connected, settle, useFakeTime, wholeTest, world } from "./harness.ts";

useFakeTime();

/** Swallows messages: nothing is ever answered. */
const mute = (_: unknown, { type }: Frame) => type === "MESSAGE";
const numbers = (frames: Frame[]) => frames.map(({ n }) => n);

describe("sending", () => {
  test("resolves with the server's ack; the id is known at once", async () => {
    const { client, server, heard } = await connected();
    const promise = client.send("s", { move: 7 });
    expect(promise.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await settle();
    expect(await promise).toEqual({ id: promise.id, epoch: "e1", seq: 1, result: { n: 1 }, duplicate: false });
    const { producer, ...frame } = server.socket.of("MESSAGE")[0]!;
    expect(producer).toMatch(/^[0-9a-f-]{36}$/);
    expect(frame).toEqual({
      type: "MESSAGE",
      id: promise.id,
      n: 1,
      stream: "s",
      payload: { move: 7 },
      settled: 0,
      clock: 2, // above WELCOME's 1
    });
    expect(heard["queueChange"]).toEqual([{ waiting: 1 }, { waiting: 0 }]);
  });

  test("waits for a connection, keeps order and numbers per stream", async () => {
    const made = world();
    const sent = [1, 2, 3].flatMap((n) => [made.client.send("a", n), made.client.send("b", n)]);
    expect(made.client.queue).toHaveLength(6);
    expect(made.client.queue[0]).toMatchObject({ stream: "a", payload: 1, state: "queued", failures: 0, createdAt: Date.now() });
    await Promise.all([...sent, settle()]);
    for (const stream of ["a", "b"]) {
      const frames = made.server.socket.of("MESSAGE").filter((frame) => frame["stream"] === stream);
      expect(numbers(frames)).toEqual([1, 2, 3]);
      expect(frames.map(({ payload }) => payload)).toEqual([1, 2, 3]);
    }
    expect(made.client.queue).toEqual([]);
  });

  test("an ack lost on a living connection: asked for again after 10 s, then 20, with the same id and n", async () => {
    const { client, server } = await connected();
    let swallowed = 0;
    const losing: typeof server.intercept = (_socket, frame) => {
      if (frame["type"] !== "MESSAGE" || swallowed === 2) return false;
      swallowed++;
      server.intercept = null;
      server.receive({ deliver() {} } as never, frame);
      server.intercept = losing;
      return true;
    };
    server.intercept = losing;
    const promise = client.send("s", "once");
    await settle(9_900);
    expect(swallowed).toBe(1);
    await settle(200);
    expect(swallowed).toBe(2);
    await settle(19_800);
    expect(client.waiting).toBe(1);
    await settle(300);
    expect(await promise).toMatchObject({ seq: 1, duplicate: true });
    expect(numbers(server.socket.of("MESSAGE"))).toEqual([1, 1, 1]);
    expect(server.applied).toHaveLength(1);
    expect(server.sockets).toHaveLength(1);
  });

  test("refusals and new connections don't make it patient: the next lost ack is asked for after 10 s, too", async () => {
    const { client, server } = await connected();
    let frames = 0;
    server.intercept = (socket, frame) => {
      if (frame["type"] !== "MESSAGE") return false;
      frames++;
      const refusal = { code: 503, reason: "UNAVAILABLE", detail: null, retry: true, retry_after_ms: 10 };
      if (frames <= 8) socket.deliver({ type: "REJECT", id: frame["id"], ...refusal });
      return frames < 11;
    };
    const promise = client.send("s", 1);
    await vi.waitFor(() => expect(frames).toBe(9), { timeout: 20_000 });
    server.drop();
    await settle(5_000);
    expect(frames).toBe(10);
    await settle(6_000);
    expect(frames).toBe(11);
    expect(await promise).toMatchObject({ seq: 1 });
  });

  test("an ack lost on the way: the same id and n again, and the first answer", async () => {
    const { client, server } = await connected();
    server.intercept = (socket, frame) => {
      if (frame["type"] !== "MESSAGE") return false;
      server.intercept = null;
      server.receive({ deliver() {} } as never, frame);
      server.drop(1006, socket);
      return true;
    };
    const promise = client.send("s", "once");
    await settle(500);
    expect(await promise).toMatchObject({ seq: 1, duplicate: true });
    expect(server.applied).toHaveLength(1);
    const [first, second] = server.sockets.map((socket) => socket.of("MESSAGE")[0]!);
    expect(second).toMatchObject({ id: first!["id"], n: first!["n"], producer: first!["producer"] });
    expect(second!["clock"]).toBeGreaterThan(first!["clock"]);
  });

  test("after a reconnect: what was sent first, oldest first, then what is new", async () => {
    const { client, server } = await connected();
    server.intercept = mute;
    for (const n of [1, 2]) void client.send("s", n);
    await settle();
    server.drop();
    await settle();
    void client.send("t", 3);
    void client.send("s", 4);
    server.intercept = null;
    await settle(500);
    expect(server.socket.of("MESSAGE").map(({ payload }) => payload)).toEqual([1, 2, 3, 4]);
    expect(client.waiting).toBe(0);
  });

  test("waits for its stream's sync, but not for ever, and not for other streams'", async () => {
    const { client, server } = await connected();
    server.intercept = (socket, { type, ref }) => {
      if (type === "SUBSCRIBE") socket.deliver({ type: "SUBSCRIBED", ref });
      return type === "SUBSCRIBE";
    };
    client.subscribe("s", collector());
    await settle();
    void client.send("s", 1);
    void client.send("t", 2);
    await settle(9_999);
    expect(server.applied.map(({ stream }) => stream)).toEqual(["t"]);
    await settle(1);
    expect(server.applied.map(({ stream }) => stream)).toEqual(["t", "s"]);
  });

  test("goes out as soon as its stream is live", async () => {
    const made = world();
    made.client.subscribe("s", collector());
    made.server.intercept = (socket, { type }) => type === "HELLO" && (made.server.welcome(socket), true);
    void made.client.send("s", 1);
    await settle(1_000);
    expect(made.server.applied).toEqual([]);
    made.server.join(made.server.socket, "s", null);
    await settle();
    expect(made.server.applied).toHaveLength(1);
  });

  test("at most 16 are in flight", async () => {
    const { client, server } = await connected();
    server.intercept = mute;
    for (let i = 0; i < 40; i++) void client.send("s", i);
    await settle();
    expect(server.socket.of("MESSAGE")).toHaveLength(16);
    expect(client.queue.filter(({ state }) => state === "sent")).toHaveLength(16);
  });

  test("keeps to the server's rate after its burst", async () => {
    const server = new FakeServer();
    Object.assign(server.limits, { rate: 10, burst: 5 });
    const { client } = await connected({}, server);
    for (let i = 0; i < 20; i++) void client.send("s", i);
    await settle();
    expect(server.applied).toHaveLength(5);
    await settle(1_001);
    expect(server.applied).toHaveLength(15);
  });

  test("`settled` says up to where every answer is known", async () => {
    const { client, server } = await connected();
    const answers = [true, false, true];
    server.intercept = (socket, { type, id, n }) => {
      if (type !== "MESSAGE") return false;
      if (answers[n - 1] ?? true) socket.deliver({ type: "ACK", id, epoch: null, seq: null, result: null, duplicate: false });
      return true;
    };
    for (let i = 0; i < 4; i++) {
      void client.send("s", i);
      await settle();
    }
    expect(server.socket.of("MESSAGE").map(({ settled }) => settled)).toEqual([0, 1, 1, 1]);
  });
});

describe("what can't travel rejects at once", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const isRefused = async (_: string, payload: unknown) => {
    const { client } = await connected();
    await expect(client.send("s", payload)).rejects.toBeInstanceOf(PayloadError);
    expect(client.waiting).toBe(0);
  };
  let deep: unknown = 1;
  for (let i = 0; i < 33; i++) deep = [deep];
  test.each([
    ["undefined", undefined],
    ["a cycle", cycle],
    ["a bigint", 1n],
    ["NaN", { x: NaN }],
    ["Infinity", [Infinity]],
    ["a function", { f() {} }],
    ["a NUL", "\0"],
    ["a lone surrogate", ["\ud800x"]],
    ["a lone surrogate in a key", { "\udc00": 1 }],
    ["33 levels", deep],
    ["65 537 bytes", "ä".repeat(32_768)],
  ])("%s", isRefused);
  wholeTest.each([
    ["an integer beyond 2^53", 2 ** 53 + 2],
    ["__proto__", JSON.parse('{"__proto__":1}')],
    ["1001 values", Array.from({ length: 1_000 }, () => 0)],
  ])("%s", isRefused);

  test.each(["", "a b", "x".repeat(101)])("to %j", async (stream) => {
    const { client } = await connected();
    await expect(client.send(stream, 1)).rejects.toBeInstanceOf(PayloadError);
  });

  test("what is just allowed goes", async () => {
    const { client, server } = await connected();
    const payloads = [null, 2 ** 53, 1e300, -0, "😀", "\u0001", "x".repeat(65_534), Array.from({ length: 999 }, () => 0)];
    await Promise.all([...payloads.map((payload) => client.send("s", payload)), settle(100)]);
    expect(server.applied).toHaveLength(payloads.length);
  });

  test("later changes of the payload don't reach the message", async () => {
    const made = world();
    const payload = { x: 1 };
    void made.client.send("s", payload);
    payload.x = 2;
    await settle();
    expect(made.server.applied[0]!.payload).toEqual({ x: 1 });
  });
});

describe("REJECT", () => {
  async function refusing(answer: Frame, times = Infinity) {
    const made = await connected();
    let refused = 0;
    made.server.intercept = (socket, { type, id }) => {
      if (type !== "MESSAGE" || refused >= times) return false;
      refused++;
      socket.deliver({ type: "REJECT", id, detail: null, retry: false, ...answer });
      return true;
    };
    return made;
  }

  test.each([
    [400, "JSON"],
    [403, "FORBIDDEN"],
    [409, "KEY_REUSED"],
    [410, "EXPIRED"],
    [422, "full"],
  ])("%i %s without retry is final", async (code, reason) => {
    const { client, server } = await refusing({ code, reason, detail: { why: 1 } });
    const promise = client.send("s", 1);
    await settle(10_000);
    await expect(promise).rejects.toMatchObject({ name: "Rejected", code, reason, detail: { why: 1 } });
    expect(server.socket.of("MESSAGE")).toHaveLength(1);
    expect(client.waiting).toBe(0);
  });

  test.each(["IN_PROGRESS", "RATE", "UNAVAILABLE", "ORDER"])("%s is tried again with the same id and n, for ever", async (reason) => {
    const { client, server } = await refusing({ code: 503, reason, retry: true, retry_after_ms: 10 }, 12);
    const promise = client.send("s", 1);
    await settle(25_000);
    expect(await promise).toMatchObject({ seq: 1 });
    const frames = server.socket.of("MESSAGE");
    expect(frames).toHaveLength(13);
    expect(new Set(frames.map(({ id, n }) => `${id}/${n}`)).size).toBe(1);
  });

  test("FAILED five times gives up, tells the application, and counts as settled", async () => {
    const { client, server, heard } = await refusing({ code: 500, reason: "FAILED", retry: true, retry_after_ms: 10 }, 5);
    const promise = client.send("s", 1);
    await settle(20_000);
    await expect(promise).rejects.toBeInstanceOf(Rejected);
    expect(heard["error"]).toHaveLength(1);
    expect(server.socket.of("MESSAGE")).toHaveLength(5);
    void client.send("s", 2);
    await settle();
    expect(server.socket.of("MESSAGE").at(-1)).toMatchObject({ n: 2, settled: 1 });
    expect(server.applied).toMatchObject([{ n: 2 }]);
  });

  test("later messages of the stream don't overtake; other streams go on", async () => {
    const { client, server } = await refusing({ code: 503, reason: "UNAVAILABLE", retry: true, retry_after_ms: 1_000 }, 1);
    void client.send("s", 1);
    await settle();
    void client.send("s", 2);
    void client.send("t", 3);
    await settle(999);
    expect(server.applied.map(({ payload }) => payload)).toEqual([3]);
    await settle(1_000);
    expect(server.applied.map(({ payload }) => payload)).toEqual([3, 1, 2]);
  });

  test("a new connection doesn't wait for what the old one asked to wait", async () => {
    const { server } = await refusing({ code: 503, reason: "UNAVAILABLE", retry: true, retry_after_ms: 60_000 }, 1).then(
      async (made) => {
        void made.client.send("s", 1);
        await settle();
        return made;
      },
    );
    server.drop();
    await settle(500);
    expect(server.applied).toHaveLength(1);
  });

  test("ORDER: again from the oldest without an answer", async () => {
    const { client, server } = await connected();
    let lost = 1;
    server.intercept = (_, { type }) => type === "MESSAGE" && lost-- > 0;
    for (const n of [1, 2, 3]) void client.send("s", n);
    await settle(2_000);
    expect(server.applied.map(({ n }) => n)).toEqual([1, 2, 3]);
    expect(client.waiting).toBe(0);
  });
});

describe("bounds", () => {
  function offline(options: Options) {
    const server = new FakeServer();
    server.accepts = false;
    return world(options, server);
  }

  test("the oldest never-sent entry goes, and is told", async () => {
    const made = offline({ maxQueue: 10 });
    const promises = Array.from({ length: 12 }, (_, i) => made.client.send("s", i));
    await expect(promises[0]).rejects.toBeInstanceOf(QueueOverflowError);
    await expect(promises[1]).rejects.toBeInstanceOf(QueueOverflowError);
    expect(made.client.waiting).toBe(10);
    expect(made.heard["evict"]).toMatchObject([
      { entry: { id: promises[0]!.id, payload: 0, state: "queued" }, reason: "count" },
      { entry: { id: promises[1]!.id } },
    ]);
    expect(made.recorder.counters["reconnect_outbox_evicted_total"]).toBe(2);
    made.server.socket.open();
    await settle(100);
    expect(made.server.applied.map(({ n, payload }) => [n, payload])).toEqual(
      Array.from({ length: 10 }, (_, i) => [i + 1, i + 2]),
    );
  });

  test("what was sent is never evicted: the new one is refused", async () => {
    const { client, server } = await connected({ maxQueue: 4 });
    server.intercept = mute;
    for (let i = 0; i < 4; i++) void client.send("s", i);
    await expect(client.send("s", 4)).rejects.toBeInstanceOf(QueueOverflowError);
    expect(client.waiting).toBe(4);
  });

  test("the oldest that was not sent goes, though older ones were sent", async () => {
    const { client, server, heard } = await connected({ maxQueue: 20 });
    server.intercept = mute;
    for (let i = 0; i < 20; i++) void client.send("s", i);
    void client.send("s", 20);
    expect(heard["evict"]).toMatchObject([{ entry: { payload: 16, state: "queued" } }]);
    server.intercept = null;
    server.drop();
    await settle(500);
    expect(server.applied.map(({ n, payload }) => [n, payload])).toEqual(
      Array.from({ length: 20 }, (_, i) => [i + 1, i < 16 ? i : i + 1]),
    );
  });

  test("bytes count, too", async () => {
    const made = offline({ maxQueueBytes: 100 });
    const first = made.client.send("s", "x".repeat(58));
    const second = made.client.send("s", "x".repeat(38));
    void made.client.send("s", "x".repeat(38));
    await expect(first).rejects.toBeInstanceOf(QueueOverflowError);
    await expect(made.client.send("s", "x".repeat(99))).rejects.toBeInstanceOf(QueueOverflowError);
    expect(made.client.queue).toHaveLength(2);
    expect(made.client.queue[0]!.id).toBe(second.id);
  });

  test("highWater at 80 %, once until it falls", async () => {
    const made = world({ maxQueue: 10 });
    for (let i = 0; i < 10; i++) void made.client.send("s", i);
    expect(made.heard["highWater"]).toEqual([{ waiting: 8 }]);
    await settle();
    made.server.intercept = mute;
    for (let i = 0; i < 8; i++) void made.client.send("s", i);
    expect(made.heard["highWater"]).toHaveLength(2);
  });

  test("drained()", async () => {
    const made = world();
    await made.client.drained();
    void made.client.send("s", 1);
    const done = vi.fn();
    void made.client.drained().then(done);
    expect(done).not.toHaveBeenCalled();
    await settle();
    expect(done).toHaveBeenCalled();
    made.server.intercept = mute;
    void made.client.send("s", 2);
    const dropped = made.client.drained();
    made.client.close();
    await expect(dropped).rejects.toBeInstanceOf(ClosedError);
  });
});

describe("signals", () => {
  test("withdraw what was not sent", async () => {
    const made = world();
    const controller = new AbortController();
    const promise = made.client.send("s", 1, { signal: controller.signal });
    controller.abort(new Error("changed my mind"));
    await expect(promise).rejects.toThrow("changed my mind");
    await settle();
    expect(made.server.socket.of("MESSAGE")).toEqual([]);
    await expect(made.client.send("s", 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
  });

  test("can't take back what was sent", async () => {
    const { client, server } = await connected();
    const controller = new AbortController();
    server.intercept = mute;
    const promise = client.send("s", 1, { signal: controller.signal });
    await settle();
    controller.abort();
    await expect(promise).rejects.toBeInstanceOf(OutcomeUnknown);
    expect(client.waiting).toBe(1);
    server.intercept = null;
    server.drop();
    await settle(500);
    expect(client.waiting).toBe(0);
  });
});

describe("lost", () => {
  async function acked() {
    const made = await connected();
    made.client.subscribe("s", collector());
    await settle();
    made.server.intercept = (socket, { type, id }) => {
      if (type === "MESSAGE") socket.deliver({ type: "ACK", id, epoch: "e1", seq: 1, result: null, duplicate: false });
      return type === "MESSAGE";
    };
    const { id } = await Promise.all([made.client.send("s", 1), settle()]).then(([receipt]) => receipt);
    return { ...made, id };
  }

  test("another key where the ack said", async () => {
    const { server, heard, id } = await acked();
    server.publish("s", "someone else's", "other-key");
    await settle();
    expect(heard["lost"]).toEqual([{ id, stream: "s", seq: 1 }]);
  });

  test("not when it was seen before the ack, whatever a later life of the stream holds", async () => {
    const { client, server, heard } = await connected();
    client.subscribe("s", collector());
    await settle();
    await Promise.all([client.send("s", 1), settle()]);
    const log = server.log("s");
    Object.assign(log, { epoch: "e2", entries: [] });
    log.append("another life", "other-key");
    server.drop();
    await settle(500);
    expect(client.snapshot.streams["s"]!.seq).toBe(1);
    expect(heard["lost"]).toEqual([]);
  });

  test("not when a snapshot of another epoch lies before it: that life has its own entries", async () => {
    const { client, server, heard } = await acked();
    const log = server.log("s");
    Object.assign(log, { epoch: "e2", entries: [] });
    server.drop();
    await settle(500);
    server.publish("s", "another life", "other-key");
    await settle();
    expect(client.snapshot.streams["s"]!.seq).toBe(1);
    expect(heard["lost"]).toEqual([]);
  });

  test("not when the entry is there", async () => {
    const { server, heard, id } = await acked();
    server.publish("s", "mine", id);
    await settle();
    expect(heard["lost"]).toEqual([]);
  });
});

describe("the store", () => {
  test("has a message at once, and its number before the first transmission", async () => {
    const saved: (number | null)[] = [];
    const save = ({ n }: StoredMessage) => (saved.push(n), new Promise<void>((resolve) => setTimeout(resolve, 50)));
    const { client, server } = await connected({ store: { save, remove() {} } });
    void client.send("s", 1);
    void client.send("s", 2);
    expect(saved).toEqual([null, 1, null, 2]);
    await settle(49);
    expect(server.socket.of("MESSAGE")).toEqual([]);
    await settle(1);
    expect(numbers(server.socket.of("MESSAGE"))).toEqual([1, 2]);
  });

  test("a number that takes long to save is not overtaken, and holds no other stream up", async () => {
    const waiting = new Map<number, () => void>();
    const save = ({ n, stream }: StoredMessage) =>
      n === null || stream === "t" ? undefined : new Promise<void>((resolve) => waiting.set(n, resolve));
    const { client, server } = await connected({ store: { save, remove() {} } });
    for (const n of [1, 2]) void client.send("s", n);
    void client.send("t", 3);
    await settle();
    waiting.get(2)!();
    await settle();
    expect(server.applied.map(({ payload }) => payload)).toEqual([3]);
    waiting.get(1)!();
    await settle();
    expect(server.applied.map(({ payload }) => payload)).toEqual([3, 1, 2]);
  });

  test("is told of whatever needs it no longer", async () => {
    const removed: string[] = [];
    const server = new FakeServer();
    server.accepts = false;
    const made = world({ maxQueue: 2, store: { save() {}, remove: (id) => void removed.push(id) } }, server);
    const controller = new AbortController();
    const withdrawn = made.client.send("s", 1, { signal: controller.signal });
    controller.abort();
    const evicted = made.client.send("s", 2);
    const answered = [3, 4].map((n) => made.client.send("s", n));
    expect(removed).toEqual([withdrawn.id, evicted.id]);
    server.socket.open();
    await settle();
    expect(removed).toEqual([withdrawn, evicted, ...answered].map(({ id }) => id));
  });

  test("that fails costs persistence, not messages", async () => {
    const { client, server, heard } = await connected({
      store: {
        save: () => Promise.reject(new Error("quota")),
        remove() {
          throw new Error("quota");
        },
        adopt: () => Promise.reject(new Error("quota")),
        holds() {
          throw new Error("quota");
        },
      },
    });
    await Promise.all([client.send("s", 1), settle()]);
    expect(server.applied).toHaveLength(1);
    server.intercept = mute;
    const promise = client.send("s", 2);
    await settle();
    server.socket.deliver({ type: "BYE", code: 4503, reason: "", reconnect: false });
    await expect(promise).rejects.toMatchObject({ name: "OutcomeUnknown", retained: false });
    expect(heard["error"]!.every((error) => (error as Error).message === "quota")).toBe(true);
  });

  const message = (fields: Partial<StoredMessage>): StoredMessage => ({
    id: "00000000-0000-4000-8000-00000000000a",
    stream: "s",
    text: "1",
    bytes: 1,
    createdAt: 1,
    origin: "gone",
    order: 1,
    producer: null,
    n: null,
    ...fields,
  });

  test("brings messages back: what has a number keeps it, the rest follows when those are answered", async () => {
    const messages = [
      message({ id: "a", producer: "p", n: 4, text: "4" }),
      message({ id: "b", producer: "p", n: 5, text: "5", order: 2 }),
      message({ id: "c", text: "6", order: 3 }),
    ];
    const { client, server } = await connected({ store: { save() {}, remove() {}, adopt: async () => messages } });
    expect(client.queue).toEqual([]);
    const sent = server.socket.of("MESSAGE");
    expect(sent.map(({ id, n, settled, payload }) => [id, n, settled, payload])).toEqual([
      ["a", 4, 3, 4],
      ["b", 5, 3, 5],
      ["c", 1, 0, 6],
    ]);
    expect(sent[1]!["producer"]).toBe("p");
    expect(sent[2]!["producer"]).not.toBe("p");
    expect(server.applied).toHaveLength(3);
  });

  test("restored messages are shown, don't count for the bounds and are never evicted", async () => {
    const server = new FakeServer();
    server.accepts = false;
    const messages = Array.from({ length: 10 }, (_, i) => message({ id: `m${i}`, order: i + 1 }));
    const made = world({ maxQueue: 2, store: { save() {}, remove() {}, adopt: async () => messages } }, server);
    await settle();
    const own = [1, 2, 3].map((n) => made.client.send("s", n));
    await expect(own[0]).rejects.toBeInstanceOf(QueueOverflowError);
    expect(made.client.waiting).toBe(12);
    expect(made.client.queue.filter(({ restored }) => restored).map(({ id }) => id)).toEqual(messages.map(({ id }) => id));
  });

  test("in FAILED what it holds stays there, and the errors say so", async () => {
    const removed: string[] = [];
    let released = 0;
    const store = { save() {}, remove: (id: string) => void removed.push(id), holds: () => true, release: () => void released++ };
    const { client, server } = await connected({ store });
    server.intercept = mute;
    const sent = client.send("s", 1);
    await settle();
    server.socket.deliver({ type: "BYE", code: 4503, reason: "", reconnect: false });
    await expect(sent).rejects.toMatchObject({ name: "OutcomeUnknown", retained: true });
    expect([removed, released, client.waiting]).toEqual([[], 1, 0]);
    // Numbers and `settled` of the old producer are now another outbox's.
    const before = server.socket.of("MESSAGE")[0]!["producer"];
    server.intercept = null;
    client.retry();
    await settle(100);
    await Promise.all([client.send("s", 2), settle()]);
    expect(server.socket.of("MESSAGE")[0]).toMatchObject({ n: 1 });
    expect(server.socket.of("MESSAGE")[0]!["producer"]).not.toBe(before);
  });
});

test("the flush rate", async () => {
  const made = world();
  for (const n of [1, 2]) void made.client.send("s", n);
  await settle();
  expect(made.recorder.counters).toMatchObject({ reconnect_flush_attempted_total: 2, reconnect_flush_succeeded_total: 2 });
  const rates = made.recorder.values.filter(({ name }) => name === "reconnect_flush_success_rate");
  expect(rates.map(({ value }) => value)).toEqual([0.5, 1]);
});

import { describe, expect, test, vi } from "vitest";
import { backoffCeiling, calculateBackoff } from "../src/backoff.ts";
import { tokenBucket } from "../src/bucket.ts";
import { after, systemClock } from "../src/clock.ts";
import { createEmitter } from "../src/emitter.ts";
import { Rejected } from "../src/errors.ts";
import { readFrame } from "../src/frames.ts";
import { LamportClock } from "../src/lamport.ts";
import { secureRandom, uuid4 } from "../src/random.ts";
import { Receipts } from "../src/receipts.ts";
import { environment, safeRecorder } from "../src/recorder.ts";
import { describe as text, worst } from "../src/sync.ts";
import { resolveUrl, socketTransport } from "../src/transport.ts";
import { useFakeTime } from "./harness.ts";

useFakeTime();

describe("backoff", () => {
  test("jitters downward, even at the cap", () => {
    for (let attempt = 0; attempt < 20; attempt++) {
      const ceiling = backoffCeiling(attempt, 500, 20_000);
      const waits = Array.from({ length: 200 }, () => calculateBackoff(attempt, 500, 20_000));
      expect(Math.max(...waits)).toBeLessThan(ceiling);
      expect(new Set(waits).size).toBeGreaterThan(150);
    }
  });

  test.each([
    [0, 0, 1],
    [0, 1, 0],
    [0, -1, 1],
    [0, NaN, 1],
    [0, 1, Infinity],
    [NaN, 1, 1],
  ])("bad bounds throw: %d %d %d", (attempt, base, max) => {
    expect(() => calculateBackoff(attempt, base, max)).toThrow(RangeError);
  });

  test("attempts below zero are zero", () => expect(backoffCeiling(-3, 500, 20_000)).toBe(500));
});

describe("random", () => {
  test("in [0, 1)", () => {
    for (let i = 0; i < 1_000; i++) {
      const value = secureRandom();
      expect(value >= 0 && value < 1).toBe(true);
    }
  });

  test("uuid4 with and without crypto.randomUUID", () => {
    const v4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
    expect(uuid4()).toMatch(v4);
    vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    const ids = Array.from({ length: 100 }, uuid4);
    for (const id of ids) expect(id).toMatch(v4);
    expect(new Set(ids).size).toBe(100);
  });
});

test("the token bucket says how long to wait", () => {
  const bucket = tokenBucket(10, 2, 0);
  expect([bucket(0), bucket(0), bucket(0), bucket(50), bucket(100)]).toEqual([0, 0, 100, 50, 0]);
  expect([bucket(10_000), bucket(10_000), bucket(10_000)]).toEqual([0, 0, 100]);
});

test("Lamport time only rises, and nonsense doesn't move it", () => {
  const clock = new LamportClock();
  for (const time of [5, 3, "9", NaN, 1e300, null]) clock.observe(time);
  expect([clock.time, clock.tick(), clock.time]).toEqual([5, 6, 6]);
});

test("after() leaves neither timer nor listener", () => {
  const run = vi.fn();
  const controller = new AbortController();
  after(systemClock, 10, controller.signal, run);
  const stop = after(systemClock, 10, controller.signal, run);
  stop();
  vi.advanceTimersByTime(10);
  expect(run).toHaveBeenCalledOnce();
  after(systemClock, 10, controller.signal, run);
  controller.abort();
  expect(vi.getTimerCount()).toBe(0);
  after(systemClock, 10, controller.signal, run);
  expect(vi.getTimerCount()).toBe(0);
  after(systemClock, 1e12, new AbortController().signal, run);
  vi.advanceTimersByTime(1);
  expect(run).toHaveBeenCalledOnce();
});

describe("emitter", () => {
  test("a listener that throws hurts nobody", () => {
    const thrown = vi.fn();
    const heard = vi.fn();
    const emitter = createEmitter<{ x: number }>(thrown);
    emitter.on("x", () => {
      throw new Error("bug");
    });
    emitter.on("x", heard);
    expect(emitter.emit("x", 1)).toBe(true);
    expect(heard).toHaveBeenCalledWith(1);
    expect(thrown).toHaveBeenCalledOnce();
  });

  test("off, signals, clear", () => {
    const heard = vi.fn();
    const emitter = createEmitter<{ x: number }>(() => {});
    const controller = new AbortController();
    const off = emitter.on("x", heard);
    emitter.on("x", heard);
    emitter.on("x", heard, controller.signal);
    emitter.on("x", heard, AbortSignal.abort());
    emitter.emit("x", 1);
    expect(heard).toHaveBeenCalledTimes(3);
    off();
    off();
    controller.abort();
    emitter.emit("x", 1);
    expect(heard).toHaveBeenCalledTimes(4);
    emitter.clear();
    expect(emitter.emit("x", 1)).toBe(false);
  });
});

test("a recorder that throws is survived", () => {
  const fail = () => {
    throw new Error("bug");
  };
  const recorder = safeRecorder({ count: fail, observe: fail, gauge: fail });
  recorder.count("x");
  recorder.observe("x", 1);
  recorder.gauge("x", 1);
});

test.each([
  ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36", "chromium"],
  ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "firefox"],
  ["Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", "safari"],
  ["node", "other"],
])("environment of %s", (agent, expected) => expect(environment(agent)).toBe(expected));

test("receipts: lost where another key stands, silent where a snapshot jumped over or another epoch begins", () => {
  const receipts = new Receipts();
  const entry = (seq: number, key: string | null) => ({ seq, key }) as never;
  for (const seq of [1, 2, 3, 8, 9]) receipts.keep(seq, `m${seq}`, "e");
  expect(receipts.passed("s", "e", [entry(1, "m1"), entry(2, null)])).toEqual([{ id: "m2", stream: "s", seq: 2 }]);
  receipts.jumped(5);
  expect(receipts.passed("s", "e", [entry(3, null)])).toEqual([]);
  expect(receipts.passed("s", "other", [entry(8, null)])).toEqual([]);
  expect(receipts.passed("s", "e", [entry(9, null)])).toEqual([{ id: "m9", stream: "s", seq: 9 }]);
  expect(receipts.passed("s", "e", [entry(9, null)])).toEqual([]);
});

describe("sync", () => {
  test("the least fresh stream decides", () => {
    const live = { kind: "live", waiting: 0 } as const;
    expect(worst([], 2)).toEqual({ kind: "live", waiting: 2 });
    expect(worst([live, { kind: "catching-up", n: 2, waiting: 0 }, { kind: "catching-up", n: 3, waiting: 0 }], 0)).toEqual({
      kind: "catching-up",
      n: 5,
      waiting: 0,
    });
    const stale = (since: number) => ({ kind: "stale", since, waiting: 0 }) as const;
    expect(worst([stale(9), live, stale(5)], 1)).toEqual({ kind: "stale", since: 5, waiting: 1 });
  });

  test("in words", () => {
    const since = new Date(2026, 0, 1, 4, 5, 6).getTime();
    expect(text({ kind: "live", waiting: 0 })).toBe("live");
    expect(text({ kind: "live", waiting: 3 })).toBe("3 waiting");
    expect(text({ kind: "catching-up", n: 7, waiting: 0 })).toBe("catching up (7)");
    expect(text({ kind: "stale", since, waiting: 0 })).toBe("stale since 04:05:06");
    expect(text({ kind: "stale", since, waiting: 1 })).toBe("stale since 04:05:06, 1 waiting");
  });
});

test("Rejected says what there is to say", () => {
  expect(new Rejected(403, "FORBIDDEN", "no", ["a", "b"]).message).toBe("403 FORBIDDEN (a, b): no");
  expect(new Rejected(422, "full", { left: 0 }).message).toBe("422 full");
});

test("frames that are not text are no frames", () => {
  for (const data of [undefined, null, 7, new ArrayBuffer(2), "", "{"]) expect(() => readFrame(data)).toThrow("not JSON");
});

describe("transport", () => {
  test.each([
    ["/ws/board/", "http://example.org/board/?x#y", "ws://example.org/ws/board/"],
    ["/ws/board/", "https://example.org:8443/", "wss://example.org:8443/ws/board/"],
    ["ws/", "https://example.org/a/b", "wss://example.org/a/ws/"],
    ["wss://other.org/x?y=1#z", "http://example.org/", "wss://other.org/x?y=1"],
    ["https://other.org/x", undefined, "wss://other.org/x"],
  ])("%s at %s is %s", (url, base, expected) => expect(resolveUrl(url, base)).toBe(expected));

  test("what is not for WebSockets throws", () => {
    expect(() => resolveUrl("ftp://x/")).toThrow(TypeError);
    expect(() => resolveUrl("/ws/", undefined)).toThrow(TypeError);
  });

  test("an error before the open is the end, an error after it waits for the close", () => {
    const ended = vi.fn();
    const sockets: { onopen: unknown; onerror: unknown; onclose: unknown; protocol: string }[] = [];
    class Socket {
      readyState = 1;
      protocol = "reconnect.v1";
      onopen = null;
      onmessage = null;
      onerror = null;
      onclose = null;
      constructor() {
        sockets.push(this);
      }
      send() {}
      close() {}
    }
    const open = () => {
      socketTransport("ws://x/", Socket)({ opened() {}, received() {}, ended });
      return sockets.at(-1) as { onopen(): void; onerror(): void; onclose(event: object): void };
    };
    open().onerror();
    expect(ended).toHaveBeenCalledExactlyOnceWith({ code: 1006, reason: "can't connect" });
    const second = open();
    second.onopen();
    second.onerror();
    second.onclose({ code: 4012 });
    expect(ended.mock.lastCall).toEqual([{ code: 4012, reason: "" }]);
  });

  test("a socket that throws in send and close is survived", () => {
    const fail = () => {
      throw new Error("InvalidStateError");
    };
    class Broken {
      readyState = 1;
      protocol = "";
      onopen = null;
      onmessage = null;
      onerror = null;
      onclose = null;
      send = fail;
      close = fail;
    }
    const transport = socketTransport("ws://x/", Broken)({ opened() {}, received() {}, ended() {} });
    expect(transport.send("x")).toBe(false);
    transport.close(1000, "");
  });
});

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../src/clock.ts";
import { StateTransitionError } from "../src/errors.ts";
import { LamportClock } from "../src/lamport.ts";
import { Cursor } from "../src/cursor.ts";
import { limitsOf, type SyncDelta } from "../src/frames.ts";
import type { Sending } from "../src/item.ts";
import { createOutbox } from "../src/outbox.ts";
import { StateMachine, TRANSITIONS, type State } from "../src/state-machine.ts";
import { FakeLog, FakeServer } from "../src/testing.ts";
import { collector, settle, world } from "./harness.ts";

const STATES = Object.keys(TRANSITIONS) as State[];

describe("the state machine", () => {
  test("random walks: legal moves happen, all others throw, count and change nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...STATES), { maxLength: 60 }), (walk) => {
        const changes: string[] = [];
        const machine = new StateMachine(() => ++counted > 0, ({ from, to }) => changes.push(`${from}>${to}`));
        let illegal = 0;
        let counted = 0;
        for (const to of walk) {
          const from = machine.state;
          const { signal } = machine;
          const told = changes.length;
          if (from === to) machine.transition(to, "");
          else if (TRANSITIONS[from].includes(to)) {
            machine.transition(to, "");
            expect(machine.state).toBe(to);
            expect(signal.aborted).toBe(true);
            expect(changes.at(-1)).toBe(`${from}>${to}`);
          } else {
            illegal++;
            expect(() => machine.transition(to, "")).toThrow(StateTransitionError);
          }
          if (from === to || !TRANSITIONS[from].includes(to)) {
            expect(machine.state).toBe(from);
            expect(machine.signal).toBe(signal);
            expect(signal.aborted).toBe(false);
            expect(changes).toHaveLength(told);
          }
          expect(machine.signal.aborted).toBe(false);
        }
        expect(counted).toBe(illegal);
      }),
    );
  });
});

test("an abort that throws doesn't stop a transition", () => {
  const machine = new StateMachine(() => false, () => {});
  const abort = vi.spyOn(AbortController.prototype, "abort").mockImplementation(() => {
    throw new Error("a listener's bug");
  });
  machine.transition("RECONNECTING", "");
  expect(machine.state).toBe("RECONNECTING");
  expect(abort).toHaveBeenCalledOnce();
  abort.mockRestore();
});

describe("the cursor", () => {
  test("whatever frames come, what was applied is a gapless prefix of the log", () => {
    const log = new FakeLog();
    for (let i = 1; i <= 30; i++) log.append(i);
    const frame = fc
      .tuple(fc.nat(30), fc.nat(30), fc.constantFrom("good", "good", "good", "sum", "epoch", "lacks", "twice"))
      .map(([a, b, fault]) => {
        const delta = log.delta("s", Math.min(a, b), Math.max(a, b)) as SyncDelta & { payload: never[] };
        if (fault === "sum") return { ...delta, checksum: delta.checksum + 1 };
        if (fault === "epoch") return { ...delta, epoch: "other" };
        if (fault === "lacks") return { ...delta, payload: delta.payload.slice(0, -1) };
        if (fault === "twice") return { ...delta, payload: [...delta.payload, ...delta.payload.slice(-1)] };
        return delta;
      });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 60 }), (frames) => {
        const cursor = new Cursor();
        cursor.position = { epoch: log.epoch, seq: 0, checksum: 0 };
        const applied: unknown[] = [];
        for (const delta of frames) {
          const outcome = cursor.delta(delta);
          if (typeof outcome !== "string") applied.push(...outcome.map(({ payload }) => payload));
          expect(applied).toEqual(log.entries.slice(0, cursor.position.seq).map(({ payload }) => payload));
          expect(cursor.position.checksum).toBe(log.checksum(cursor.position.seq));
        }
      }),
    );
  });
});

describe("with fake time", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const action = fc.oneof(
    { weight: 9, arbitrary: fc.record({ do: fc.constant("send" as const), stream: fc.constantFrom("a", "b", "c") }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("ack", "final", "retry", "failed", "order"), pick: fc.nat(50) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("open", "open", "down") }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("abort", "abandon") }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(5_000) }) },
  );

  test("the outbox: bounded, FIFO a stream, n rising without holes, sent never evicted, every promise settles once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 120 }), async (actions) => {
        const CAP = 5;
        const wire: { id: string; n: number; stream: string; settled: number }[] = [];
        const sentIds = new Set<string>();
        const evicted: string[] = [];
        const order = new Map<string, string[]>();
        const outcomes = new Map<string, number>();
        const promises: Sending[] = [];
        const answered = new Set<string>();
        const outbox = createOutbox(
          {
            clock: systemClock,
            random: () => 0.5,
            lamport: new LamportClock(),
            maxQueue: CAP,
            maxQueueBytes: 1e6,
            keeper: undefined,
            checking: undefined,
            emit(event, value) {
              if (event === "evict") evicted.push((value as { entry: { id: string } }).entry.id);
              if (event === "queueChange") expect((value as { waiting: number }).waiting).toBeLessThanOrEqual(CAP);
              return true;
            },
            error() {},
            changed() {},
          },
          {
            transmit(text) {
              const frame = JSON.parse(text) as (typeof wire)[number];
              wire.push(frame);
              sentIds.add(frame.id);
              return true;
            },
            waitFor: () => 0,
            acked() {},
          },
        );
        let signal = new AbortController();
        for (const step of actions) {
          const inFlight = outbox.queue.filter(({ state }) => state === "sent");
          if ("stream" in step) {
            const promise = outbox.send(step.stream, promises.length, signal.signal);
            promises.push(promise);
            const settled = () => outcomes.set(promise.id, (outcomes.get(promise.id) ?? 0) + 1);
            promise.then(settled, settled);
            if (outbox.queue.some(({ id }) => id === promise.id)) {
              order.set(step.stream, [...(order.get(step.stream) ?? []), promise.id]);
            }
          } else if ("ms" in step) await settle(step.ms);
          else if ("pick" in step) {
            const entry = inFlight[step.pick % Math.max(inFlight.length, 1)];
            if (!entry) continue;
            const { id } = entry;
            if (step.do === "ack") outbox.ack({ type: "ACK", id, epoch: null, seq: null, result: 1, duplicate: false });
            else {
              const reason = { final: "X", retry: "IN_PROGRESS", failed: "FAILED", order: "ORDER" }[step.do]!;
              outbox.reject({ type: "REJECT", id, code: 500, reason, retry: step.do !== "final", retry_after_ms: 5 });
            }
            if (!outbox.queue.some((waiting) => waiting.id === id)) answered.add(id);
          } else if (step.do === "open") outbox.open(limitsOf({ in_flight: 3 }));
          else if (step.do === "down") outbox.down();
          else if (step.do === "abandon") outbox.abandon("test");
          else {
            signal.abort();
            signal = new AbortController();
          }
          expect(outbox.waiting).toBeLessThanOrEqual(CAP);
          await settle();
        }
        outbox.abandon("the end");
        await settle();
        for (const { id } of promises) expect(outcomes.get(id)).toBe(1);
        for (const id of evicted) expect(sentIds.has(id)).toBe(false);
        for (const stream of ["a", "b", "c"]) {
          const frames = wire.filter((frame) => frame.stream === stream);
          const firsts = frames.filter((frame, index) => frames.findIndex(({ id }) => id === frame.id) === index);
          // n: 1, 2, 3… in the order of first transmission, one for a message's whole life
          expect(firsts.map(({ n }) => n)).toEqual(firsts.map((_, index) => index + 1));
          for (const { id, n } of frames) expect(firsts.find((first) => first.id === id)!.n).toBe(n);
          // FIFO: first transmissions follow the order of send()
          const queued = order.get(stream) ?? [];
          const places = firsts.map(({ id }) => queued.indexOf(id));
          expect(places).toEqual([...places].sort((a, b) => a - b));
          // settled never claims an unanswered one
          for (const { settled, n } of frames) expect(settled).toBeLessThan(n);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("a client under random faults: at the end every screen is the log, every message took effect once, in order", async () => {
    const fault = fc.oneof(
      fc.record({ do: fc.constantFrom("drop", "publish", "send", "swallow", "garble", "newEpoch", "bye", "subscriber") }),
      fc.record({ do: fc.constant("wait"), ms: fc.nat(4_000) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 40 }), async (faults) => {
        const server = new FakeServer();
        const { client, heard } = world({ baseMs: 100, maxMs: 1_000 }, server);
        const log = server.log("s");
        const screens = [collector()];
        client.subscribe("s", screens[0]!);
        const sent: Sending[] = [];
        let published = 0;
        for (const step of faults) {
          const socket = server.sockets.at(-1)!;
          if ("ms" in step) await settle(step.ms as number);
          else if (step.do === "drop") server.drop();
          else if (step.do === "publish") server.publish("s", `p${published++}`);
          else if (step.do === "send") sent.push(client.send("s", `m${sent.length}`));
          else if (step.do === "swallow") log.append(`p${published++}`);
          else if (step.do === "garble") socket.deliver({ ...log.delta("s", 0), checksum: 1 });
          else if (step.do === "bye") {
            socket.deliver({ type: "BYE", code: 4012, reason: "", reconnect: true, retry_after_ms: [0, 500] });
            server.drop();
          } else if (step.do === "newEpoch") {
            log.epoch = `${log.epoch}x`;
            server.drop();
          } else {
            const screen = collector();
            screens.push(screen);
            client.subscribe("s", screen);
          }
          await settle(step.do === "send" ? 0 : 1);
        }
        for (let i = 0; i < 3; i++) {
          await settle(5_000);
          server.ping();
        }
        await settle(3_000);
        expect(client.state).toBe("CONNECTED");
        expect(client.sync).toEqual({ kind: "live", waiting: 0 });
        const truth = log.entries.map(({ payload }) => payload);
        for (const { seen } of screens) {
          const from = seen.map((item) => typeof item).lastIndexOf("object");
          expect(seen.slice(from + 1)).toEqual(truth);
        }
        await Promise.all(sent);
        expect(server.applied.map(({ payload }) => payload)).toEqual(sent.map((_, i) => `m${i}`));
        expect(heard["error"]).toEqual([]);
        client.close();
        expect(vi.getTimerCount()).toBe(0);
      }),
      { numRuns: 60 },
    );
  }, 40_000);
});

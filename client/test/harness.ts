import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { connect, type Client } from "../src/index.ts";
import type { Options } from "../src/options.ts";
import type { Recorder } from "../src/recorder.ts";
import type { SubscribeOptions } from "../src/stream.ts";
import { FakeServer } from "../src/testing.ts";

/** These tests run with the core, too. */
const core = process.env["BUNDLE"] === "core";
let skip: (note?: string) => never;

/** A test of what the core doesn't have. */
export const wholeTest = test.skipIf(core);

/** A test that looks at what the core lacks is the whole client's, and skipped with the core. */
function wholeOnly<T extends object>(object: T, lacking: readonly string[]): T {
  if (!core) return object;
  return new Proxy(object, {
    get(target, name) {
      if (lacking.includes(String(name))) skip(`the core has no ${String(name)}`);
      return Reflect.get(target, name) as unknown;
    },
  });
}

/** Fake timers around every test of the file; microtasks stay real. */
export function useFakeTime(): void {
  beforeEach((context) => {
    skip = context.skip;
    vi.useFakeTimers({
      now: 1_000_000,
      toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** Lets everything happen that needs no time: sockets, frames, microtasks. */
export const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

export interface Metrics extends Recorder {
  readonly counters: Record<string, number>;
  readonly values: { name: string; value: number; labels: unknown }[];
}

export function metrics(): Metrics {
  const counters: Record<string, number> = {};
  const values: Metrics["values"] = [];
  return {
    counters,
    values,
    count: (name, value = 1) => (counters[name] = (counters[name] ?? 0) + value),
    observe: (name, value, labels) => values.push({ name, value, labels }),
    gauge: (name, value, labels) => values.push({ name, value, labels }),
  };
}

export interface World {
  readonly server: FakeServer;
  readonly client: Client;
  readonly recorder: Metrics;
  /** Everything the client emitted, by event. */
  readonly heard: Record<string, unknown[]>;
}

const EVENTS = [
  "stateChange",
  "syncChange",
  "queueChange",
  "highWater",
  "evict",
  "lost",
  "error",
  "handshake",
  "message",
  "change",
] as const;

/** A client and its server. The random is 0.5 unless given. */
export function world(options: Options = {}, server = new FakeServer()): World {
  if (core && (options.store || options.traceparent)) skip("the core keeps nothing, and measures nothing");
  const recorder = metrics();
  const client = connect("ws://test/ws/", {
    WebSocket: server.WebSocket,
    networkAware: false,
    random: () => 0.5,
    recorder,
    ...options,
  });
  const heard: Record<string, unknown[]> = {};
  for (const event of EVENTS) {
    heard[event] = [];
    client.on(event, (value) => heard[event]!.push(value));
  }
  return {
    server,
    client: wholeOnly(client, ["sync", "snapshot", "role"]),
    recorder: wholeOnly(recorder, ["counters", "values"]),
    heard: wholeOnly(heard, ["handshake", "syncChange", "change"]),
  };
}

/** A world that is connected. */
export async function connected(options: Options = {}, server = new FakeServer()): Promise<World> {
  const made = world(options, server);
  await settle();
  expect(made.client.state).toBe("CONNECTED");
  return made;
}

/** What a subscriber saw: payloads, and snapshots as {state}. */
export function collector(): SubscribeOptions & { readonly seen: unknown[] } {
  const seen: unknown[] = [];
  return {
    seen,
    onSnapshot: (state) => void seen.push({ state }),
    onEvents: (entries) => void seen.push(...entries.map((entry) => entry.payload)),
  };
}

export const states = ({ heard }: World) =>
  heard["stateChange"]!.map((change) => (change as { to: string }).to).join(" ");

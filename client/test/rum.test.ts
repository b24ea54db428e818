import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, ClientEvents, Snapshot } from "../src/public.ts";
import { rumRecorder, type RumOptions } from "../src/rum.ts";
import { FakeServer } from "../src/testing.ts";
import { world } from "./harness.ts";

interface Told {
  readonly name: string;
  readonly detail: Record<string, unknown>;
}

const clear = () => {
  performance.clearMarks();
  performance.clearMeasures();
};
beforeEach(clear);
afterEach(clear);

/** A recorder with a window of its own, and what that window heard. */
function page(options: RumOptions = {}) {
  const target = new EventTarget();
  const told: Told[] = [];
  for (const name of ["drop", "backoff", "attempt", "connect", "outage", "handover"]) {
    target.addEventListener(`reconnect-channels:${name}`, (event) => told.push({ name, detail: (event as CustomEvent).detail }));
  }
  const recorder = rumRecorder({ target, ...options });
  const of = (name: string) => told.filter((one) => one.name === name).map(({ detail }) => detail);
  return { recorder, told, of };
}

const entries = (name: string) => performance.getEntriesByName(`reconnect-channels:${name}`) as PerformanceMeasure[];

/** A page whose client lost its connection, failed once to come back, and is live again. */
async function outage(options: RumOptions = {}) {
  const server = new FakeServer();
  const shown = page(options);
  const { client } = world({ recorder: shown.recorder, baseMs: 20, maxMs: 40 }, server);
  shown.recorder.follow(client);
  await vi.waitFor(() => expect(shown.of("connect")).toHaveLength(1));
  server.accepts = false;
  server.drop(1006);
  await vi.waitFor(() => expect(server.sockets).toHaveLength(2));
  server.accepts = true;
  server.socket.drop(1006);
  await vi.waitFor(() => expect(shown.of("outage")).toHaveLength(1));
  client.close();
  return shown;
}

test("a page is told of the drop, each wait and attempt, and the whole outage", async () => {
  const { told, of } = await outage();
  expect(told.map(({ name }) => name)).toEqual([
    ...["attempt", "connect"],
    ...["drop", "backoff", "attempt", "backoff", "attempt", "outage"],
  ]);
  expect(of("attempt").map(({ outcome }) => outcome)).toEqual(["connected", "failed", "connected"]);
  expect(of("drop")[0]).toMatchObject({ reason: "1006" });
  expect(of("outage")[0]).toMatchObject({ outcome: "live", reason: "1006", attempts: 2, role: "solo" });
  const waits = of("backoff").map(({ ms }) => ms as number);
  expect(of("outage")[0]!["ms"]).toBeGreaterThanOrEqual(waits[0]! + waits[1]! - 2);
});

test("each wait says whether it is at the cap", async () => {
  const { of } = await outage();
  expect(of("backoff").map(({ capped }) => capped)).toEqual([true, true]);
  const { recorder, of: other } = page();
  recorder.observe("reconnect_backoff_delay_seconds", 0.5);
  recorder.count("reconnect_backoff_capped_total");
  recorder.observe("reconnect_backoff_delay_seconds", 20);
  recorder.observe("reconnect_backoff_delay_seconds", 0.5);
  expect(other("backoff").map(({ capped }) => capped)).toEqual([false, true, false]);
});

test("the timeline shows the same: measures one after the other within the outage", async () => {
  const { of } = await outage();
  expect(entries("drop")).toHaveLength(1);
  const [whole] = entries("outage");
  expect(whole!.duration).toBeCloseTo(of("outage")[0]!["ms"] as number, 3);
  expect(whole!.detail).toEqual(of("outage")[0]);
  const waits = entries("backoff");
  const attempts = entries("attempt").slice(1);
  expect([waits.length, attempts.length]).toEqual([2, 2]);
  const parts = [waits[0]!, attempts[0]!, waits[1]!, attempts[1]!];
  for (const [n, part] of parts.entries()) {
    const before = parts[n - 1];
    if (before) expect(part.startTime).toBeGreaterThanOrEqual(before.startTime + before.duration - 0.01);
    expect(part.startTime).toBeGreaterThanOrEqual(whole!.startTime - 1);
    expect(part.startTime + part.duration).toBeLessThanOrEqual(whole!.startTime + whole!.duration + 1);
  }
});

test("each event has the network quality of its moment, where the browser tells", async () => {
  const connection = { effectiveType: "2g", rtt: 1800, downlink: 0.25, saveData: true };
  vi.stubGlobal("navigator", { userAgent: "", onLine: true, connection });
  const { told } = await outage();
  for (const { detail } of told) expect(detail).toMatchObject({ online: true, ...connection });
  expect(entries("outage")[0]!.detail).toMatchObject(connection);
});

test("a browser that tells nothing of its network costs nothing", async () => {
  vi.stubGlobal("navigator", undefined);
  const { of } = await outage();
  expect(of("outage")[0]).not.toHaveProperty("effectiveType");
});

test("entries of the timeline don't pile up", () => {
  const { recorder } = page({ keep: 10 });
  for (let n = 1; n <= 35; n++) {
    recorder.observe("reconnect_backoff_delay_seconds", 0.001);
    recorder.observe("reconnect_attempt_duration_seconds", 0.001, { outcome: "failed" });
    expect(entries("attempt").length).toBeLessThanOrEqual(10);
    expect(entries("backoff").length).toBeLessThanOrEqual(10);
  }
  expect(entries("attempt")).toHaveLength(5);
});

test("entries of others stay on the timeline", () => {
  performance.mark("theirs");
  const { recorder } = page({ keep: 1 });
  for (let n = 0; n < 3; n++) recorder.observe("reconnect_attempt_duration_seconds", 0.001, { outcome: "failed" });
  expect(performance.getEntriesByName("theirs")).toHaveLength(1);
});

test("names begin as the page wants", () => {
  const target = new EventTarget();
  const heard: string[] = [];
  target.addEventListener("app.attempt", ({ type }) => heard.push(type));
  rumRecorder({ target, prefix: "app." }).observe("reconnect_attempt_duration_seconds", 0.1, { outcome: "connected" });
  expect(heard).toEqual(["app.attempt"]);
  expect(performance.getEntriesByName("app.attempt")).toHaveLength(1);
});

test("an outage that a page sleeps through is closed, and another begins when it wakes up", async () => {
  const { of, recorder } = page();
  const { client, emit } = double("solo");
  recorder.follow(client);
  emit("RECONNECTING", "stale");
  emit("DISCONNECTED", "stale");
  emit("RECONNECTING", "stale", [], "pageshow");
  emit("CONNECTED", "live");
  expect(of("outage").map(({ outcome, reason }) => [outcome, reason])).toEqual([
    ["closed", "1006"],
    ["live", "pageshow"],
  ]);
});

test("an outage after which another tab leads is a hand-over, also for who follows", () => {
  for (const [role, leads] of [
    ["leader", true],
    ["follower", false],
  ] as const) {
    const { of, recorder } = page();
    const tab = (id: string, leader: boolean) => ({ id, leader, mine: id === "b", visible: true });
    const { client, emit } = double("follower", [tab("a", true), tab("b", false)]);
    recorder.follow(client);
    emit("RECONNECTING", "stale");
    emit("CONNECTED", "live", [tab("b", leads), tab("c", !leads)], "", role);
    expect(of("handover")).toEqual([expect.objectContaining({ outcome: "live", role })]);
    expect(of("outage")).toEqual([]);
    // Its own connection drops, and stays its own.
    emit("RECONNECTING", "stale", [tab("b", leads), tab("c", !leads)], "1006", role);
    emit("CONNECTED", "live", [tab("b", leads), tab("c", !leads)], "", role);
    expect(of("outage")).toHaveLength(1);
  }
});

/** A client that is live, and whose events a test makes. */
function double(role: Snapshot["role"], tabs: Snapshot["tabs"] = []) {
  const listeners: { [K in keyof ClientEvents]?: (value: ClientEvents[K]) => void } = {};
  const snapshot = (state: string, kind: string, shown = tabs, now = role) =>
    ({ state, sync: { kind }, tabs: shown, role: now, streams: {} }) as unknown as Snapshot;
  const client = {
    state: "CONNECTED",
    snapshot: snapshot("CONNECTED", "live"),
    on: (event: keyof ClientEvents, listener: never) => (listeners[event] = listener),
  } as unknown as Client;
  const emit = (to: string, kind: string, shown = tabs, reason = "1006", now = role) => {
    listeners.stateChange!({ from: "DISCONNECTED", to, reason } as ClientEvents["stateChange"]);
    listeners.change!(snapshot(to, kind, shown, now));
  };
  return { client, emit };
}

import fc from "fast-check";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { recorders, safeRecorder, type Recorder, type Transition } from "../src/recorder.ts";
import { telemetryRecorder } from "../src/telemetry.ts";
import { FakeServer } from "../src/testing.ts";
import { metrics as seenMetrics, settle, useFakeTime, world } from "./harness.ts";

useFakeTime();

type Metrics = Readonly<Record<string, number>>;

/** A recorder whose reports are kept, while the link is up. */
function reporting() {
  const recorder = telemetryRecorder();
  const reports: Metrics[] = [];
  const link = { up: true };
  recorder.attach((metrics) => {
    if (link.up) reports.push({ ...metrics });
    return link.up;
  });
  return { recorder, reports, link };
}

async function connectedClient(server = new FakeServer()) {
  const recorder = telemetryRecorder();
  const made = world({ recorder }, server);
  recorder.follow(made.client);
  await settle();
  const frames = () => server.sockets.flatMap((socket) => socket.of("TELEMETRY"));
  return { ...made, recorder, frames };
}

test("what belongs together goes in one report, a second after it began", async () => {
  const { recorder, reports } = reporting();
  recorder.count("reconnect_flush_attempted_total", 3);
  await settle(500);
  recorder.count("reconnect_flush_succeeded_total");
  recorder.count("reconnect_flush_succeeded_total");
  await settle(499);
  expect(reports).toEqual([]);
  await settle(1);
  expect(reports).toEqual([{ reconnect_flush_attempted_total: 3, reconnect_flush_succeeded_total: 2 }]);
});

test("a counter is reported by its increase, nothing where nothing changed", async () => {
  const { recorder, reports } = reporting();
  recorder.count("reconnect_backoff_capped_total");
  await settle(60_000);
  recorder.count("reconnect_flush_attempted_total", 0);
  await settle(60_000);
  recorder.count("reconnect_backoff_capped_total", 2);
  await settle(60_000);
  expect(reports).toEqual([{ reconnect_backoff_capped_total: 1 }, { reconnect_backoff_capped_total: 2 }]);
});

test("a histogram is reported by its largest value, its count and its sum, a gauge by its value", async () => {
  const { recorder, reports } = reporting();
  for (const depth of [1, 5, 2]) recorder.observe("ws_queue_depth", depth);
  recorder.gauge("reconnect_flush_success_rate", 0.2);
  recorder.gauge("reconnect_flush_success_rate", 0.9);
  await settle(1_000);
  const depth = { ws_queue_depth: 5, ws_queue_depth_count: 3, ws_queue_depth_sum: 8 };
  expect(reports).toEqual([{ ...depth, reconnect_flush_success_rate: 0.9 }]);
});

test("transitions go one by one, with their ages, the latest 32", async () => {
  const recorder = telemetryRecorder();
  const reports: (readonly Transition[] | undefined)[] = [];
  recorder.attach((_, transitions) => reports.push(transitions) > 1);
  recorder.count("reconnect_fsm_transitions_total", 1, { from: "CONNECTED", to: "DISCONNECTED" });
  await settle(300);
  recorder.count("reconnect_fsm_transitions_total", 1, { from: "DISCONNECTED", to: "RECONNECTING" });
  await settle(700);
  const steps = [
    [1_000, "CONNECTED", "DISCONNECTED"],
    [700, "DISCONNECTED", "RECONNECTING"],
  ];
  expect(reports).toEqual([steps]);
  for (let n = 0; n < 40; n++) recorder.count("reconnect_fsm_transitions_total", 1, { from: String(n), to: "FAILED" });
  await settle(11_000);
  expect(reports[1]!.map(([, from]) => from)).toEqual(Array.from({ length: 32 }, (_, n) => String(n + 8)));
});

test("an empty queue is a value, too", async () => {
  const { recorder, reports } = reporting();
  recorder.observe("ws_queue_depth", 0);
  await settle(1_000);
  expect(reports).toEqual([{ ws_queue_depth: 0, ws_queue_depth_count: 1 }]);
});

test("attempts that failed are counted, and timed apart from those that connected", async () => {
  const { recorder, reports } = reporting();
  recorder.observe("reconnect_attempt_duration_seconds", 8, { outcome: "timeout" });
  recorder.observe("reconnect_attempt_duration_seconds", 2, { outcome: "failed" });
  recorder.observe("reconnect_attempt_duration_seconds", 3, { outcome: "aborted" });
  recorder.observe("reconnect_attempt_duration_seconds", 0.5, { outcome: "connected" });
  await settle(1_000);
  expect(reports).toEqual([
    {
      reconnect_attempts_failed_total: 2,
      reconnect_failed_attempt_duration_seconds: 8,
      reconnect_failed_attempt_duration_seconds_count: 2,
      reconnect_failed_attempt_duration_seconds_sum: 10,
      reconnect_attempt_duration_seconds: 0.5,
      reconnect_attempt_duration_seconds_count: 1,
      reconnect_attempt_duration_seconds_sum: 0.5,
    },
  ]);
});

test("what is no number never leaves", async () => {
  const { recorder, reports } = reporting();
  recorder.gauge("reconnect_flush_success_rate", NaN);
  recorder.observe("ws_queue_depth", Infinity);
  await settle(60_000);
  expect(reports.flatMap((report) => Object.values(report)).every(Number.isFinite)).toBe(true);
});

test("reports are 10 s apart at least, however much is recorded", async () => {
  const { recorder, reports } = reporting();
  const times: number[] = [];
  let seen = 0;
  for (let n = 0; n < 600; n++) {
    recorder.count("reconnect_holes_healed_total");
    await settle(100);
    if (reports.length > seen) times.push(performance.now());
    seen = reports.length;
  }
  expect(times.length).toBeGreaterThanOrEqual(5);
  for (let n = 1; n < times.length; n++) expect(times[n]! - times[n - 1]!).toBeGreaterThan(10_000);
});

test("a report that the link didn't take merges into the next", async () => {
  const { recorder, reports, link } = reporting();
  link.up = false;
  recorder.count("reconnect_backoff_capped_total", 2);
  recorder.observe("reconnect_backoff_delay_seconds", 4);
  await settle(30_000);
  link.up = true;
  recorder.count("reconnect_backoff_capped_total", 1);
  recorder.observe("reconnect_backoff_delay_seconds", 3);
  await settle(1_000);
  expect(reports).toEqual([
    {
      reconnect_backoff_capped_total: 3,
      reconnect_backoff_delay_seconds: 4,
      reconnect_backoff_delay_seconds_count: 2,
      reconnect_backoff_delay_seconds_sum: 7,
    },
  ]);
});

test("whatever happens to the link, every count arrives once when it stands in the end", async () => {
  const step = fc.record({ by: fc.integer({ min: 0, max: 5 }), ms: fc.integer({ min: 0, max: 15_000 }), up: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { recorder, reports, link } = reporting();
      let counted = 0;
      for (const { by, ms, up } of steps) {
        link.up = up;
        recorder.count("reconnect_messages_lost_total", by);
        counted += by;
        await settle(ms);
      }
      link.up = true;
      recorder.count("reconnect_messages_lost_total");
      await settle(11_000);
      const reported = reports.reduce((sum, report) => sum + (report["reconnect_messages_lost_total"] ?? 0), 0);
      expect(reported).toBe(counted + 1);
    }),
    { numRuns: 50 },
  );
});

test("a client tells the server of its connection, and of an outage once it is over", async () => {
  const { client, server, frames } = await connectedClient();
  await settle(1_000);
  expect(frames()).toHaveLength(1);
  expect(frames()[0]!["metrics"]).toMatchObject({ reconnect_attempt_duration_seconds_count: 1 });
  expect(frames()[0]!["metrics"]).not.toHaveProperty("reconnect_outage_duration_seconds");

  server.accepts = false;
  server.drop();
  await settle(60_000);
  expect(frames()).toHaveLength(1);
  server.accepts = true;
  await settle(40_000);
  expect(client.state).toBe("CONNECTED");
  const { metrics } = frames()[1] as unknown as { metrics: Metrics };
  expect(metrics["reconnect_attempts_failed_total"]).toBeGreaterThan(2);
  expect(metrics["reconnect_backoff_capped_total"]).toBeGreaterThan(0);
  expect(metrics["reconnect_outage_duration_seconds"]).toBeGreaterThan(60);
  expect(metrics["reconnect_outage_duration_seconds_count"]).toBe(1);
  const steps = frames()[1]!["transitions"] as Transition[];
  expect(steps[0]!.slice(1)).toEqual(["CONNECTED", "DISCONNECTED"]);
  expect(steps.at(-1)!.slice(1)).toEqual(["RECONNECTING", "CONNECTED"]);
});

test("every name in a report is one that the protocol lists", async () => {
  const { client, server, frames } = await connectedClient();
  void client.send("a", 1);
  server.accepts = false;
  server.drop();
  await settle(60_000);
  server.accepts = true;
  await settle(60_000);
  const names = new Set(frames().flatMap(({ metrics }) => Object.keys(metrics as Metrics)));
  expect(names.size).toBeGreaterThan(12);
  const protocol = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
  for (const name of names) expect(protocol).toContain(`\`${name.replace(/_(count|sum)$/, "")}\``);
});

test("a client that is closed leaves no timer behind and reports nothing", async () => {
  const { client, recorder, frames } = await connectedClient();
  recorder.count("reconnect_holes_healed_total");
  client.close();
  await settle(60_000);
  expect(frames()).toEqual([]);
});

test("several recorders hear the same, also when one of them throws", async () => {
  const first = seenMetrics();
  const last = seenMetrics();
  const broken: Recorder = {
    count: () => {
      throw new Error("broken");
    },
    observe: () => {
      throw new Error("broken");
    },
    gauge: () => {},
  };
  const errors = globalThis.console.error;
  let printed = 0;
  globalThis.console.error = () => void printed++;
  try {
    const all = recorders(first, broken, last, telemetryRecorder());
    all.count("reconnect_backoff_capped_total", 2);
    all.observe("ws_queue_depth", 3, { a: "b" });
    all.gauge("reconnect_flush_success_rate", 1);
    const { client, server } = world({ recorder: all });
    all.follow(client);
    await settle(1_000);
    expect(server.socket.of("TELEMETRY")).toHaveLength(1);
  } finally {
    globalThis.console.error = errors;
  }
  expect(printed).toBeGreaterThanOrEqual(2);
  for (const { counters, values } of [first, last]) {
    expect(counters["reconnect_backoff_capped_total"]).toBe(2);
    expect(values).toContainEqual({ name: "ws_queue_depth", value: 3, labels: { a: "b" } });
    expect(values).toContainEqual({ name: "reconnect_flush_success_rate", value: 1, labels: undefined });
  }
});

test("a recorder that throws breaks no client", () => {
  const thrower = () => {
    throw new Error("broken");
  };
  const safe = safeRecorder({ count: thrower, observe: thrower, gauge: thrower });
  safe.count("a");
  safe.observe("b", 1);
  safe.gauge("c", 1);
});

test("the age of the oldest message without an answer is told when a connection comes", async () => {
  const { client, server, frames } = await connectedClient();
  await settle(15_000);
  server.accepts = false;
  server.drop();
  await settle(100);
  void client.send("a", 1);
  await settle(30_000);
  void client.send("a", 2);
  server.accepts = true;
  await settle(40_000);
  const ages = frames().map(({ metrics }) => (metrics as Metrics)["reconnect_outbox_age_seconds"] ?? 0);
  expect(Math.max(...ages)).toBeGreaterThanOrEqual(30);
});

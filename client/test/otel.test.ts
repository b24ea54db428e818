import { context, metrics as api, trace, type Meter, type Tracer } from "@opentelemetry/api";
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { afterEach, expect, test } from "vitest";
import { otelRecorder, type OtelOptions } from "../src/otel.ts";
import { FakeServer } from "../src/testing.ts";
import { settle, useFakeTime, world } from "./harness.ts";

useFakeTime();

const spans = new InMemorySpanExporter();
const tracer: Tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).getTracer("test");
afterEach(() => spans.reset());

/** A Meter and what it exported, by metric: values with their attributes. */
function metering() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const meter: Meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  const collect = async () => {
    exporter.reset();
    await Promise.all([reader.forceFlush(), settle(10)]);
    const [exported] = exporter.getMetrics();
    return new Map(exported!.scopeMetrics[0]!.metrics.map((metric) => [metric.descriptor.name, metric]));
  };
  return { meter, collect };
}

async function measured(options: OtelOptions, server = new FakeServer()) {
  const recorder = otelRecorder(options);
  const made = world({ recorder, traceparent: recorder.traceparent }, server);
  recorder.follow(made.client);
  await settle();
  return { ...made, recorder };
}

test("metrics arrive at the SDK under the blueprint's names, with units", async () => {
  const { meter, collect } = metering();
  const { client, server } = await measured({ meter });
  expect(client.state).toBe("CONNECTED");
  server.accepts = false;
  server.drop();
  await settle(1_000);
  void client.send("a", 1);
  server.accepts = true;
  await settle(60_000);
  await client.drained();

  const metrics = await collect();
  const descriptors = Object.fromEntries(Array.from(metrics, ([name, { dataPointType, descriptor }]) => [name, [dataPointType, descriptor.unit]]));
  expect(descriptors).toMatchObject({
    reconnect_attempt_duration_seconds: [DataPointType.HISTOGRAM, "s"],
    reconnect_backoff_delay_seconds: [DataPointType.HISTOGRAM, "s"],
    reconnect_outage_duration_seconds: [DataPointType.HISTOGRAM, "s"],
    reconnect_fsm_transitions_total: [DataPointType.SUM, ""],
    reconnect_flush_attempted_total: [DataPointType.SUM, ""],
    reconnect_flush_succeeded_total: [DataPointType.SUM, ""],
    reconnect_flush_success_rate: [DataPointType.GAUGE, ""],
    ws_queue_depth: [DataPointType.HISTOGRAM, ""],
  });
  expect(metrics.get("reconnect_flush_success_rate")!.dataPoints[0]!.value).toBe(1);
});

test("what the state machine refuses and what the cap holds is counted", async () => {
  const { meter, collect } = metering();
  const recorder = otelRecorder({ meter });
  recorder.count("reconnect_fsm_invalid_transitions_total", 1, { from: "FAILED", to: "CONNECTED" });
  recorder.count("reconnect_backoff_capped_total");
  recorder.count("reconnect_backoff_capped_total", 2);
  const metrics = await collect();
  expect(metrics.get("reconnect_backoff_capped_total")!.dataPoints.map(({ value }) => value)).toEqual([3]);
  const [refused] = metrics.get("reconnect_fsm_invalid_transitions_total")!.dataPoints;
  expect(refused).toMatchObject({ value: 1, attributes: { from: "FAILED", to: "CONNECTED" } });
});

test("attempts have outcome and environment, the given attributes go with everything", async () => {
  const { meter, collect } = metering();
  const server = new FakeServer();
  await measured({ meter, attributes: { release: "7" } }, server);
  server.accepts = false;
  server.drop();
  await settle(12_000);
  server.accepts = true;
  await settle(30_000);

  const metrics = await collect();
  const attempts = metrics.get("reconnect_attempt_duration_seconds")!.dataPoints;
  const outcomes = attempts.map(({ attributes }) => attributes["outcome"]);
  expect(new Set(outcomes)).toEqual(new Set(["connected", "timeout"]));
  for (const { attributes } of attempts) expect(attributes).toMatchObject({ release: "7", environment: "other" });
  for (const { dataPoints } of metrics.values()) {
    for (const { attributes } of dataPoints) expect(attributes["release"]).toBe("7");
  }
});

test("seconds fall into buckets that tell them apart", async () => {
  const { meter, collect } = metering();
  const recorder = otelRecorder({ meter });
  for (const value of [0.2, 0.4, 0.9, 2, 4, 8]) recorder.observe("reconnect_backoff_delay_seconds", value);
  const [point] = (await collect()).get("reconnect_backoff_delay_seconds")!.dataPoints;
  const { counts } = (point!.value as { buckets: { counts: number[] } }).buckets;
  expect(Math.max(...counts)).toBe(1);
});

test("an outage is one span from the drop until every stream is live, with its attempts and waits", async () => {
  const { client, server } = await measured({ tracer });
  client.subscribe("a");
  await settle();
  expect(spans.getFinishedSpans().map(({ name }) => name)).toEqual(["connect"]);
  spans.reset();

  server.intercept = (socket, { type }) => {
    if (type !== "HELLO") return;
    server.welcome(socket); // and nothing of its streams
    return true;
  };
  server.accepts = false;
  server.drop(1006);
  await settle(600);
  server.socket.drop(1006);
  server.accepts = true;
  await settle(2_000);
  expect(client.state).toBe("CONNECTED");
  expect(client.sync.kind).not.toBe("live");
  expect(spans.getFinishedSpans()).toEqual([]); // connected, and not current

  server.intercept = null;
  server.join(server.socket, "a", null);
  await settle();
  const [span, ...more] = spans.getFinishedSpans();
  expect(more).toEqual([]);
  expect(span).toMatchObject({ name: "reconnect", attributes: { first: false, reason: "1006", outcome: "live", role: "solo" } });
  expect(span!.events.map(({ name, attributes }) => [name, attributes!["outcome"]])).toEqual([
    ["backoff", undefined],
    ["attempt", "failed"],
    ["backoff", undefined],
    ["attempt", "connected"],
  ]);
});

test("a second drop before the streams are live belongs to the same outage", async () => {
  const { client, server } = await measured({ tracer });
  client.subscribe("a");
  await settle();
  spans.reset();
  server.intercept = (socket, { type }) => type === "HELLO" && (server.welcome(socket), true);
  server.drop();
  await settle(500);
  expect(client.state).toBe("CONNECTED");
  server.drop();
  server.intercept = null;
  await settle(5_000);
  expect(client.sync.kind).toBe("live");
  expect(spans.getFinishedSpans()).toHaveLength(1);
});

test("HELLO carries the trace context of the outage's span, and a new one in the next outage", async () => {
  const { server, recorder } = await measured({ tracer });
  expect(recorder.traceparent()).toBeUndefined();
  server.drop();
  await settle(1_000);
  const hellos = server.sockets.map((socket) => socket.of("HELLO")[0]!["traceparent"]);
  const contexts = spans.getFinishedSpans().map((span) => span.spanContext());
  expect(hellos).toEqual(contexts.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`));
  expect(new Set(hellos).size).toBe(2);
});

test("a span that ends in FAILED is an error, one that the user ends is not", async () => {
  const { client, server } = await measured({ tracer });
  spans.reset();
  server.socket.drop(4501);
  await settle();
  expect(client.state).toBe("FAILED");
  expect(spans.getFinishedSpans()[0]).toMatchObject({ attributes: { outcome: "failed" }, status: { code: 2 } });

  spans.reset();
  server.accepts = false;
  client.retry();
  await settle();
  client.close();
  await settle();
  expect(spans.getFinishedSpans()[0]).toMatchObject({ attributes: { outcome: "closed" }, status: { code: 0 } });
});

test("following a client again measures nothing twice", async () => {
  const { client, server, recorder } = await measured({ tracer });
  recorder.follow(client);
  spans.reset();
  server.drop();
  await settle(1_000);
  expect(spans.getFinishedSpans()).toHaveLength(1);
});

test("without an SDK behind the API, or without Meter and Tracer, nothing happens and nothing fails", async () => {
  context.disable();
  const given: OtelOptions[] = [{}, { meter: api.getMeter("none"), tracer: trace.getTracer("none") }];
  for (const options of given) {
    const { client, server, recorder } = await measured(options);
    server.drop();
    await settle(1_000);
    expect(client.state).toBe("CONNECTED");
    expect(server.socket.of("HELLO")[0]!["traceparent"]).toBeUndefined();
    expect(recorder.traceparent()).toBeUndefined();
  }
});

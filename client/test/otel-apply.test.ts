import * as api from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { afterEach, expect, test, vi } from "vitest";
import { applyRecorder, type ApplyOptions } from "../src/otel-apply.ts";
import { recorders } from "../src/recorder.ts";
import type { SubscribeOptions } from "../src/stream.ts";
import { settle, useFakeTime, world } from "./harness.ts";

useFakeTime();

const spans = new InMemorySpanExporter();
const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).getTracer("test");
afterEach(() => spans.reset());

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const trace = (span: string, flags = "01") => `00-${TRACE}-${span.repeat(16)}-${flags}`;

/** A client that follows a stream, and a way to push it entries of the given traces, as one frame. */
async function following(handlers: SubscribeOptions, options: Partial<ApplyOptions<api.Context>> = {}) {
  const recorder = recorders(applyRecorder({ api, tracer, ...options }));
  const made = world({ recorder });
  made.client.subscribe("a", handlers);
  await settle();
  const push = async (...traces: (string | undefined)[]) => {
    const log = made.server.log("a");
    const from = log.seq;
    for (const traceparent of traces) Object.assign(log.append("payload"), traceparent === undefined ? {} : { traceparent });
    made.server.socket.deliver(log.delta("a", from));
    await settle();
  };
  return { ...made, recorder, push };
}

const finished = () => spans.getFinishedSpans().map(({ name, kind, parentSpanContext, attributes }) => ({ name, kind, parentSpanContext, attributes }));

test("what a subscriber does with a traced entry is a span of that trace", async () => {
  const seen: number[] = [];
  const { push } = await following({ onEvents: (entries) => seen.push(entries.length) }, { attributes: { release: "7" } });
  await push(trace("a"));
  expect(seen).toEqual([1]);
  expect(finished()).toEqual([
    {
      name: "apply",
      kind: api.SpanKind.CONSUMER,
      parentSpanContext: { traceId: TRACE, spanId: "a".repeat(16), traceFlags: 1, isRemote: true },
      attributes: { release: "7", entries: 1 },
    },
  ]);
});

test("each trace among the entries of a frame has one span, and entries without one have none", async () => {
  const { push } = await following({ onEvents() {} });
  await push(trace("a"), undefined, trace("b"), trace("a"));
  expect(finished().map(({ parentSpanContext, attributes }) => [parentSpanContext!.spanId[0], attributes["entries"]])).toEqual([
    ["a", 2],
    ["b", 1],
  ]);
});

test("what isn't sampled, or is no context, is applied without a span", async () => {
  const applied = vi.fn();
  const { push } = await following({ onEvents: applied });
  await push(trace("a", "00"), "", "x", `${trace("a")}-more`, trace("A"), undefined);
  expect(applied).toHaveBeenCalledTimes(1);
  expect(finished()).toEqual([]);
});

test("a handler that throws fails as ever, and its span says so", async () => {
  const { push, heard } = await following({
    onEvents() {
      throw new Error("the page's defect");
    },
  });
  await push(trace("a"));
  expect(heard["error"]![0]).toEqual(new Error("the page's defect"));
  expect(spans.getFinishedSpans()[0]!.status).toEqual({ code: api.SpanStatusCode.ERROR });
});

test("a tracer that throws keeps no entry from its handler", async () => {
  const printed = vi.spyOn(console, "error").mockImplementation(() => {});
  const applied = vi.fn();
  const broken = {
    startSpan() {
      throw new Error("broken");
    },
  };
  const { push } = await following({ onEvents: applied }, { tracer: broken });
  await push(trace("a"));
  expect(applied).toHaveBeenCalledTimes(1);
  expect(printed).toHaveBeenCalled();
});

test("other handlers, also those of a class, are called as before, and following twice wraps nothing twice", async () => {
  class Board {
    snapshots = 0;
    onSnapshot = () => void this.snapshots++;
    onEvents(): void {}
    get signal(): AbortSignal | undefined {
      return undefined;
    }
  }
  const board = new Board();
  const { push, client, recorder } = await following(board);
  recorder.follow(client);
  client.subscribe("b");
  await push(trace("a"));
  expect(board.snapshots).toBe(1);
  expect(finished()).toHaveLength(1);
});

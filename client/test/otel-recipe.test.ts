import { metrics, trace } from "@opentelemetry/api";
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { build } from "esbuild";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test, vi } from "vitest";
import type { Client } from "../src/public.ts";
import { FakeServer } from "../src/testing.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The code of docs/client/telemetry.md under a heading, bundled as a page's build does it. */
async function recipe(heading: string): Promise<string> {
  const text = await readFile(here("../../docs/client/telemetry.md"), "utf8");
  const [, code] = /```js\n(.*?)```/s.exec(text.slice(text.indexOf(`\n## ${heading}\n`))) ?? [];
  const made = await build({
    stdin: { contents: `${code}\nexport { client };`, resolveDir: here("..") },
    alias: { "reconnect-channels": "./src/index.ts", "reconnect-channels/otel": "./src/otel.ts" },
    absWorkingDir: here(".."),
    bundle: true,
    format: "esm",
    write: false,
  });
  return `data:text/javascript;base64,${Buffer.from(made.outputFiles[0]!.contents).toString("base64")}`;
}

afterAll(() => {
  metrics.disable();
  trace.disable();
});

test("the OpenTelemetry recipe, followed as written, exports metrics and spans that HELLO carries on", async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const spans = new InMemorySpanExporter();
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }));
  const server = new FakeServer();
  vi.stubGlobal("WebSocket", server.WebSocket);
  vi.stubGlobal("location", new URL("http://page.test/"));

  const { client } = (await import(/* @vite-ignore */ await recipe("OpenTelemetry"))) as { client: Client };
  await vi.waitFor(() => expect(spans.getFinishedSpans()).toHaveLength(1));
  server.drop();
  await vi.waitFor(() => expect(spans.getFinishedSpans()).toHaveLength(2), 5_000);
  client.close();

  const [connect, reconnect] = spans.getFinishedSpans();
  expect([connect!.name, reconnect!.name]).toEqual(["connect", "reconnect"]);
  expect(reconnect!.attributes).toMatchObject({ release: "2026.1", outcome: "live" });
  expect(server.socket.of("HELLO")[0]!["traceparent"]).toContain(reconnect!.spanContext().traceId);
  await reader.forceFlush();
  const names = exporter.getMetrics()[0]!.scopeMetrics[0]!.metrics.map(({ descriptor }) => descriptor.name);
  expect(names).toContain("reconnect_attempt_duration_seconds");
  expect(names).toContain("reconnect_outage_duration_seconds");
});

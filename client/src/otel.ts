import { outages, recordOutage } from "./outage.ts";
import type { Following, Labels } from "./recorder.ts";

/** Values of attributes: bounded sets only, since each combination is a series. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

interface InstrumentOptions {
  readonly description?: string;
  readonly unit?: string;
  readonly advice?: { explicitBucketBoundaries?: number[] };
}

type Write = (value: number, attributes?: Attributes) => void;
type InstrumentLike = Record<"add" | "record", Write>;

/** What is used of OpenTelemetry's Meter; none of its code is imported. */
export interface MeterLike {
  createCounter(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "add">;
  createHistogram(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "record">;
  createGauge(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "record">;
}

/** What is used of OpenTelemetry's Span. */
export interface SpanLike {
  addEvent(name: string, attributes?: Attributes): unknown;
  setAttributes(attributes: Attributes): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  spanContext(): { traceId: string; spanId: string; traceFlags: number };
  end(): void;
}

/** What is used of OpenTelemetry's Tracer. */
export interface TracerLike {
  startSpan(name: string, options?: { attributes?: Attributes }): SpanLike;
}

/** Options of `otelRecorder`. Without a Meter there are no metrics, without a Tracer no spans. */
export interface OtelOptions {
  readonly meter?: MeterLike | undefined;
  readonly tracer?: TracerLike | undefined;
  /** Goes with every measurement and span: the release, the region. Bounded values only. */
  readonly attributes?: Attributes | undefined;
}

/** Measures a client with OpenTelemetry. One recorder serves one client. */
export interface OtelRecorder extends Following {
  /** The W3C trace context of the outage that the client is in, for the option `traceparent` of `connect`. */
  traceparent(): string | undefined;
}

/** The SDK's default buckets are made for milliseconds and for lengths of queues. */
const SECONDS = { unit: "s", advice: { explicitBucketBoundaries: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60, 300] } };
/** SpanStatusCode.ERROR. */
const ERROR = 2;

/**
 * Records the client's metrics under their own names and, given a Tracer, spans `connect` and `reconnect`: from the
 * drop to the moment when every stream is live again, attempts and waits as their events. Nothing here throws.
 */
export function otelRecorder({ meter, tracer, attributes }: OtelOptions): OtelRecorder {
  const instruments: Record<string, InstrumentLike | undefined> = {};
  let span: SpanLike | undefined;

  const write = (kind: "Counter" | "Histogram" | "Gauge", name: string, value: number, labels?: Labels, options?: object) => {
    const instrument = (instruments[name] ??= meter?.[`create${kind}`](name, options) as InstrumentLike | undefined);
    instrument?.[kind === "Counter" ? "add" : "record"](value, { ...attributes, ...labels });
  };

  const recorder: OtelRecorder = {
    count: (name, value = 1, labels) => write("Counter", name, value, labels),

    observe(name, value, labels) {
      const [event] = /attempt|backoff/.exec(name) ?? [];
      if (event) span?.addEvent(event, { ...labels, seconds: value });
      write("Histogram", name, value, labels, name.endsWith("_seconds") ? SECONDS : undefined);
    },

    gauge: (name, value, labels) => write("Gauge", name, value, labels),

    follow: outages((outage) => {
      span = tracer?.startSpan(outage.first ? "connect" : "reconnect", { attributes: { ...attributes, ...outage } });
      return (end) => {
        recordOutage(recorder, outage, end);
        span?.setAttributes({ ...end });
        if (end.outcome === "failed") span?.setStatus({ code: ERROR });
        span?.end();
        span = undefined;
      };
    }),

    traceparent() {
      if (!span) return;
      const { traceId, spanId, traceFlags } = span.spanContext();
      // Zeros: no SDK stands behind the Tracer.
      return /[^0]/.test(traceId) ? `00-${traceId}-${spanId}-0${traceFlags & 1}` : undefined;
    },
  };
  return recorder;
}

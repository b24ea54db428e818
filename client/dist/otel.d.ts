/* reconnect_channels, BSD-3-Clause */
import type { Recorder } from "./index.js";

/** A recorder that follows a client and forgets none of its methods. */
type Following = Recorder & Required<Pick<Recorder, "follow">>;

/** Values of attributes: bounded sets only, since each combination is a series. */
type Attributes = Readonly<Record<string, string | number | boolean>>;

interface InstrumentOptions {
    readonly description?: string;
    readonly unit?: string;
    readonly advice?: {
        explicitBucketBoundaries?: number[];
    };
}

type Write = (value: number, attributes?: Attributes) => void;

type InstrumentLike = Record<"add" | "record", Write>;

/** What is used of OpenTelemetry's Meter; none of its code is imported. */
interface MeterLike {
    createCounter(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "add">;
    createHistogram(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "record">;
    createGauge(name: string, options?: InstrumentOptions): Pick<InstrumentLike, "record">;
}

/** What is used of OpenTelemetry's Span. */
interface SpanLike {
    addEvent(name: string, attributes?: Attributes): unknown;
    setAttributes(attributes: Attributes): unknown;
    setStatus(status: {
        code: number;
        message?: string;
    }): unknown;
    spanContext(): {
        traceId: string;
        spanId: string;
        traceFlags: number;
    };
    end(): void;
}

/** What is used of OpenTelemetry's Tracer. */
interface TracerLike {
    startSpan(name: string, options?: {
        attributes?: Attributes;
    }): SpanLike;
}

/** Options of `otelRecorder`. Without a Meter there are no metrics, without a Tracer no spans. */
interface OtelOptions {
    readonly meter?: MeterLike | undefined;
    readonly tracer?: TracerLike | undefined;
    /** Goes with every measurement and span: the release, the region. Bounded values only. */
    readonly attributes?: Attributes | undefined;
}

/** Measures a client with OpenTelemetry. One recorder serves one client. */
interface OtelRecorder extends Following {
    /** The W3C trace context of the outage that the client is in, for the option `traceparent` of `connect`. */
    traceparent(): string | undefined;
}

/**
 * Records the client's metrics under their own names and, given a Tracer, spans `connect` and `reconnect`: from the
 * drop to the moment when every stream is live again, attempts and waits as their events. Nothing here throws.
 */
declare function otelRecorder({ meter, tracer, attributes }: OtelOptions): OtelRecorder;

export type { Attributes };
export type { MeterLike };
export type { SpanLike };
export type { TracerLike };
export type { OtelOptions };
export type { OtelRecorder };
export { otelRecorder };
export {};

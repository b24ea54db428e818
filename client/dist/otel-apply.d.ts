/* reconnect_channels, BSD-3-Clause */
import type { Recorder } from "./index.js";

/** A recorder that follows a client and forgets none of its methods. */
type Following = Recorder & Required<Pick<Recorder, "follow">>;

/** Values of attributes: bounded sets only, since each combination is a series. */
type Attributes = Readonly<Record<string, string | number | boolean>>;

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

/** What is used of `@opentelemetry/api`, which the page gives; none of its code is imported. */
interface ApiLike<Context> {
    readonly ROOT_CONTEXT: Context;
    readonly trace: {
        setSpanContext(context: Context, remote: {
            traceId: string;
            spanId: string;
            traceFlags: number;
            isRemote: boolean;
        }): Context;
    };
}

/** What is used of OpenTelemetry's Tracer. */
interface ApplyTracerLike<Context> {
    startSpan(name: string, options: {
        kind: number;
        attributes: Attributes;
    }, context: Context): SpanLike;
}

/** Options of `applyRecorder`. */
interface ApplyOptions<Context> {
    readonly api: ApiLike<Context>;
    readonly tracer: ApplyTracerLike<Context>;
    /** Goes with every span: the release, the region. */
    readonly attributes?: Attributes | undefined;
}

/**
 * Ends the trace of a publication where people see it: while a subscriber's `onEvents` handles live entries of a trace
 * that is recorded, a span `apply` lasts. It measures nothing; `recorders(…)` puts it beside others.
 *
 * What is subscribed before `follow` stays as it is; `connect` calls it with its recorder.
 */
declare function applyRecorder<Context>({ api, tracer, attributes }: ApplyOptions<Context>): Following;

export type { ApiLike };
export type { ApplyTracerLike };
export type { ApplyOptions };
export { applyRecorder };

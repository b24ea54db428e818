import type { Entry } from "./frames.ts";
import type { Attributes, SpanLike } from "./otel.ts";
import type { Following } from "./recorder.ts";

/** What is used of `@opentelemetry/api`, which the page gives; none of its code is imported. */
export interface ApiLike<Context> {
  readonly ROOT_CONTEXT: Context;
  readonly trace: {
    setSpanContext(
      context: Context,
      remote: { traceId: string; spanId: string; traceFlags: number; isRemote: boolean },
    ): Context;
  };
}

/** What is used of OpenTelemetry's Tracer. */
export interface ApplyTracerLike<Context> {
  startSpan(name: string, options: { kind: number; attributes: Attributes }, context: Context): SpanLike;
}

/** Options of `applyRecorder`. */
export interface ApplyOptions<Context> {
  readonly api: ApiLike<Context>;
  readonly tracer: ApplyTracerLike<Context>;
  /** Goes with every span: the release, the region. */
  readonly attributes?: Attributes | undefined;
}

/** The server sends the context of traces that are recorded, and of no others. */
const TRACEPARENT = /^00-([\da-f]{32})-([\da-f]{16})-01$/;
/** SpanKind.CONSUMER, SpanStatusCode.ERROR. */
const CONSUMER = 4;
const ERROR = 2;

/**
 * Ends the trace of a publication where people see it: while a subscriber's `onEvents` handles live entries of a trace
 * that is recorded, a span `apply` lasts. It measures nothing; `recorders(…)` puts it beside others.
 *
 * What is subscribed before `follow` stays as it is; `connect` calls it with its recorder.
 */
export function applyRecorder<Context>({ api, tracer, attributes }: ApplyOptions<Context>): Following {
  const followed = new WeakSet<object>();
  const nothing = () => {};

  /** One span for each trace among the entries. Never throws. */
  function begin(entries: readonly Entry[]): SpanLike[] {
    const counts = new Map<string, number>();
    for (const { traceparent } of entries) {
      if (traceparent) counts.set(traceparent, (counts.get(traceparent) ?? 0) + 1);
    }
    const spans: SpanLike[] = [];
    for (const [traceparent, count] of counts) {
      const [, traceId, spanId] = TRACEPARENT.exec(traceparent) ?? [];
      if (!traceId || !spanId) continue;
      try {
        const parent = api.trace.setSpanContext(api.ROOT_CONTEXT, { traceId, spanId, traceFlags: 1, isRemote: true });
        const options = { kind: CONSUMER, attributes: { ...attributes, entries: count } };
        spans.push(tracer.startSpan("apply", options, parent));
      } catch (error) {
        console.error(error);
      }
    }
    return spans;
  }

  return {
    count: nothing,
    observe: nothing,
    gauge: nothing,

    follow(client) {
      if (followed.has(client)) return;
      followed.add(client);
      const { subscribe } = client;
      client.subscribe = (name, options = {}) => {
        const onEvents: typeof options.onEvents = (entries, info) => {
          const spans = begin(entries);
          try {
            options.onEvents?.(entries, info);
          } catch (error) {
            for (const span of spans) span.setStatus({ code: ERROR });
            throw error;
          } finally {
            for (const span of spans) span.end();
          }
        };
        // Inherits the rest, which may stand on a prototype.
        return subscribe(name, options.onEvents ? (Object.create(options, { onEvents: { value: onEvents } }) as typeof options) : options);
      };
    },
  };
}

/* reconnect_channels, BSD-3-Clause */

// src/otel-apply.ts
var TRACEPARENT = /^00-([\da-f]{32})-([\da-f]{16})-01$/;
var CONSUMER = 4;
var ERROR = 2;
function applyRecorder({ api, tracer, attributes }) {
  const followed = /* @__PURE__ */ new WeakSet();
  const nothing = () => {
  };
  function begin(entries) {
    const counts = /* @__PURE__ */ new Map();
    for (const { traceparent } of entries) {
      if (traceparent) counts.set(traceparent, (counts.get(traceparent) ?? 0) + 1);
    }
    const spans = [];
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
        const onEvents = (entries, info) => {
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
        return subscribe(name, options.onEvents ? Object.create(options, { onEvents: { value: onEvents } }) : options);
      };
    }
  };
}
export {
  applyRecorder
};
//# sourceMappingURL=otel-apply.js.map

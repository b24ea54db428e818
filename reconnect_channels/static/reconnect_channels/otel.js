/* reconnect_channels, BSD-3-Clause */

// src/outage.ts
function outages(watch, now = () => performance.now()) {
  const watched = /* @__PURE__ */ new WeakSet();
  return (client) => {
    if (watched.has(client)) return;
    watched.add(client);
    let well = null;
    let ended = null;
    let beganAt = 0;
    const begin = (reason) => {
      if (ended) return;
      beganAt = now();
      ended = watch({ first: !well, reason });
    };
    const look = (is) => {
      const { state, role } = is;
      const live = state === "CONNECTED" && is.sync.kind === "live";
      const outcome = live ? "live" : state === "FAILED" ? "failed" : state === "DISCONNECTED" && "closed";
      const tell = ended;
      if (tell && outcome) {
        ended = null;
        const handover = live && well !== null && leader(well) !== leader(is);
        tell({ outcome, ms: now() - beganAt, handover, role });
      }
      if (live) well = is;
    };
    client.on("stateChange", ({ to, reason }) => {
      if (to === "RECONNECTING") begin(reason);
    });
    client.on("change", look);
    if (client.state === "RECONNECTING") begin("connect");
    else look(client.snapshot);
  };
}
function recordOutage(recorder, { first }, end) {
  const { outcome, ms, handover, role } = end;
  if (first) return;
  recorder.observe("reconnect_outage_duration_seconds", ms / 1e3, { outcome, handover: String(handover), role });
  if (handover && role === "leader") recorder.count("reconnect_leader_changes_total");
}
var leader = ({ tabs }) => tabs.find((tab) => tab.leader)?.id;

// src/otel.ts
var SECONDS = { unit: "s", advice: { explicitBucketBoundaries: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60, 300] } };
var ERROR = 2;
function otelRecorder({ meter, tracer, attributes }) {
  const instruments = {};
  let span;
  const write = (kind, name, value, labels, options) => {
    const instrument = instruments[name] ??= meter?.[`create${kind}`](name, options);
    instrument?.[kind === "Counter" ? "add" : "record"](value, { ...attributes, ...labels });
  };
  const recorder = {
    count: (name, value = 1, labels) => write("Counter", name, value, labels),
    observe(name, value, labels) {
      const [event] = /attempt|backoff/.exec(name) ?? [];
      if (event) span?.addEvent(event, { ...labels, seconds: value });
      write("Histogram", name, value, labels, name.endsWith("_seconds") ? SECONDS : void 0);
    },
    gauge: (name, value, labels) => write("Gauge", name, value, labels),
    follow: outages((outage) => {
      span = tracer?.startSpan(outage.first ? "connect" : "reconnect", { attributes: { ...attributes, ...outage } });
      return (end) => {
        recordOutage(recorder, outage, end);
        span?.setAttributes({ ...end });
        if (end.outcome === "failed") span?.setStatus({ code: ERROR });
        span?.end();
        span = void 0;
      };
    }),
    traceparent() {
      if (!span) return;
      const { traceId, spanId, traceFlags } = span.spanContext();
      return /[^0]/.test(traceId) ? `00-${traceId}-${spanId}-0${traceFlags & 1}` : void 0;
    }
  };
  return recorder;
}
export {
  otelRecorder
};
//# sourceMappingURL=otel.js.map

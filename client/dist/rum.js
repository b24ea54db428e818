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
var leader = ({ tabs }) => tabs.find((tab) => tab.leader)?.id;

// src/rum.ts
function rumRecorder(options = {}) {
  const { prefix = "reconnect-channels:", keep = 100, target = globalThis } = options;
  const kept = {};
  let capped = false;
  let attempts = 0;
  let waitingSince = null;
  const tell = (name, detail) => {
    const full = { ...detail, ...networkQuality() };
    target.dispatchEvent(new CustomEvent(prefix + name, { detail: full }));
    return full;
  };
  const put = (name, add, clear) => {
    const count = kept[name] ?? 0;
    if (count >= keep) performance[clear](prefix + name);
    kept[name] = count % keep + 1;
    add(prefix + name);
  };
  const measure = (name, from, to, detail) => {
    const start = Math.min(Math.max(from, 0), to);
    put(name, (full) => performance.measure(full, { start, end: to, detail }), "clearMeasures");
  };
  return {
    count(name) {
      if (name === "reconnect_backoff_capped_total") capped = true;
    },
    observe(name, value, labels) {
      const now = performance.now();
      const ms = value * 1e3;
      if (name === "reconnect_backoff_delay_seconds") {
        waitingSince = now;
        tell("backoff", { ms, capped });
        capped = false;
      } else if (name === "reconnect_attempt_duration_seconds") {
        attempts++;
        const detail = tell("attempt", { ms, outcome: String(labels?.["outcome"]) });
        if (waitingSince !== null) measure("backoff", waitingSince, now - ms, networkQuality());
        waitingSince = null;
        measure("attempt", now - ms, now, detail);
      }
    },
    gauge() {
    },
    follow: outages(({ first, reason }) => {
      attempts = 0;
      if (!first) {
        const detail = tell("drop", { reason });
        put("drop", (full) => performance.mark(full, { detail }), "clearMarks");
      }
      return ({ ms, outcome, role, handover }) => {
        const now = performance.now();
        const name = first ? "connect" : handover ? "handover" : "outage";
        measure(name, now - ms, now, tell(name, { ms, outcome, reason, attempts, role }));
        waitingSince = null;
      };
    })
  };
}
function networkQuality() {
  const { onLine: online, connection } = globalThis.navigator ?? {};
  if (!connection) return { online };
  const { effectiveType, rtt, downlink, saveData } = connection;
  return { online, effectiveType, rtt, downlink, saveData };
}
export {
  rumRecorder
};
//# sourceMappingURL=rum.js.map

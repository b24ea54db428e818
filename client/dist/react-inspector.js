"use client";
/* reconnect_channels, BSD-3-Clause */

// src/react-inspector.ts
import { createElement as h, useDebugValue, useEffect, useReducer, useRef } from "react";

// src/flush.ts
function watchFlush(client, done) {
  let waited = null;
  let began = 0;
  const offs = [
    client.on("stateChange", ({ to }) => {
      began = performance.now();
      waited = to === "CONNECTED" && client.waiting ? new Set(client.queue.map(({ id }) => id)) : null;
    }),
    client.on("queueChange", () => {
      if (!waited || client.queue.some(({ id }) => waited.has(id))) return;
      waited = null;
      done(performance.now() - began);
    })
  ];
  return () => offs.forEach((off) => off());
}

// src/react-inspector.ts
function useInspector(client) {
  const [, render] = useReducer((count) => count + 1, 0);
  const measured = useRef(null);
  useEffect(() => {
    if (!client) return;
    const offs = [
      watchFlush(client, (ms) => {
        measured.current = ms;
        render();
      }),
      client.on("change", render),
      client.on("queueChange", render)
    ];
    render();
    return () => {
      measured.current = null;
      offs.forEach((off) => off());
    };
  }, [client]);
  const shown = client && inspect(client, measured.current);
  useDebugValue(shown);
  return shown;
}
function inspect(client, flushMs) {
  const { queue } = client;
  const { state, role, sync, streams } = client.snapshot;
  const seqs = Object.fromEntries(Object.entries(streams).map(([name, { seq }]) => [name, seq]));
  return { state, role, sync, depth: queue.length, queue, flushMs, streams: seqs };
}
function table(caption, columns, rows) {
  const head = h("tr", null, ...columns.map((name) => h("th", { key: name, scope: "col", align: "left" }, name)));
  const body = rows.map((cells) => h("tr", { key: String(cells[0]) }, ...cells.map((cell, i) => h("td", { key: i }, cell))));
  return h("table", null, h("caption", null, caption), h("thead", null, head), h("tbody", null, ...body));
}
function Inspector({ client }) {
  const shown = useInspector(client);
  if (!client || !shown) return null;
  const { state, role, sync, depth, queue, flushMs, streams } = shown;
  const facts = {
    state,
    role,
    sync: sync.kind,
    "queue depth": depth,
    "flush latency": flushMs === null ? "not measured" : `${flushMs.toFixed(0)} ms`
  };
  return h(
    "section",
    { "aria-label": `Connection ${client.url}`, style: { font: "12px/1.5 ui-monospace, monospace", overflow: "auto" } },
    h("dl", null, ...Object.entries(facts).map(([name, fact]) => h("div", { key: name }, h("dt", null, name), h("dd", null, fact)))),
    table("Streams", ["stream", "last seq"], Object.entries(streams)),
    table(
      "Queue",
      ["id", "stream", "state", "payload"],
      queue.map(({ id, stream, state: fate, payload }) => [id, stream, fate, JSON.stringify(payload)])
    )
  );
}
export {
  Inspector,
  useInspector
};
//# sourceMappingURL=react-inspector.js.map

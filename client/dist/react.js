"use client";
/* reconnect_channels, BSD-3-Clause */

// src/react.ts
import { useCallback, useDebugValue, useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from "react";

// src/lease.ts
var scope = globalThis;
var registry = scope[/* @__PURE__ */ Symbol.for("reconnect_channels")] ??= /* @__PURE__ */ new Map();
var NO_CLIENT = {
  client: null,
  state: "DISCONNECTED",
  sync: { kind: "stale", since: 0, waiting: 0 },
  waiting: 0,
  attempt: 0,
  retryAt: null,
  role: "solo",
  tabs: [],
  queue: []
};
var keyOf = (url, { key }) => JSON.stringify([url, key]);
function viewOf(key) {
  const shared = registry.get(key);
  if (!shared) return NO_CLIENT;
  const { client, view, text } = shared;
  const shown = { ...client.snapshot, streams: void 0 };
  const says = JSON.stringify(shown);
  if (text === says && view.queue === client.queue) return view;
  shared.text = says;
  return shared.view = { ...shown, client, queue: client.queue };
}
function lease(key, url, options) {
  let shared = registry.get(key);
  if (!shared) {
    const { connect = scope.ReconnectChannels?.connect } = options;
    if (!key || !connect) throw new Error("ReconnectChannels is not loaded or enabled");
    shared = { client: connect(url, options), users: 0, view: NO_CLIENT, text: "" };
    registry.set(key, shared);
    shared.client.signal.addEventListener("abort", () => registry.delete(key));
  }
  shared.users++;
  const { client } = shared;
  const life = new AbortController();
  let taken = 1;
  const release = () => {
    setTimeout(() => {
      if (--taken) return;
      life.abort();
      if (!--shared.users) client.close(1e3, "unmount");
    });
  };
  release();
  return { client, signal: life.signal, take: () => taken++, release };
}

// src/react.ts
function useStream(client, name, handlers) {
  const latest = useRef(handlers);
  useInsertionEffect(() => {
    latest.current = handlers;
  });
  useEffect(() => {
    if (!client || !name || client.signal.aborted) return;
    return client.subscribe(name, {
      position: latest.current.position,
      onSnapshot: (...args) => latest.current.onSnapshot?.(...args),
      onEvents: (...args) => latest.current.onEvents?.(...args),
      onSync: (...args) => latest.current.onSync?.(...args)
    }).close;
  }, [client, name]);
}
function useResilientWS(url, options = {}) {
  const { stream, enabled = true, ...connecting } = options;
  const key = enabled ? keyOf(url, connecting) : "";
  const [subscribe, sendTo] = useMemo(() => {
    let held;
    const hold = () => held = lease(key, url, connecting);
    return [
      (changed) => {
        if (!key) return () => {
        };
        const { client, take, release } = !held || held.signal.aborted ? hold() : held;
        take();
        client.on("change", changed, held);
        client.on("queueChange", changed, held);
        return release;
      },
      // A child's effect may send before this component's own effect takes the lease.
      (payload, name) => (held ?? hold()).client.send(name, payload, held)
    ];
  }, [key]);
  const view = useSyncExternalStore(subscribe, () => viewOf(key), () => NO_CLIENT);
  useStream(view.client, stream, options);
  const send = useCallback((payload, name = stream) => sendTo(payload, name), [sendTo, stream]);
  useDebugValue(view, (shown) => ({ ...shown, streams: shown.client?.snapshot.streams }));
  return { ...view, send };
}
export {
  useResilientWS,
  useStream
};
//# sourceMappingURL=react.js.map

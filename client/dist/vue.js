/* reconnect_channels, BSD-3-Clause */

// src/vue.ts
import { computed, shallowRef, toValue, watch } from "vue";

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

// src/vue.ts
function useResilientWS(url, { stream, onSnapshot, onEvents, onSync, ...options } = {}) {
  const view = shallowRef(NO_CLIENT);
  const handlers = { onSnapshot, onEvents, onSync };
  let held = null;
  let heldKey = "";
  const follow = ([address, name], _, onCleanup) => {
    const key = keyOf(address, options);
    if (!held || heldKey !== key || held.signal.aborted) held = lease(heldKey = key, address, options);
    const { client, release } = held;
    held.take();
    const changed = () => view.value = viewOf(key);
    const ends = [client.on("change", changed), client.on("queueChange", changed), release];
    if (name && !client.signal.aborted) ends.push(client.subscribe(name, handlers).close);
    onCleanup(() => ends.forEach((end) => end()));
    changed();
  };
  if (typeof window !== "undefined") watch(() => [toValue(url), toValue(stream)], follow, { immediate: true });
  const send = (payload, name = toValue(stream)) => held ? held.client.send(name, payload, held) : Object.assign(Promise.reject(new Error("not connected")), { id: "" });
  const names = Object.keys(NO_CLIENT);
  const refs = Object.fromEntries(names.map((name) => [name, computed(() => view.value[name])]));
  return { ...refs, send };
}
export {
  useResilientWS
};
//# sourceMappingURL=vue.js.map

/* reconnect_channels, BSD-3-Clause */

// src/form-data.ts
function formPayload(form, submitter) {
  const data = new FormData(form, submitter);
  const fields = [];
  for (const name of new Set(data.keys())) {
    const values = data.getAll(name).filter((value) => typeof value === "string");
    if (name !== "csrfmiddlewaretoken" && values.length) fields.push([name, values.length > 1 ? values : values[0]]);
  }
  return Object.fromEntries(fields);
}

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

// src/element.ts
var TAG = "reconnect-stream";
var ATTRIBUTES = ["src", "stream"];
var scope2 = globalThis;
var Base = globalThis.HTMLElement ?? class {
};
var ReconnectStreamElement = class extends Base {
  static observedAttributes = ATTRIBUTES;
  #options = {};
  #held = null;
  #key = "";
  #subscription = null;
  /** Ends what listens to the present client and stream. */
  #until = new AbortController();
  /** What `src` and `stream` were when they were opened. */
  #opened = "";
  #pending = false;
  #frame = 0;
  /** Messages of each form that wait. */
  #busy = /* @__PURE__ */ new Map();
  constructor() {
    super();
    this.addEventListener("submit", (event) => this.#submit(event));
  }
  /** Options of `connect`. Set them before the element is connected, or before `src`. */
  get options() {
    return this.#options;
  }
  set options(options) {
    this.#options = options;
    this.#later();
  }
  /** Null while the element is in no document or has no `src`. */
  get client() {
    const held = this.#held;
    return held && !held.signal.aborted ? held.client : null;
  }
  /** The last applied entry; 0 for none. */
  get seq() {
    return this.#subscription?.seq ?? 0;
  }
  get sync() {
    return this.#subscription?.sync ?? this.client?.sync ?? null;
  }
  /**
   * Sends as `client.send` does, on the element's stream. What was not sent when the element is removed is withdrawn.
   *
   * @returns rejects in addition with an InvalidStateError while there is no client
   */
  send(payload, { signal } = {}) {
    this.#open();
    const held = this.#held;
    if (!held) return Object.assign(Promise.reject(new DOMException("not connected", "InvalidStateError")), { id: "" });
    const until = signal ? AbortSignal.any([signal, held.signal]) : held.signal;
    return held.client.send(this.getAttribute("stream"), payload, { signal: until });
  }
  connectedCallback() {
    if (Object.hasOwn(this, "options")) {
      const { options } = this;
      delete this.options;
      this.#options = options;
    }
    if (this.#held?.signal.aborted === false) this.#held.take();
    this.#later();
  }
  disconnectedCallback() {
    this.#held?.release();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
  /** Moved by `moveBefore`: nothing ends. */
  connectedMoveCallback() {
  }
  attributeChangedCallback() {
    this.#later();
  }
  /** Several attributes are often set in one go. */
  #later() {
    if (this.#pending || !this.isConnected) return;
    this.#pending = true;
    queueMicrotask(() => {
      this.#pending = false;
      try {
        this.#open();
      } catch (error) {
        reportError(error);
      }
    });
  }
  /** Makes connection and subscription what the attributes say. */
  #open() {
    if (!this.isConnected) return;
    const src = this.getAttribute("src");
    const stream = this.getAttribute("stream");
    const key = src ? keyOf(src, this.#options) : "";
    const wanted = JSON.stringify([key, stream]);
    const kept = this.#held?.signal.aborted === false;
    if (wanted === this.#opened && (kept || !src)) return;
    if (src && !this.#options.connect && !scope2.ReconnectChannels && document.readyState !== "complete") {
      return addEventListener("load", () => this.#later(), { once: true });
    }
    this.#until.abort();
    this.#until = new AbortController();
    this.#subscription = null;
    this.#opened = wanted;
    if (!kept || this.#key !== key) {
      const old = this.#held;
      this.#key = key;
      this.#held = src ? lease(key, src, this.#options) : null;
      this.#held?.take();
      if (kept) old?.release();
    }
    const held = this.#held;
    if (!held) return this.#show();
    const until = this.#until;
    const { signal } = until;
    const { client } = held;
    held.signal.addEventListener("abort", () => until.abort(), { signal });
    client.on("change", () => this.#show(), { signal });
    if (stream && !client.signal.aborted) {
      const position = scope2.ReconnectChannels?.pagePositions?.()[stream];
      const changed = (seq) => {
        const rendered = position && position.epoch === this.#subscription?.position?.epoch ? position.last_seq_id : -1;
        if (seq > rendered) this.#refresh();
      };
      this.#subscription = client.subscribe(stream, {
        signal,
        position,
        onSnapshot: (state, info) => {
          this.#tell(this, "reconnect:snapshot", { ...info, stream, state });
          changed(info.seq);
        },
        onEvents: (entries, info) => {
          this.#tell(this, "reconnect:events", { ...info, stream, entries });
          if (entries.length) changed(info.to);
        },
        onSync: (sync) => this.#synced(stream, sync)
      });
    } else client.on("syncChange", (sync) => this.#synced(null, sync), { signal });
    this.#show();
  }
  #tell(target, name, detail) {
    target.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }
  /** Once a frame at most: htmx fetches the fragment again, however many entries came. A hidden page waits. */
  #refresh() {
    if (!this.getAttribute("refresh") || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const name = this.getAttribute("refresh");
      if (name) this.dispatchEvent(new CustomEvent(name, { bubbles: true, detail: { seq: this.seq } }));
    });
  }
  #synced(stream, sync) {
    this.#show();
    this.#tell(this, "reconnect:sync", { stream, sync, text: scope2.ReconnectChannels?.describe(sync) ?? sync.kind });
  }
  #show() {
    const { sync } = this;
    this.#mark("data-kind", sync?.kind);
    this.#mark("data-waiting", sync?.waiting);
    this.#mark("data-role", this.client?.snapshot.role);
    const text = sync ? scope2.ReconnectChannels?.describe(sync) ?? sync.kind : "";
    for (const status of this.querySelectorAll("[data-reconnect-status]")) {
      if (status.closest(TAG) === this && status.textContent !== text) status.textContent = text;
    }
  }
  #mark(name, value) {
    if (value === void 0) this.removeAttribute(name);
    else if (this.getAttribute(name) !== `${value}`) this.setAttribute(name, `${value}`);
  }
  #submit(event) {
    const form = event.target;
    if (!form.matches("form[data-reconnect-send]") || form.closest(TAG) !== this || event.defaultPrevented) return;
    event.preventDefault();
    const payload = formPayload(form, event.submitter);
    const before = JSON.stringify(formPayload(form));
    const sending = this.send(payload);
    this.#wait(form, 1);
    this.#tell(form, "reconnect:sent", { id: sending.id, payload });
    void sending.then(
      (receipt) => {
        if (JSON.stringify(formPayload(form)) === before) form.reset();
        this.#tell(form, "reconnect:receipt", { receipt, payload });
      },
      (error) => this.#tell(form, "reconnect:rejected", { error, payload })
    ).finally(() => this.#wait(form, -1));
  }
  #wait(form, step) {
    const waiting = (this.#busy.get(form) ?? 0) + step;
    if (waiting) this.#busy.set(form, waiting);
    else this.#busy.delete(form);
    if (waiting) form.setAttribute("aria-busy", "true");
    else form.removeAttribute("aria-busy");
  }
};
var registry2 = globalThis.customElements;
if (registry2 && !registry2.get(TAG)) registry2.define(TAG, ReconnectStreamElement);
export {
  ReconnectStreamElement
};
//# sourceMappingURL=element.js.map

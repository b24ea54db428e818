import type { Entry } from "./frames.ts";
import { formPayload, type FormPayload } from "./form-data.ts";
import type { Receipt, Sending } from "./item.ts";
import { keyOf, lease, type Lease, type SharedOptions } from "./lease.ts";
import type { pagePositions as PagePositions } from "./page.ts";
import type { Client, Subscription } from "./public.ts";
import type { EventsInfo, SnapshotInfo } from "./stream.ts";
import type { describe as Describe, SyncState } from "./sync.ts";

/** What `<reconnect-stream>` and the forms in it dispatch; all of these bubble. */
export interface ReconnectStreamEvents {
  /** Replaces the state of the stream. */
  "reconnect:snapshot": CustomEvent<SnapshotInfo & { readonly stream: string; readonly state: unknown }>;
  /** Entries in order, without gaps or repeats. */
  "reconnect:events": CustomEvent<EventsInfo & { readonly stream: string; readonly entries: readonly Entry[] }>;
  /** The freshness changed; `text` says it for people. */
  "reconnect:sync": CustomEvent<{ readonly stream: string | null; readonly sync: SyncState; readonly text: string }>;
  /** At a form: its message is in the queue. */
  "reconnect:sent": CustomEvent<{ readonly id: string; readonly payload: FormPayload }>;
  /** At a form: its message took effect. */
  "reconnect:receipt": CustomEvent<{ readonly receipt: Receipt; readonly payload: FormPayload }>;
  /** At a form: its message was refused or given up, or its fate is unknown. */
  "reconnect:rejected": CustomEvent<{ readonly error: unknown; readonly payload: FormPayload }>;
}

const TAG = "reconnect-stream";
const ATTRIBUTES = ["src", "stream"];
const scope = globalThis as {
  ReconnectChannels?: { readonly describe: typeof Describe; readonly pagePositions?: typeof PagePositions };
};
// A server that renders may import this file for its types' sake.
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/**
 * `<reconnect-stream src="/ws/board/" stream="board:1">`: a stream for templates without a framework.
 *
 * Elements with the same `src` share one client, which outlives a swap within one task; the last one closes it with 1000
 * `unmount`. `data-kind`, `data-waiting` and `data-role` tell its state to style sheets.
 */
export class ReconnectStreamElement extends Base {
  static readonly observedAttributes = ATTRIBUTES;

  #options: SharedOptions = {};
  #held: Lease | null = null;
  #key = "";
  #subscription: Subscription | null = null;
  /** Ends what listens to the present client and stream. */
  #until = new AbortController();
  /** What `src` and `stream` were when they were opened. */
  #opened = "";
  #pending = false;
  #frame = 0;
  /** Messages of each form that wait. */
  readonly #busy = new Map<HTMLFormElement, number>();

  constructor() {
    super();
    this.addEventListener("submit", (event) => this.#submit(event));
  }

  /** Options of `connect`. Set them before the element is connected, or before `src`. */
  get options(): SharedOptions {
    return this.#options;
  }

  set options(options: SharedOptions) {
    this.#options = options;
    this.#later();
  }

  /** Null while the element is in no document or has no `src`. */
  get client(): Client | null {
    const held = this.#held;
    return held && !held.signal.aborted ? held.client : null;
  }

  /** The last applied entry; 0 for none. */
  get seq(): number {
    return this.#subscription?.seq ?? 0;
  }

  get sync(): SyncState | null {
    return this.#subscription?.sync ?? this.client?.sync ?? null;
  }

  /**
   * Sends as `client.send` does, on the element's stream. What was not sent when the element is removed is withdrawn.
   *
   * @returns rejects in addition with an InvalidStateError while there is no client
   */
  send(payload: unknown, { signal }: { signal?: AbortSignal | undefined } = {}): Sending {
    this.#open();
    const held = this.#held;
    if (!held) return Object.assign(Promise.reject(new DOMException("not connected", "InvalidStateError")), { id: "" });
    const until = signal ? AbortSignal.any([signal, held.signal]) : held.signal;
    return held.client.send(this.getAttribute("stream")!, payload, { signal: until });
  }

  connectedCallback(): void {
    // Set on the element before its class was there, it hides the accessor.
    if (Object.hasOwn(this, "options")) {
      const { options } = this;
      delete (this as { options?: SharedOptions }).options;
      this.#options = options;
    }
    if (this.#held?.signal.aborted === false) this.#held.take();
    this.#later();
  }

  disconnectedCallback(): void {
    this.#held?.release();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  /** Moved by `moveBefore`: nothing ends. */
  connectedMoveCallback(): void {}

  attributeChangedCallback(): void {
    this.#later();
  }

  /** Several attributes are often set in one go. */
  #later(): void {
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
  #open(): void {
    if (!this.isConnected) return;
    const src = this.getAttribute("src");
    const stream = this.getAttribute("stream");
    const key = src ? keyOf(src, this.#options) : "";
    const wanted = JSON.stringify([key, stream]);
    const kept = this.#held?.signal.aborted === false;
    if (wanted === this.#opened && (kept || !src)) return;
    // The script of the client may stand below this one's.
    if (src && !this.#options.connect && !scope.ReconnectChannels && document.readyState !== "complete") {
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
      const position = scope.ReconnectChannels?.pagePositions?.()[stream];
      // What the page came with is no news: a fragment that swaps its own element would fetch itself for ever.
      const changed = (seq: number) => {
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
        onSync: (sync) => this.#synced(stream, sync),
      });
    } else client.on("syncChange", (sync) => this.#synced(null, sync), { signal });
    this.#show();
  }

  #tell<Name extends keyof ReconnectStreamEvents>(
    target: HTMLElement,
    name: Name,
    detail: ReconnectStreamEvents[Name]["detail"],
  ): void {
    target.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  /** Once a frame at most: htmx fetches the fragment again, however many entries came. A hidden page waits. */
  #refresh(): void {
    if (!this.getAttribute("refresh") || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const name = this.getAttribute("refresh");
      if (name) this.dispatchEvent(new CustomEvent(name, { bubbles: true, detail: { seq: this.seq } }));
    });
  }

  #synced(stream: string | null, sync: SyncState): void {
    this.#show();
    this.#tell(this, "reconnect:sync", { stream, sync, text: scope.ReconnectChannels?.describe(sync) ?? sync.kind });
  }

  #show(): void {
    const { sync } = this;
    this.#mark("data-kind", sync?.kind);
    this.#mark("data-waiting", sync?.waiting);
    this.#mark("data-role", this.client?.snapshot.role);
    const text = sync ? (scope.ReconnectChannels?.describe(sync) ?? sync.kind) : "";
    for (const status of this.querySelectorAll("[data-reconnect-status]")) {
      // Written only when it says something else: every write is read out.
      if (status.closest(TAG) === this && status.textContent !== text) status.textContent = text;
    }
  }

  #mark(name: string, value: string | number | undefined): void {
    if (value === undefined) this.removeAttribute(name);
    else if (this.getAttribute(name) !== `${value}`) this.setAttribute(name, `${value}`);
  }

  #submit(event: SubmitEvent): void {
    const form = event.target as HTMLFormElement;
    if (!form.matches("form[data-reconnect-send]") || form.closest(TAG) !== this || event.defaultPrevented) return;
    event.preventDefault();
    const payload = formPayload(form, event.submitter);
    const before = JSON.stringify(formPayload(form));
    const sending = this.send(payload);
    this.#wait(form, 1);
    this.#tell(form, "reconnect:sent", { id: sending.id, payload });
    void sending
      .then(
        (receipt) => {
          // What was typed since then stays.
          if (JSON.stringify(formPayload(form)) === before) form.reset();
          this.#tell(form, "reconnect:receipt", { receipt, payload });
        },
        (error) => this.#tell(form, "reconnect:rejected", { error, payload }),
      )
      .finally(() => this.#wait(form, -1));
  }

  #wait(form: HTMLFormElement, step: number): void {
    const waiting = (this.#busy.get(form) ?? 0) + step;
    if (waiting) this.#busy.set(form, waiting);
    else this.#busy.delete(form);
    if (waiting) form.setAttribute("aria-busy", "true");
    else form.removeAttribute("aria-busy");
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "reconnect-stream": ReconnectStreamElement;
  }
  interface HTMLElementEventMap extends ReconnectStreamEvents {}
}

const registry = globalThis.customElements as CustomElementRegistry | undefined;
if (registry && !registry.get(TAG)) registry.define(TAG, ReconnectStreamElement);

/** The line that tells the truth: what the connection does, how fresh the board is, what still waits. */

import { announce, byId, setText } from "./dom.js";

/** What lasts shorter than this is no news: on a good line every message waits for a moment. */
const SETTLED_MS = 1500;

export class Status {
  /** Before the first snapshot there is nothing to be stale. */
  loaded = false;
  #kind = "";
  #announced = "";
  #timer;
  #retryAt = null;

  /** @param client the connected client; @param stream the stream whose seq is shown */
  constructor(client, stream, describe) {
    this.client = client;
    this.stream = stream;
    this.describe = describe;
    byId("retry").addEventListener("click", () => client.retry());
    setInterval(() => this.#countdown(), 500);
    client.on("change", (snapshot) => this.show(snapshot));
    this.show(client.snapshot);
  }

  show(snapshot) {
    const { sync, state, waiting } = snapshot;
    const kind = !this.loaded ? "loading" : sync.kind === "live" && waiting > 0 ? "waiting" : sync.kind;
    byId("status").dataset.kind = kind;
    byId("status").dataset.state = state;
    document.body.dataset.kind = kind;
    const text = this.loaded ? this.describe(sync) : "Loading…";
    setText(byId("status-text"), text);
    setText(byId("fact-state"), state.toLowerCase());
    setText(byId("fact-seq"), String(snapshot.streams?.[this.stream]?.seq ?? "–"));
    setText(byId("fact-waiting"), String(waiting));
    byId("fact-waiting").toggleAttribute("data-some", waiting > 0);
    this.#retryAt = state === "RECONNECTING" ? snapshot.retryAt : null;
    byId("retry").hidden = state === "CONNECTED" || document.body.hasAttribute("data-stranger");
    this.#countdown();
    if (kind !== this.#kind) this.#tell(kind);
  }

  /** The kind only, not every number: that would talk without end. */
  #tell(kind) {
    this.#kind = kind;
    clearTimeout(this.#timer);
    if (kind === this.#announced) return;
    this.#timer = setTimeout(() => {
      this.#announced = kind;
      announce(byId("status-text").textContent);
    }, SETTLED_MS);
  }

  #countdown() {
    const left = this.#retryAt ? Math.ceil((this.#retryAt - Date.now()) / 1000) : 0;
    byId("fact-retry-row").hidden = left <= 0;
    if (left > 0) setText(byId("fact-retry"), `in ${left} s`);
  }
}

/**
 * What the tabs of this demo ask each other to do. The client shares the connection all by itself; this is for the
 * demo's buttons, which act on other tabs: break the socket where it is, hand over, close.
 */

import { suffer } from "./lab-socket.js";

const CHANNEL = "board-demo";
const CLOSING_MS = 300;

/** What this tab is to the connection, in two words. @param snapshot of the client */
export function describeRole({ role, tabs }) {
  return tabs.length > 1 ? `${role}, ${tabs.length} tabs` : role;
}

export class Neighbours {
  #channel = null;
  /** What each tab shows, by the tab's id. */ #pages = new Map();
  #introduced = false;
  /** Called when something new is known of another tab. */
  changed = () => {};

  /**
   * @param client of this tab; @param page what this tab shows: "Board"
   * @param on {{fault?: (fault: import("./lab-socket.js").Fault) => void, stays?: (id: string) => void}} what others ask
   *   for or answer: a fault to suffer; a tab that no script may close
   */
  constructor(client, page, { fault = suffer, stays = () => {} } = {}) {
    this.client = client;
    this.page = page;
    this.does = { fault, stays };
    this.#open();
    // A message would throw the page out of the back/forward cache.
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", ({ persisted }) => persisted && !client.signal.aborted && this.#open());
    client.signal.addEventListener("abort", () => this.#close());
    client.on("change", () => this.#introduce());
  }

  /** The other tabs that share the connection. */
  get others() {
    return this.client.snapshot.tabs.filter(({ mine }) => !mine).map(({ id }) => id);
  }

  /** The tab that owns the connection, unless it is this one. */
  get leader() {
    const { id, mine } = this.client.snapshot.tabs.find(({ leader }) => leader) ?? { mine: true };
    return mine ? null : id;
  }

  /** A tab for people: "Board 3f2a". */
  nameOf(id) {
    const page = id === this.#me ? this.page : (this.#pages.get(id) ?? "Tab");
    return `${page} ${id.slice(0, 4)}`;
  }

  /** @param what {{resign: true} | {close: true} | {fault: import("./lab-socket.js").Fault}} */
  ask(ids, what) {
    if (ids.length) this.#channel?.postMessage({ to: ids, from: this.#me, ...what });
  }

  get #me() {
    return this.client.snapshot.tabs.find(({ mine }) => mine)?.id;
  }

  #open() {
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.addEventListener("message", ({ data }) => this.#take(data));
    this.#introduced = false;
    this.#introduce();
  }

  #close() {
    this.#channel?.close();
    this.#channel = null;
  }

  #introduce() {
    if (this.#introduced || !this.#me || !this.#channel) return;
    this.#introduced = true;
    this.#channel.postMessage({ from: this.#me, page: this.page, andYou: true });
  }

  #take({ to, from, page, andYou, resign, close, fault, stays }) {
    if (page) {
      this.#pages.set(from, page);
      if (andYou && this.#me) this.#channel.postMessage({ from: this.#me, page: this.page });
      this.changed();
    }
    if (!to?.includes(this.#me)) return;
    if (resign) this.client.resign();
    if (fault) this.does.fault(fault);
    if (stays) this.does.stays(from);
    if (!close) return;
    window.close(); // refused for tabs that a person opened and used
    setTimeout(() => this.ask([from], { stays: true }), CLOSING_MS);
  }
}

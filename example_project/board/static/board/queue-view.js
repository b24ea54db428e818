/** The messages that wait for the server's answer, with their contents. */

import { byId, setText } from "./dom.js";

/** On a good line every message waits for a moment: shown at once, the list would only flicker. */
const CALM_MS = 150;
const MAX_ROWS = 50;

export class QueueView {
  #list = byId("queue-list");
  #timer = null;
  /** @type {readonly unknown[]} */ #shown = [];

  constructor(client) {
    this.client = client;
    for (const event of ["change", "queueChange"]) client.on(event, () => this.#soon());
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.render();
    }, CALM_MS);
  }

  render() {
    const { queue } = this.client;
    if (queue === this.#shown) return;
    this.#shown = queue;
    setText(byId("queue-count"), queue.length ? String(queue.length) : "");
    byId("queue-empty").hidden = queue.length > 0;
    this.#list.hidden = !queue.length;
    const rows = queue.slice(0, MAX_ROWS).map((entry) => row(entry));
    if (queue.length > MAX_ROWS) rows.push(line(`and ${queue.length - MAX_ROWS} more`));
    this.#list.replaceChildren(...rows);
  }
}

function row({ id, stream, payload, state, createdAt }) {
  const made = byId("message-template").content.firstElementChild.cloneNode(true);
  made.dataset.state = state;
  setText(made.querySelector(".message-state"), state);
  setText(made.querySelector(".message-payload"), describe(payload));
  setText(made.querySelector("time"), new Date(createdAt).toLocaleTimeString("en-GB"));
  setText(made.querySelector(".message-id"), `${id.slice(0, 8)} to ${stream}`);
  return made;
}

function line(text) {
  const made = document.createElement("li");
  made.textContent = text;
  return made;
}

function describe({ op, title, card, column }) {
  const what = title ? `“${title}”` : typeof card === "number" ? `#${card}` : "a new card";
  return column && op === "move" ? `${op} ${what} to ${column}` : `${op} ${what}`;
}

/** The plain page: the server renders the cards, <reconnect-stream> says when they have changed. */

import { watchAccount } from "./account.js";
import { announce, byId, setText } from "./dom.js";
import { LabSocket } from "./lab-socket.js";
import { describeRole, Neighbours } from "./neighbours.js";

const RETRY_MS = 1000;
const cards = byId("cards");
const element = document.querySelector("reconnect-stream");

element.options = {
  WebSocket: LabSocket,
  maxMs: Number(element.dataset.maxWait),
  connect(url, options) {
    const client = ReconnectChannels.connect(url, { recorder: ReconnectChannels.telemetryRecorder(), ...options });
    globalThis.boardClient = client; // for the console
    watchAccount(client);
    new Neighbours(client, "Plain");
    client.on("change", (snapshot) => setText(byId("fact-role"), describeRole(snapshot)));
    return client;
  },
};

let busy = false;
let again = false;

/** One request at a time; what changes meanwhile asks for one more. */
async function refresh() {
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    try {
      const response = await fetch(cards.dataset.source);
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      show(await response.text());
    } catch {
      setTimeout(refresh, RETRY_MS);
    }
  }
  busy = false;
}

function show(html) {
  const { id, form } = document.activeElement;
  const card = form?.elements.card?.value;
  const template = document.createElement("template");
  template.innerHTML = html;
  cards.replaceChildren(template.content);
  // A card that moved has other buttons now.
  if (card) (byId(id) ?? cards.querySelector(`button[id$="-${card}"]`) ?? cards).focus({ preventScroll: true });
}

element.addEventListener("board:changed", refresh);
element.addEventListener("reconnect:sent", () => setText(byId("problem"), ""));
element.addEventListener("reconnect:receipt", () => announce("Saved."));
element.addEventListener("reconnect:rejected", ({ detail: { error } }) => {
  setText(byId("problem"), `Not done: ${error.reason ?? error.message}`);
});

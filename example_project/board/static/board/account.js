/** Two accounts in one browser: the old one is logged out of its connection first, and its other tabs say so. */

import { byId } from "./dom.js";

let leaving = false;

for (const form of document.querySelectorAll("form[data-account]")) {
  form.addEventListener("submit", (event) => {
    const clients = [...ReconnectChannels.clients];
    const waiting = clients.reduce((sum, client) => sum + client.waiting, 0);
    const staying = event.submitter?.ariaPressed === "true";
    if (staying || (waiting && !confirm(`${waiting} of your messages still wait for the server. Leave without them?`))) {
      event.preventDefault();
      return;
    }
    leaving = true;
    for (const client of clients) client.logout(); // also tells the other tabs of this account
  });
}

// Back to a page that has left: it comes out of the cache with a closed client.
addEventListener("pageshow", ({ persisted }) => persisted && leaving && location.reload());
byId("stranger-reload").addEventListener("click", () => location.reload());

/** Says that the tab belongs to another account once that is so: told by another tab, or refused by the server. */
export function watchAccount(client) {
  client.on("stateChange", ({ to, reason }) => {
    const left = to === "DISCONNECTED" && reason === "logout";
    const refused = to === "FAILED" && reason.startsWith("4501");
    if (leaving || !(left || refused)) return;
    byId("stranger").hidden = false;
    document.body.dataset.stranger = "";
  });
}

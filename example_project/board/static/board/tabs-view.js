/** The list of this browser's tabs that share the connection, and what can be done about it. */

import { announce, byId, setText } from "./dom.js";
import { describeRole } from "./neighbours.js";

/** What lasts shorter is no news. */
const SETTLED_MS = 1500;

export class TabsView {
  /** @type {Map<string, HTMLElement>} in the order of their arrival */ #rows = new Map();
  #list = byId("tabs-list");
  #resign = byId("tabs-resign");
  #told = "";
  #timer;

  /** @param neighbours {import("./neighbours.js").Neighbours} */
  constructor(client, neighbours) {
    this.client = client;
    this.neighbours = neighbours;
    // Opened by a script, so that a script may close it.
    byId("tabs-open").addEventListener("click", () => window.open(location.href, "_blank"));
    this.#resign.addEventListener("click", () => {
      if (neighbours.leader) neighbours.ask([neighbours.leader], { resign: true });
      else client.resign();
    });
    this.#list.addEventListener("click", (event) => {
      const id = event.target.closest("button")?.dataset.close;
      if (id) neighbours.ask([id], { close: true });
    });
    neighbours.changed = () => this.render();
    client.on("change", () => this.render());
    this.render();
  }

  render() {
    const closed = this.client.signal.aborted;
    const { role, tabs } = closed ? { role: "closed", tabs: [] } : this.client.snapshot;
    const count = tabs.length;
    setText(byId("tabs-count"), count ? String(count) : "");
    setText(byId("tabs-role"), explain(role, count));
    setText(byId("fact-role"), describeRole({ role, tabs }));
    this.#resign.hidden = count < 2;
    setText(this.#resign, role === "leader" ? "Hand the connection over" : "Ask the leader to hand over");
    for (const tab of tabs) this.#show(tab);
    const present = new Set(tabs.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (present.has(id)) continue;
      if (row.contains(document.activeElement)) byId("tabs").focus();
      row.remove();
      this.#rows.delete(id);
    }
    this.#tell(count > 1 ? `${count} tabs share one connection. This one is the ${role}.` : "");
  }

  #show({ id, leader, mine, visible }) {
    let row = this.#rows.get(id);
    if (!row) {
      row = byId("tab-template").content.firstElementChild.cloneNode(true);
      row.querySelector("button").dataset.close = id;
      this.#rows.set(id, row);
      this.#list.append(row);
    }
    const name = this.neighbours.nameOf(id);
    row.toggleAttribute("data-leader", leader);
    row.toggleAttribute("data-mine", mine);
    setText(row.querySelector(".tab-name"), name);
    const notes = [leader && "leads", mine && "this tab", !visible && !mine && "hidden"].filter(Boolean);
    setText(row.querySelector(".tab-notes"), notes.join(", "));
    const close = row.querySelector("button");
    close.hidden = mine;
    setText(close, leader ? "Close the leader" : "Close");
    close.ariaLabel = leader ? `Close the leader, ${name}` : `Close ${name}`;
  }

  #tell(text) {
    clearTimeout(this.#timer);
    if (text === this.#told) return;
    this.#timer = setTimeout(() => {
      this.#told = text;
      if (text) announce(text);
    }, SETTLED_MS);
  }
}

function explain(role, count) {
  switch (role) {
    case "leader":
      return count > 1
        ? "This tab leads: it owns the one connection, which the others use."
        : "This tab leads, and nobody follows yet. Open another: both share one connection.";
    case "follower":
      return "This tab follows: whatever it sends and hears goes through the leader.";
    case "candidate":
      return "Waiting to hear which tab leads …";
    case "closed":
      return "This tab is closed to the others. Reload it.";
    case "suspended":
      return "This tab rests and takes no part.";
    default:
      return "This tab shares nothing: it has a connection of its own.";
  }
}

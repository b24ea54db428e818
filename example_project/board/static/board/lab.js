/** The network lab: buttons that break things, and a log that says in plain words what happened. */

import { byId } from "./dom.js";
import { network, suffer } from "./lab-socket.js";

const LAB_TITLE = "Lab card";
const MAX_LINES = 100;
const wide = matchMedia("(min-width: 1100px)");
/** Reasons for which a tab changes its way to the server though nothing broke. */
const MOVES = ["leader", "follower", "solo", "the leader is gone", "another tab leads"];

export class Lab {
  #panel = byId("lab");
  #log = byId("lab-log");
  #away = null;
  /** Since when a half-open socket has deceived the client. */
  #deceived = null;

  /**
   * @param send {(payload: any) => void} @param model {import("./model.js").Model}
   * @param neighbours {import("./neighbours.js").Neighbours}
   */
  constructor(client, { send, model, neighbours }) {
    this.client = client;
    this.neighbours = neighbours;
    this.send = send;
    this.model = model;
    network.report = (text) => this.say(text);
    byId("lab-toggle").addEventListener("click", () => this.#open(this.#panel.hidden));
    byId("lab-close").addEventListener("click", () => this.#open(false));
    this.#panel.addEventListener("click", (event) => {
      const button = event.target.closest("[data-lab]");
      if (button) this.#run(button.dataset.lab);
    });
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#open(false);
    });
    byId("repeat").addEventListener("change", ({ target }) => this.#cause({ kind: "repeat", on: target.checked }));
    client.on("stateChange", (change) => this.#changed(change));
    client.on("change", (snapshot) => this.#watch(snapshot));
    if (wide.matches) this.#open(true, { focus: false });
  }

  say(text) {
    const line = document.createElement("li");
    const time = document.createElement("time");
    const now = new Date();
    time.dateTime = now.toISOString();
    time.textContent = now.toLocaleTimeString("en-GB");
    line.append(time, ` ${text}`);
    this.#log.prepend(line);
    while (this.#log.children.length > MAX_LINES) this.#log.lastElementChild.remove();
  }

  /** Entries were applied; while we are coming back they count as caught up. */
  applied(count) {
    if (this.#away) this.#away.entries += count;
  }

  /** The server answered one of our messages. */
  answered({ duplicate }) {
    if (!this.#away) return;
    this.#away.sent += 1;
    if (duplicate) this.#away.known += 1;
  }

  #open(open, { focus = true } = {}) {
    this.#panel.hidden = !open;
    byId("lab-toggle").ariaExpanded = String(open);
    document.body.toggleAttribute("data-lab-open", open);
    if (focus) (open ? byId("lab-close") : byId("lab-toggle")).focus();
  }

  #run(experiment) {
    const run = {
      cut: () => this.#cause({ kind: "cut", seconds: number("cut-seconds") }),
      "half-open": () => this.#cause({ kind: "half-open" }),
      lose: () => this.#cause({ kind: "lose", count: number("lose-count") }),
      send: () => {
        const batch = new Date().toLocaleTimeString("en-GB");
        for (let n = 1; n <= 20; n += 1) this.send({ op: "create", column: "todo", title: `${LAB_TITLE} ${n} of ${batch}` });
        this.say("20 cards handed to the client");
      },
      tidy: () => {
        const cards = this.model.view().filter((card) => /^(Lab card|From somebody else) /.test(card.title) && !card.leaving);
        for (const card of cards) this.send({ op: "delete", card: card.id ?? card.key });
        this.say(`${cards.length} delete${cards.length === 1 ? "" : "s"} handed to the client`);
      },
      somebody: () => this.#post(this.#panel.dataset.somebodyUrl, "Somebody else made 3 changes on the server"),
      drop: () => this.#post(this.#panel.dataset.dropUrl, "The server dropped every socket of this board"),
    }[experiment];
    run();
  }

  /** A fault hits the browser's one connection, whichever tab owns it; no other tab shall find a way around a cut. */
  #cause(fault) {
    const { leader, others } = this.neighbours;
    if (leader) this.say(`The socket belongs to another tab: ${this.neighbours.nameOf(leader)} does it`);
    this.neighbours.ask(fault.kind === "lose" ? (leader ? [leader] : []) : others, { fault });
    if (leader && fault.kind === "lose") this.say(lossOf(fault.count));
    else this.suffer(fault);
  }

  /** @param fault {import("./lab-socket.js").Fault} from this tab or another one */
  suffer(fault) {
    const felt = suffer(fault) > 0 || this.client.role === "follower";
    switch (fault.kind) {
      case "cut":
        this.say(`The line is cut for ${fault.seconds} s`);
        if (!felt) this.say("There was no open socket in this tab");
        setTimeout(() => this.say("The line is whole again; the client will find out"), fault.seconds * 1000);
        break;
      case "half-open":
        if (felt) this.#deceived = Date.now();
        this.say(felt ? "Half-open: nothing gets through any more, and nobody was told" : "There is no open socket to make half-open");
        break;
      case "lose":
        this.say(lossOf(fault.count));
        break;
      case "repeat":
        byId("repeat").checked = fault.on;
        this.say(fault.on ? "Every frame from the server now comes twice" : "Frames come once again");
    }
  }

  async #post(url, done) {
    try {
      const token = this.#panel.querySelector("[name=csrfmiddlewaretoken]").value;
      const response = await fetch(url, { method: "POST", headers: { "X-CSRFToken": token } });
      const problem = response.ok ? null : ((await response.json().catch(() => ({}))).reason ?? `HTTP ${response.status}`);
      this.say(problem ? `The server refused: ${problem}` : done);
    } catch {
      this.say("The server can't be reached over HTTP either");
    }
  }

  #changed({ from, to, reason }) {
    if (from === "CONNECTED" && MOVES.includes(reason)) {
      this.say("The connection moves to another tab");
      this.#away = { since: Date.now(), entries: 0, sent: 0, known: 0, live: false };
    } else if (reason === "logout") {
      this.say("Logged out in another tab");
    } else if (from === "CONNECTED") {
      const since = this.#deceived ?? Date.now();
      this.#away = { since, entries: 0, sent: 0, known: 0, live: false };
      this.say(this.#deceived ? `The client noticed, after ${secondsSince(since)} s` : "The connection is lost");
      this.#deceived = null;
    } else if (to === "CONNECTED") {
      this.say(this.#away ? "Connected again" : "Connected");
    } else if (to === "FAILED") {
      this.say("The connection has failed for good");
    }
  }

  #watch({ state, sync, waiting }) {
    const away = this.#away;
    if (!away || state !== "CONNECTED" || sync.kind !== "live") return;
    if (!away.live) {
      away.live = true;
      this.say(`Live again after ${secondsSince(away.since)} s: ${count(away.entries, "entry", "entries")} caught up`);
    }
    if (waiting > 0) return;
    if (away.sent > 0) {
      const known = away.known ? `; the server knew ${away.known} of them already and took none twice` : away.sent > 1 ? ", each once" : ", once";
      this.say(`${count(away.sent, "waiting message", "waiting messages")} arrived${known}`);
    }
    this.#away = null;
  }
}

const secondsSince = (time) => Math.round((Date.now() - time) / 1000);
const lossOf = (n) => `The next ${n} frame${n > 1 ? "s" : ""} from the server will be lost`;
const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;

function number(id) {
  const input = byId(id);
  const value = Math.min(Math.max(Math.round(input.valueAsNumber) || 1, Number(input.min)), Number(input.max));
  input.value = String(value);
  return value;
}

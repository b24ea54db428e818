/** The columns: keeps the page's elements equal to the model's view, and turns gestures into operations. */

import { CardView } from "./card-view.js";
import { setText } from "./dom.js";
import { byPlace, nameOf, referenceTo } from "./model.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class ColumnsView {
  /** @type {Map<string, CardView>} */ #views = new Map();
  #columns = [...document.querySelectorAll(".column")];
  #lists = new Map(this.#columns.map((column) => [column.dataset.column, column.querySelector(".cards")]));
  #dragged = null;
  #first = true;

  /**
   * @param model {import("./model.js").Model}
   * @param send {(payload: any) => void} @param forget {(op: any) => void} @param announce {(text: string) => void}
   * @param redraw {() => void} draw again soon
   */
  constructor(model, { send, forget, announce, redraw }) {
    this.model = model;
    this.send = send;
    this.announce = announce;
    this.actions = {
      move: (card, direction) => this.#move(card, direction),
      remove: (card) => this.#remove(card),
      edit: (view, title) => this.#edit(view, title),
      amend: (view, op) => this.#amend(view, op),
      again: (op) => {
        forget(op);
        send(op.payload);
      },
      dismiss: forget,
      closed: redraw,
      opened: (view) => {
        for (const other of this.#views.values()) if (other !== view) other.openTools(false);
      },
    };
    this.forget = forget;
    for (const column of this.#columns) {
      column.querySelector(".new-card").addEventListener("submit", (event) => this.#create(event, column));
      column.addEventListener("dragover", (event) => this.#dragOver(event, column));
      column.addEventListener("drop", (event) => this.#drop(event, column));
      column.addEventListener("dragstart", (event) => this.#dragStart(event));
      column.addEventListener("dragend", () => this.#dragEnd());
    }
    this.#followScrolling();
  }

  render() {
    const cards = this.model.view();
    const before = this.#rectangles();
    const focused = document.activeElement;
    const seen = new Set();
    for (const card of cards) {
      const name = nameOf(card);
      seen.add(name);
      const view = this.#views.get(name);
      if (view) {
        view.update(card);
      } else {
        const made = new CardView(card, this.actions);
        if (!this.#first && !card.waiting) made.element.dataset.fresh = "";
        this.#views.set(name, made);
      }
    }
    for (const [name, view] of this.#views) {
      if (seen.has(name)) continue;
      if (view.pinned) {
        view.markDeleted();
        continue;
      }
      if (view.element.contains(focused)) this.#focusNeighbour(view.element);
      view.element.remove();
      this.#views.delete(name);
    }
    for (const [column, list] of this.#lists) {
      const here = this.#inColumn(column);
      arrange(list, here.map((view) => view.element), document.activeElement);
      for (const count of document.querySelectorAll(`[data-count="${column}"]`)) setText(count, String(here.length));
    }
    // Moving an element to another list takes the focus away; nobody asked for that.
    if (focused !== document.activeElement && focused.isConnected && focused !== document.body) {
      focused.focus({ preventScroll: true });
      focused.closest(".card")?.scrollIntoView({ block: "nearest", inline: "nearest", behavior: calm.matches ? "auto" : "smooth" });
    }
    this.#first = false;
    document.body.toggleAttribute("data-drawn", true);
    this.#glide(before);
  }

  #inColumn(column) {
    const place = (view) => view.pinned ?? view.card;
    return [...this.#views.values()]
      .filter((view) => place(view).column === column)
      .sort((a, b) => byPlace(place(a), place(b)));
  }

  /** On a narrow screen, mark the column in view in the row of links. */
  #followScrolling() {
    const links = [...document.querySelectorAll(".jump a")];
    const observer = new IntersectionObserver(
      (changes) => {
        const seen = changes.find((change) => change.isIntersecting)?.target.dataset.column;
        if (!seen) return;
        for (const link of links) {
          if (link.dataset.column === seen) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        }
      },
      { root: document.querySelector(".columns"), threshold: 0.6 },
    );
    for (const column of this.#columns) observer.observe(column);
  }

  /** The cards of a column that a message can name. */
  #named(column) {
    return this.#inColumn(column).filter((view) => !view.stuck).map((view) => view.card);
  }

  #label(column) {
    return this.#columns.find((element) => element.dataset.column === column).dataset.label;
  }

  // -- operations ---------------------------------------------------------------------------------

  #create(event, column) {
    event.preventDefault();
    const input = event.target.elements.title;
    const title = input.value.trim();
    setText(column.querySelector(".new-card .problem"), title ? "" : "A card needs a title.");
    input.ariaInvalid = String(!title);
    if (title) {
      this.send({ op: "create", column: column.dataset.column, title });
      input.value = "";
      requestAnimationFrame(() => column.querySelector(".cards").lastElementChild?.scrollIntoView({ block: "nearest" }));
    }
    input.focus();
  }

  #edit(view, title) {
    const { card } = view;
    const problem = card.problem;
    view.stopEdit();
    if (problem && "title" in problem.payload) this.forget(problem);
    if (view.stuck) this.send({ op: "create", column: card.column, title });
    else if (title !== card.title) this.send({ op: "edit", card: referenceTo(card), title });
  }

  #amend(view, op) {
    if (!view.card.gone) return view.startEdit(op.payload.title);
    this.forget(op);
    this.send({ op: "create", column: view.card.column, title: op.payload.title });
  }

  #remove(card) {
    this.send({ op: "delete", card: referenceTo(card) });
    this.announce(`Deleted “${card.title}”.`);
  }

  #move(card, direction) {
    const columns = [...this.#lists.keys()];
    const here = this.#named(card.column);
    const at = here.findIndex((other) => nameOf(other) === nameOf(card));
    let { column } = card;
    let before;
    if (direction === "up") {
      if (at === 0) return this.announce("It is on top already.");
      before = here[at - 1];
    } else if (direction === "down") {
      if (at === here.length - 1) return this.announce("It is at the bottom already.");
      before = here[at + 2];
    } else {
      column = columns[columns.indexOf(column) + (direction === "left" ? -1 : 1)];
      if (!column) return this.announce("There is no column on that side.");
      before = this.#named(column)[at];
    }
    this.#place(card, column, before);
  }

  #place(card, column, before) {
    this.send({ op: "move", card: referenceTo(card), column, before: before ? referenceTo(before) : null });
    const there = this.model.view().filter((other) => other.column === column);
    const at = there.findIndex((other) => nameOf(other) === nameOf(card));
    this.announce(`“${card.title}”: ${this.#label(column)}, place ${at + 1} of ${there.length}.`);
  }

  // -- drag and drop --------------------------------------------------------------------------------

  #dragStart(event) {
    const view = this.#views.get(event.target.closest?.(".card")?.dataset.name);
    if (!view) return;
    this.#dragged = view;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", view.card.title);
    view.element.dataset.dragged = "";
  }

  #dragOver(event, column) {
    if (!this.#dragged) return;
    event.preventDefault();
    const target = this.#target(event, column);
    this.#clearMarks();
    (target?.element ?? column.querySelector(".cards")).dataset.drop = "";
  }

  #drop(event, column) {
    if (!this.#dragged) return;
    event.preventDefault();
    const { card } = this.#dragged;
    this.#place(card, column.dataset.column, this.#target(event, column)?.card);
    this.#dragEnd();
  }

  #dragEnd() {
    this.#clearMarks();
    if (this.#dragged) delete this.#dragged.element.dataset.dragged;
    this.#dragged = null;
  }

  /** The card in front of which a drop would put the dragged one. */
  #target(event, column) {
    return this.#inColumn(column.dataset.column).find((view) => {
      const { top, height } = view.element.getBoundingClientRect();
      return view !== this.#dragged && !view.stuck && event.clientY < top + height / 2;
    });
  }

  #clearMarks() {
    for (const marked of document.querySelectorAll("[data-drop]")) delete marked.dataset.drop;
  }

  // -- how it moves -----------------------------------------------------------------------------------

  #focusNeighbour(element) {
    const neighbour = element.nextElementSibling ?? element.previousElementSibling;
    (neighbour?.querySelector(".card-menu") ?? element.closest(".column").querySelector(".new-card input")).focus();
  }

  #rectangles() {
    if (calm.matches || this.#first) return new Map();
    return new Map([...this.#views.values()].map((view) => [view, view.element.getBoundingClientRect()]));
  }

  /** Let cards glide from where they were to where they are. */
  #glide(before) {
    for (const [view, from] of before) {
      if (!view.element.isConnected || view === this.#dragged) continue;
      const to = view.element.getBoundingClientRect();
      const x = from.left - to.left;
      const y = from.top - to.top;
      if (Math.abs(x) + Math.abs(y) < 2) continue;
      view.element.animate([{ transform: `translate(${x}px, ${y}px)` }, {}], { duration: 180, easing: "ease-out" });
    }
  }
}

/** Bring a list's children into order, without moving the one that has the focus: its input would lose it. */
function arrange(list, wanted, focused) {
  const still = wanted.find((element) => element.contains(focused) && element.parentNode === list);
  let next = null; // from the end: put each in front of the one after it
  for (const element of [...wanted].reverse()) {
    if (element.nextElementSibling !== next || element.parentNode !== list) {
      if (element === still) {
        while (element.nextElementSibling !== next) list.insertBefore(element.nextElementSibling, element);
      } else {
        list.insertBefore(element, next);
      }
    }
    next = element;
  }
}

/** One card on the page. Its element lives as long as the card does; an open edit form is never touched from outside. */

import { setText } from "./dom.js";
import { nameOf } from "./model.js";

const template = document.querySelector("#card-template");
const draggable = matchMedia("(pointer: fine)").matches;

/** Its number, and who changed it last; guests have no name. */
const metaOf = ({ id, by }) => (by ? `#${id} · ${by}` : `#${id}`);

export class CardView {
  /** While its title is being edited, a card keeps the place where the editor saw it. */
  pinned = null;

  /** @param actions {{move, edit, remove, amend, again, dismiss, opened, closed}} what the buttons do */
  constructor(card, actions) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.actions = actions;
    this.find = (selector) => this.element.querySelector(selector);
    this.title = this.find(".card-title");
    this.form = this.find(".card-edit");
    this.input = this.find("textarea");
    this.menu = this.find(".card-menu");
    this.tools = this.find(".card-tools");
    this.element.dataset.name = nameOf(card);
    this.title.id = `title-${nameOf(card).replace("#", "")}`;
    this.element.setAttribute("aria-labelledby", this.title.id);
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("dblclick", (event) => this.#doubleClick(event));
    this.element.addEventListener("keydown", (event) => this.#keydown(event));
    this.form.addEventListener("submit", (event) => this.#submit(event));
    this.update(card);
  }

  update(card) {
    this.card = card;
    const { element } = this;
    element.dataset.id = card.id ?? "";
    element.dataset.column = card.column;
    element.toggleAttribute("data-waiting", Boolean(card.waiting));
    element.toggleAttribute("data-leaving", Boolean(card.leaving));
    element.toggleAttribute("data-failed", Boolean(card.problem));
    element.draggable = draggable && !this.#closed;
    setText(this.title, card.title);
    setText(this.find(".card-meta"), card.leaving ? "waiting to be deleted" : card.waiting ? "waiting" : card.id && !card.gone ? metaOf(card) : "");
    const name = `Actions for “${card.title}”${card.waiting ? " (waiting)" : ""}`;
    if (this.menu.ariaLabel !== name) this.menu.ariaLabel = name;
    this.tools.ariaLabel = name;
    this.find(".card-foot").hidden = this.#closed;
    if (this.#closed) this.openTools(false);
    this.#updateProblem(card.problem);
    this.#updateMeanwhile();
  }

  /** A card that isn't on the server and won't come there by itself: there is nothing to move. */
  get stuck() {
    return Boolean(this.card.gone || (this.card.problem && this.card.id === null));
  }

  /** Neither tools nor an editor can be opened now. */
  get #closed() {
    return this.stuck || Boolean(this.pinned);
  }

  openTools(open) {
    if (this.tools.hidden === !open) return;
    this.tools.hidden = !open;
    this.menu.ariaExpanded = String(open);
    if (open) this.actions.opened(this);
    else this.#askDelete(false);
  }

  startEdit(text = this.card.title) {
    this.pinned = { ...this.card };
    this.input.value = text;
    this.#show(true);
    this.input.focus();
    this.input.select();
  }

  stopEdit() {
    this.pinned = null;
    this.#show(false);
    setText(this.find(".card-edit .problem"), "");
    const next = this.#closed ? this.element.closest(".column").querySelector(".new-card input") : this.menu;
    next.focus();
    this.actions.closed(); // it may go to its new place now
  }

  /** The editor is open, but the card isn't on the board any more. */
  markDeleted() {
    this.update({ ...this.card, gone: true, waiting: false });
  }

  #show(editing) {
    this.form.hidden = !editing;
    this.title.hidden = editing;
    this.update(this.card);
  }

  #updateProblem(op) {
    const box = this.find(".card-problem");
    box.hidden = !op || Boolean(this.pinned);
    if (!op) return;
    const verb = { create: "saved", edit: "saved", move: "moved", delete: "deleted" }[op.payload.op];
    setText(box.querySelector("p"), `Not ${verb}: ${op.reason}`);
    box.querySelector("[data-do=amend]").hidden = !("title" in op.payload);
    box.querySelector("[data-do=amend]").textContent = this.card.gone ? "Save as a new card" : "Edit";
    box.querySelector("[data-do=again]").hidden = Boolean(this.card.gone);
  }

  #updateMeanwhile() {
    if (!this.pinned) return;
    const { card, pinned } = this;
    const news = [];
    if (card.gone) news.push("deleted; saving makes a new card");
    if (card.title !== pinned.title) news.push(`changed to “${card.title}”`);
    if (card.column !== pinned.column) news.push("moved to another column");
    setText(this.find(".meanwhile"), news.length ? `Meanwhile by somebody else: ${news.join(", ")}.` : "");
  }

  #askDelete(asking) {
    const button = this.find("[data-do=delete]");
    button.toggleAttribute("data-sure", asking);
    setText(button, asking ? "Really delete?" : "Delete");
  }

  #click(event) {
    const button = event.target.closest("button");
    if (!button) {
      if (event.target.closest("form, .card-problem, .card-tools") || this.#closed) return;
      if (!getSelection()?.isCollapsed) return; // selecting text is no click
      this.openTools(this.tools.hidden);
      return;
    }
    if (button === this.menu) this.openTools(this.tools.hidden);
    else if (button.dataset.move) this.actions.move(this.card, button.dataset.move);
    else if (button.dataset.do === "cancel") this.stopEdit();
    else if (button.dataset.do === "edit") this.startEdit();
    else if (button.dataset.do === "amend") this.actions.amend(this, this.card.problem);
    else if (button.dataset.do === "again") this.actions.again(this.card.problem);
    else if (button.dataset.do === "dismiss") this.actions.dismiss(this.card.problem);
    else if (button.dataset.do === "delete") {
      if (button.hasAttribute("data-sure")) this.actions.remove(this.card);
      else this.#askDelete(true);
    }
  }

  #doubleClick(event) {
    if (this.#closed || event.target.closest("button, form, .card-tools")) return;
    event.preventDefault();
    this.startEdit();
  }

  #keydown(event) {
    if (event.target === this.input) {
      if (event.isComposing) return; // an input method's Enter chooses a word
      if (event.key === "Escape") this.stopEdit();
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.form.requestSubmit();
      return;
    }
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const direction = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" }[event.key];
    if (direction && event.target.closest(".card-menu, .card-tools")) {
      event.preventDefault();
      this.actions.move(this.card, direction);
    } else if (event.key === "Escape" && !this.tools.hidden) {
      this.openTools(false);
      this.menu.focus();
    }
  }

  #submit(event) {
    event.preventDefault();
    const title = this.input.value.replace(/\s+/g, " ").trim();
    setText(this.find(".card-edit .problem"), title ? "" : "A card needs a title.");
    if (!title) return this.input.focus();
    this.actions.edit(this, title);
  }
}

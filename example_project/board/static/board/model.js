/**
 * What the board looks like: the cards that the stream told of, and on top of them what this page has sent and not yet
 * seen come back. No DOM, no socket.
 *
 * @typedef {{id: number | null, key: string | null, column: string, title: string, rank: number, by?: string}} Card
 * @typedef {{id: string, payload: any, state: "waiting" | "saved" | "failed", reason?: string, seq?: number, was?: Card}} Op
 *   a message of this page; `was` is the card that it was about, in case somebody deletes that meanwhile
 */

const STEP = 2 ** 20; // as on the server

/** In a column, the lowest rank stands on top. */
export const byPlace = (a, b) => a.rank - b.rank || (a.id ?? Infinity) - (b.id ?? Infinity) || 0;

/** The name of a card within the page: it stays the same when the card that we made comes back from the server. */
export const nameOf = (card) => card.key ?? `#${card.id}`;

/** How messages call a card: by its id, or, before the server gave it one, by the message that makes it. */
export const referenceTo = (card) => card.id ?? card.key;

/** Apply one entry's payload, exactly as the server changed its rows. */
export function fold(cards, event) {
  switch (event.type) {
    case "card.created":
      for (const id of event.dropped ?? []) cards.delete(id);
    // falls through
    case "card.edited":
    case "card.moved":
      cards.set(event.card.id, event.card);
      break;
    case "card.deleted":
      cards.delete(event.id);
      break;
    case "column.spread":
      [...cards.values()]
        .filter((card) => card.column === event.column)
        .sort(byPlace)
        .forEach((card, at) => cards.set(card.id, { ...card, rank: (at + 1) * STEP }));
      break;
  }
}

/** A rank that puts a card in front of `before`, or at the end of the column. */
function rankFor(cards, column, before) {
  const inColumn = cards.filter((card) => card.column === column);
  if (!inColumn.includes(before)) return inColumn.reduce((highest, card) => Math.max(highest, card.rank), 0) + STEP;
  const above = inColumn.reduce((nearest, card) => (card.rank < before.rank ? Math.max(nearest, card.rank) : nearest), -Infinity);
  return above === -Infinity ? before.rank - STEP : (above + before.rank) / 2;
}

export class Model {
  seq = 0;
  /** @type {Map<number, Card>} */ cards = new Map();
  /** @type {Map<string, Op>} */ ops = new Map();

  /** A snapshot: everything as it was at `seq`. */
  replace(cards, seq, otherHistory) {
    this.cards = new Map(cards.map((card) => [card.id, card]));
    this.seq = seq;
    const keys = new Set(cards.map((card) => card.key));
    for (const op of this.ops.values()) {
      // Its ack may still be on the way, or lost; the card is there, so it must not be shown twice.
      const arrived = op.payload.op === "create" && keys.has(op.id);
      if (arrived || (op.state === "saved" && (otherHistory || op.seq <= seq))) this.ops.delete(op.id);
    }
  }

  apply(entries) {
    for (const { seq, key, payload } of entries) {
      fold(this.cards, payload);
      this.seq = seq;
      if (payload.type !== "column.spread") this.ops.delete(key); // the echo of our own message
    }
  }

  sent(id, payload) {
    const was = payload.card == null ? undefined : this.find(payload.card);
    this.ops.set(id, { id, payload, state: "waiting", was });
  }

  /** The server has it. Its entry may have come before, or come next, or there is none (nothing changed). */
  saved(id, seq) {
    const op = this.ops.get(id);
    if (!op) return;
    if (seq == null || seq <= this.seq) this.ops.delete(id);
    else Object.assign(op, { state: "saved", seq });
  }

  failed(id, reason) {
    const op = this.ops.get(id);
    if (op) Object.assign(op, { state: "failed", reason });
  }

  forget(id) {
    this.ops.delete(id);
  }

  find(reference) {
    return this.view().find((card) => card.id === reference || card.key === reference);
  }

  /** The cards to show: `waiting` for the server, `leaving` (a delete waits), or with a `problem`. */
  view() {
    const shown = [...this.cards.values()].map((card) => ({ ...card }));
    const find = (reference) =>
      reference == null ? undefined : shown.find((card) => card.id === reference || card.key === reference);
    for (const op of this.ops.values()) {
      const { payload } = op;
      let card = find(payload.op === "create" ? op.id : payload.card);
      if (payload.op === "create" && !card) {
        const rank = rankFor(shown, payload.column);
        shown.push((card = { id: null, key: op.id, column: payload.column, title: payload.title, rank }));
      } else if (!card) {
        // Deleted by somebody else. What was typed stays in sight; a move or delete has nothing left to show.
        if (!op.was || payload.op === "delete" || (payload.op === "move" && op.state !== "failed")) continue;
        shown.push((card = { ...op.was, waiting: false, leaving: false, problem: undefined, gone: true }));
      }
      if (op.state === "failed") {
        card.problem = op;
        if (payload.op === "edit" && card.gone) card.title = payload.title;
        continue;
      }
      if (payload.op === "edit") card.title = payload.title;
      if (payload.op === "move") {
        const before = find(payload.before);
        card.rank = rankFor(shown.filter((other) => other !== card), payload.column, before);
        card.column = payload.column;
      }
      if (op.state === "waiting") card.waiting = true;
      if (payload.op === "delete") card.leaving = true;
    }
    return shown.sort(byPlace);
  }
}

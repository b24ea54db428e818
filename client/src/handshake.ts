import type { End } from "./comeback.ts";

/** So many in a row are worth a word to the application (protocol 1.3). */
const IN_VAIN = 3;

const NO_SUBPROTOCOL = [
  "the consumer lacks DeltaSyncMixin or DedupMixin",
  "the URL leads to another consumer",
  "a proxy drops the header Sec-WebSocket-Protocol",
];
const NO_WELCOME = ["a proxy or middleware swallows frames", "the server can't reach its database", ...NO_SUBPROTOCOL];
const NO_OPEN = [
  "the server can't be reached at this URL",
  "the Origin is not in ALLOWED_ORIGINS",
  // Chromium fails the handshake where the answer names no subprotocol; others open the socket.
  ...NO_SUBPROTOCOL,
];

/** Notices servers that are there and don't speak with us. */
export class Handshakes {
  #opened = 0;
  #unopened = 0;
  #ever = false;

  welcomed(): void {
    this.#opened = this.#unopened = 0;
    this.#ever = true;
  }

  /** An attempt failed. @returns the likely causes, when it is time to tell them */
  failed(end: End, opened: boolean): readonly string[] | undefined {
    if (end.reconnect !== undefined) return; // BYE: the server speaks, and said what it wants
    if (end.stranger) return NO_SUBPROTOCOL;
    if (opened) return ++this.#opened % IN_VAIN ? undefined : NO_WELCOME;
    return !this.#ever && ++this.#unopened === IN_VAIN ? NO_OPEN : undefined;
  }
}

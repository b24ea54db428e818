import type { End } from "./comeback.ts";

/** So many in a row are worth a word to the application (protocol 1.3). */
const IN_VAIN = 3;

const NO_SUBPROTOCOL = [
  "no DeltaSyncMixin or DedupMixin on the consumer",
  "the URL of another consumer",
  "a proxy that drops Sec-WebSocket-Protocol",
];
const NO_WELCOME = ["a proxy that swallows frames", "a database that the server can't reach", ...NO_SUBPROTOCOL];
// Chromium fails the handshake where the answer names no subprotocol; others open the socket.
const NO_OPEN = ["no server at this URL", "an Origin that is not in ALLOWED_ORIGINS", ...NO_SUBPROTOCOL];

/** Notices servers that are there and don't speak with us. */
export interface Handshakes {
  welcomed(): void;
  /** An attempt failed. @returns the likely causes, when it is time to tell them */
  failed(end: End, opened: boolean): readonly string[] | undefined;
}

export function createHandshakes(): Handshakes {
  let openedInVain = 0;
  let unopened = 0;
  return {
    welcomed() {
      openedInVain = 0;
      // Once there was a WELCOME, attempts that don't open say nothing any more.
      unopened = -Infinity;
    },

    failed({ reconnect, stranger }, opened) {
      if (reconnect !== undefined) return; // BYE: the server speaks, and said what it wants
      if (stranger) return NO_SUBPROTOCOL;
      if (opened) return ++openedInVain % IN_VAIN ? undefined : NO_WELCOME;
      return ++unopened === IN_VAIN ? NO_OPEN : undefined;
    },
  };
}

import type { Inner } from "./inner.ts";

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

/** Notices servers that are there and don't speak with us, and tells the likely causes. */
export function diagnoseHandshakes({ on, settings: { emit } }: Pick<Inner, "on" | "settings">): void {
  let openedInVain = 0;
  let unopened = 0;
  const tell = (causes: readonly string[]) => emit("handshake", { causes });

  on("attempt", ({ outcome, opened, end }) => {
    if (outcome === "connected") {
      openedInVain = 0;
      // Once there was a WELCOME, attempts that don't open say nothing any more.
      unopened = -Infinity;
    }
    if (!end || end.reconnect !== undefined) return; // BYE: the server speaks, and said what it wants
    if (end.stranger) tell(NO_SUBPROTOCOL);
    else if (opened) {
      if (++openedInVain % IN_VAIN === 0) tell(NO_WELCOME);
    } else if (++unopened === IN_VAIN) tell(NO_OPEN);
  });
}

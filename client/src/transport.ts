import { MAX_FRAME, SUBPROTOCOL } from "./frames.ts";

/** How a transport ended. */
export interface Ending {
  readonly code: number;
  readonly reason: string;
  /** The peer doesn't speak our subprotocol (protocol 1.2). */
  readonly stranger?: boolean;
  /** No failure: another way to the server is there. Open it at once. */
  readonly again?: boolean;
}

/** What a transport tells its owner. Nothing is called after `close()` or `ended`. */
export interface TransportEvents {
  opened(): void;
  received(data: unknown): void;
  ended(ending: Ending): void;
}

/**
 * Carries frames to a server and back. The layers above don't know whether that is a socket or another
 * tab that owns one: a relay implements this and answers HELLO like a server.
 */
export interface Transport {
  /** @returns whether the frame was handed over; not whether it arrives */
  send(text: string): boolean;
  /** Lets go at once; no event follows. */
  close(code: number, reason: string): void;
  /** True while it waits for another tab, which has no time limit. */
  readonly patient?: boolean;
}

export type OpenTransport = (events: TransportEvents) => Transport;

/** The part of the WebSocket interface that is used; tests and network labs bring their own. */
export interface SocketLike {
  readonly readyState: number;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

const OPEN = 1;

/** A transport over a WebSocket. */
export function socketTransport(url: string, Socket: SocketConstructor): OpenTransport {
  return (events) => {
    const socket = new Socket(url, [SUBPROTOCOL]);
    // Detached first: a socket that was given up may call back for as long as its TCP connection hangs.
    const detach = () => {
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
    };
    const close = (code: number, reason: string) => {
      detach();
      try {
        socket.close(code, reason);
      } catch {
        // A code or reason that this browser refuses, or a socket that is past closing.
        try {
          socket.close();
        } catch {
          // Then it is gone.
        }
      }
    };
    const end = (ending: Ending) => {
      detach();
      events.ended(ending);
    };
    let opened = false;
    socket.onopen = () => {
      opened = true;
      if (socket.protocol === SUBPROTOCOL) return events.opened();
      close(1000, "no subprotocol");
      events.ended({ code: 1006, reason: "the server chose no subprotocol", stranger: true });
    };
    socket.onmessage = (event: { data?: unknown }) => events.received(event.data);
    socket.onclose = (event: { code?: number; reason?: string }) =>
      end({ code: event.code ?? 1006, reason: event.reason ?? "" });
    // After an open, `close` follows with the code. Before, there is no code, and not everywhere a `close` (Node 20).
    socket.onerror = () => {
      if (!opened) end({ code: 1006, reason: "can't connect" });
    };
    return {
      send(text) {
        if (socket.readyState !== OPEN || text.length > MAX_FRAME) return false;
        try {
          socket.send(text);
          return true;
        } catch {
          return false;
        }
      },
      close,
    };
  };
}

/**
 * The absolute WebSocket URL of `url`: relative ones count from the page, http becomes ws.
 *
 * @throws TypeError when it can't be resolved, or isn't for WebSockets
 */
export function resolveUrl(url: string | URL, base: string | undefined = globalThis.location?.href): string {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(resolved.protocol)) throw new TypeError(`not a WebSocket URL: ${resolved.href}`);
  resolved.hash = "";
  return resolved.href;
}

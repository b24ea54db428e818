import type { FakeServer, FakeSocket } from "../../src/testing.ts";
import type { SocketLike } from "../../src/transport.ts";
import type { Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

/** One page's end of a WebSocket. */
export interface Cable {
  readonly tab: Tab;
  readonly socket: SocketLike;
  /** The server's end, once the handshake got there. */
  readonly inner: FakeSocket | null;
  /** The page sleeps: nothing more arrives, though the server still counts the socket as open. */
  doom(): void;
  /** The page is awake again: only now it learns that a doomed socket is closed. */
  thaw(): void;
  /** The page is gone. */
  died(): void;
  /** The network broke. */
  broke(): void;
}

/** What lies between the tabs of a browser and one server. */
export interface Network {
  /**
   * "down" breaks what is open and refuses what is new. "mute" carries nothing and tells nobody; what was under way
   * arrives when it is over, as TCP does it.
   */
  state: "up" | "down" | "mute";
  /** What a page uses as `WebSocket`; the handshake carries the browser's cookie. */
  sockets(tab: Tab, cookie: () => string | null): new (url: string, protocols: string[]) => SocketLike;
  /** One HTTP request of a page. */
  request<T>(tab: Tab, serve: () => T): Promise<T>;
  /** Those of pages that are not over, for whoever has them. */
  readonly cables: ReadonlySet<Cable>;
  /** With which cookie a socket of the server was opened, and in which tab. */
  origin(socket: FakeSocket): { readonly cookie: string | null; readonly tab: Tab } | undefined;
}

const CLOSED = { code: 1006, reason: "" };

export function createNetwork(loop: Loop, server: FakeServer): Network {
  const cables = new Set<Cable>();
  /** Closed by the page; the server doesn't know yet. */
  const closing = new Set<Cable>();
  const origins = new WeakMap<FakeSocket, { cookie: string | null; tab: Tab }>();
  let state: Network["state"] = "up";
  let held: (() => void)[] = [];

  /** One direction of one connection: late, never out of order. */
  function direction(): (arrive: () => void) => void {
    let last = 0;
    return (arrive) => {
      last = Math.max(last, loop.now + 5 + loop.random() * 40);
      loop.later(last - loop.now, () => (state === "mute" ? held.push(arrive) : arrive()));
    };
  }

  function connect(tab: Tab, cookie: string | null, socket: PageSocket, url: string, protocols: string[]): Cable {
    const up = direction();
    const down = direction();
    let inner: FakeSocket | null = null;
    let doomed = false;
    let refused = false;

    const toPage = (run: () => void) =>
      down(() => {
        if (!doomed && !refused) tab.post("network", 0, () => void (doomed || run()));
      });
    const forget = () => cables.delete(cable);
    const hangUp = (code?: number) => {
      closing.add(cable);
      up(() => {
        closing.delete(cable);
        inner?.close(code);
      });
    };
    /** The page's end closes without its doing. */
    const closed = (event: { code: number; reason: string }, error = false) => {
      if (socket.readyState === 3) return;
      socket.readyState = 3;
      forget();
      if (error) socket.onerror?.({} as never);
      socket.onclose?.(event as never);
    };

    const cable: Cable = {
      tab,
      socket,
      get inner() {
        return inner;
      },
      doom: () => void (doomed = true),
      thaw() {
        if (!doomed) return;
        hangUp();
        tab.post("network", 0, () => closed(CLOSED));
      },
      died() {
        forget();
        hangUp();
      },
      broke() {
        refused = true;
        inner?.close();
        tab.post("network", 1, () => void (doomed || closed(CLOSED, socket.readyState === 0)));
      },
    };
    cables.add(cable);

    socket.toServer = (run) => up(() => inner && run(inner));
    socket.ended = () => {
      forget();
      hangUp(1000);
      tab.post("network", 50, () => socket.over());
    };
    up(() => {
      if (refused || socket.readyState !== 0) return;
      if (state === "down") return cable.broke();
      inner = new server.WebSocket(url, protocols) as FakeSocket;
      origins.set(inner, { cookie, tab });
      const end = inner;
      end.onopen = () =>
        toPage(() => {
          if (socket.readyState !== 0) return;
          socket.readyState = 1;
          socket.protocol = end.protocol;
          socket.onopen?.({} as never);
        });
      end.onmessage = ({ data }: { data: string }) =>
        toPage(() => void (socket.readyState === 1 && socket.onmessage?.({ data } as never)));
      end.onclose = ({ code, reason }: { code: number; reason: string }) => toPage(() => closed({ code, reason }));
    });
    return cable;
  }

  return {
    get state() {
      return state;
    },
    set state(next) {
      state = next;
      if (next === "mute") return;
      const arrivals = held;
      held = [];
      if (next === "down") for (const cable of [...cables, ...closing]) cable.broke();
      else for (const arrive of arrivals) arrive();
    },
    cables,
    origin: (socket) => origins.get(socket),

    sockets: (tab, cookie) =>
      class extends PageSocket {
        constructor(url: string, protocols: string[]) {
          super();
          connect(tab, cookie(), this, url, protocols);
        }
      },

    request(tab, serve) {
      return new Promise((resolve, reject) => {
        const up = direction();
        const down = direction();
        const fail = () => tab.post("network", 0, () => reject(new TypeError("network error")));
        up(() => {
          if (state === "down") return fail();
          const answer = serve();
          down(() => void (state === "down" ? fail() : tab.post("network", 0, () => resolve(answer))));
        });
      });
    },
  };
}

class PageSocket implements SocketLike {
  readyState = 0;
  protocol = "";
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onerror: SocketLike["onerror"] = null;
  onclose: SocketLike["onclose"] = null;
  toServer: (run: (inner: FakeSocket) => void) => void = () => {};
  ended: () => void = () => {};
  #closing = { code: 1005, reason: "" };

  send(data: string): void {
    if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState !== 1) return;
    this.toServer((inner) => {
      if (inner.readyState === 1) inner.send(data);
    });
  }

  close(code?: number, reason = ""): void {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) {
      throw new DOMException("bad code", "InvalidAccessError");
    }
    if (this.readyState >= 2) return;
    this.#closing = { code: code ?? 1005, reason };
    this.readyState = 2;
    this.ended();
  }

  over(): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.(this.#closing as never);
  }
}

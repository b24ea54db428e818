/**
 * A WebSocket that can be made to misbehave. The client gets it by its `WebSocket` option and knows nothing of the lab.
 *
 * It wraps a real socket instead of being one, since a page can't make a real one lose, repeat or swallow frames.
 */

/** What is wrong with the network of this page at the moment, and who wants to hear of it. */
export const network = {
  cutUntil: 0,
  lose: 0,
  repeat: false,
  /** @type {(text: string) => void} */ report: () => {},
};
const sockets = new Set();

/** Break every socket of this page, and let no new one open for some seconds. @returns how many broke */
function cut(seconds) {
  network.cutUntil = Date.now() + seconds * 1000;
  const broken = [...sockets];
  for (const socket of broken) socket.fail();
  return broken.length;
}

/** From now on nothing gets through the present sockets, and nobody is told. @returns how many there were */
function halfOpen() {
  let count = 0;
  for (const socket of sockets) {
    if (socket.readyState !== WebSocket.OPEN || socket.dead) continue;
    socket.dead = true;
    count += 1;
  }
  return count;
}

/**
 * @typedef {{kind: "cut", seconds: number} | {kind: "half-open"} | {kind: "lose", count: number} | {kind: "repeat", on: boolean}} Fault
 *
 * Let something go wrong in this page. @returns how many sockets felt it at once
 * @param fault {Fault}
 */
export function suffer(fault) {
  switch (fault.kind) {
    case "cut":
      return cut(fault.seconds);
    case "half-open":
      return halfOpen();
    case "lose":
      network.lose = fault.count;
      return 0;
    case "repeat":
      network.repeat = fault.on;
      return 0;
  }
}

export class LabSocket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  CONNECTING = 0;
  OPEN = 1;
  CLOSING = 2;
  CLOSED = 3;

  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  dead = false;
  #ended = false;
  #closing = false;
  /** @type {WebSocket | undefined} */ #socket;

  constructor(url, protocols) {
    super();
    this.url = new URL(url, location.href.replace(/^http/, "ws")).href;
    sockets.add(this);
    if (Date.now() < network.cutUntil) {
      setTimeout(() => this.fail(), 150); // as when no route leads there
      return;
    }
    const socket = (this.#socket = new WebSocket(this.url, protocols));
    socket.addEventListener("open", () => this.#emit(new Event("open")));
    socket.addEventListener("error", () => this.#emit(new Event("error")));
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", ({ code, reason, wasClean }) => {
      if (!this.dead) this.#end({ code, reason, wasClean });
    });
  }

  get readyState() {
    if (this.#ended) return LabSocket.CLOSED;
    if (this.#closing) return LabSocket.CLOSING;
    return this.dead ? LabSocket.OPEN : (this.#socket?.readyState ?? LabSocket.CONNECTING);
  }
  get protocol() {
    return this.#socket?.protocol ?? "";
  }
  get extensions() {
    return this.#socket?.extensions ?? "";
  }
  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }
  get binaryType() {
    return this.#socket?.binaryType ?? "blob";
  }
  set binaryType(type) {
    if (this.#socket) this.#socket.binaryType = type;
  }

  send(data) {
    if (this.readyState === LabSocket.CONNECTING) throw new DOMException("Still connecting", "InvalidStateError");
    if (!this.dead && !this.#ended) this.#socket?.send(data);
  }

  close(code, reason) {
    if (this.#ended || this.#closing) return;
    if (this.dead || !this.#socket) {
      // Nobody answers the closing handshake.
      this.#closing = true;
      this.#socket?.close();
      setTimeout(() => this.#end({ code: 1006, reason: "", wasClean: false }), 100);
    } else {
      this.#socket.close(code, reason);
    }
  }

  /** The line breaks. */
  fail() {
    if (this.#ended) return;
    this.dead = true; // the real socket's own end is no news any more
    this.#socket?.close();
    this.#emit(new Event("error"));
    this.#end({ code: 1006, reason: "", wasClean: false });
  }

  #receive(data) {
    if (this.dead || this.#ended) return;
    if (network.lose > 0) {
      network.lose -= 1;
      network.report(`Lost a frame from the server: ${describe(data)}`);
      return;
    }
    this.#emit(new MessageEvent("message", { data }));
    if (network.repeat && !this.dead && !this.#ended) this.#emit(new MessageEvent("message", { data }));
  }

  #end(detail) {
    if (this.#ended) return;
    this.#ended = true;
    sockets.delete(this);
    this.#emit(new CloseEvent("close", detail));
  }

  #emit(event) {
    this.dispatchEvent(event);
    this[`on${event.type}`]?.(event);
  }
}

function describe(data) {
  try {
    const { type, from, to } = JSON.parse(data);
    return to > from ? `${type} ${from + 1}${to > from + 1 ? `–${to}` : ""}` : type;
  } catch {
    return "something that isn't ours";
  }
}

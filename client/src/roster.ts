import { PayloadError } from "./errors.ts";
import { limitsOf, type ClientFrame, type Limits, type Welcome } from "./frames.ts";
import { checkStream, isStream } from "./payload.ts";
import { fromWire, type WirePosition } from "./position.ts";
import type { Settings } from "./settings.ts";
import { Stream, type SubscribeOptions, type Subscriber } from "./stream.ts";
import { onceATurn } from "./turn.ts";

/** A message waits for the sync of its stream, but not longer (protocol 6.2). */
const SYNC_WAIT_MS = 10_000;

/** The streams of a client, and who subscribed; asks the server for them, and leaves them (protocol 3, 5.3). */
export interface Roster {
  readonly streams: ReadonlyMap<string, Stream>;
  readonly limits: Limits;
  /** Aborted when the link goes; null while there is none. */
  readonly link: AbortSignal | null;
  /** @throws PayloadError for a bad name, or more streams than a socket carries */
  add(name: string, options: SubscribeOptions): { readonly stream: Stream; readonly subscriber: Subscriber };
  remove(stream: Stream, subscriber: Subscriber): void;
  /** Follows a stream from that position. @returns nothing where there is no room */
  enter(name: string, position: WirePosition | null | undefined): Stream | undefined;
  /** Leaves a stream, unless somebody needs it. */
  unused(stream: Stream): void;
  /** The server serves it no more. */
  drop(stream: Stream): void;
  /** Will be named in a SUBSCRIBE; those of one turn of the event loop share it. */
  want(stream: Stream): void;
  /** A SUBSCRIBE of nothing, which a living server answers at once. */
  probe(): void;
  /** The answer to a SUBSCRIBE came. */
  answered(frame: { readonly ref: number }): void;
  /** Goes nowhere while there is no link. */
  send(frame: ClientFrame): void;
  /** How long a message for this stream still waits: 0 = not at all (protocol 6.2). */
  waitFor(name: string): number;
  /** The positions for HELLO: everything is resumed at once (protocol 3). */
  claims(): Record<string, WirePosition | null>;
  /** WELCOME answers for the streams of HELLO (protocol 5.3). */
  welcome(frame: Welcome, limits: Limits): void;
  /** Nothing was heard since this wall time: what was live was current until then. */
  silent(since: number): void;
  down(): void;
  /** Every position, as after repeated INVALID_SEQ (protocol 5.8). */
  forget(): void;
}

/** @param transmit gives a frame to the link, if there is one */
export function createRoster({ clock, changed }: Settings, transmit: (frame: ClientFrame) => void): Roster {
  const streams = new Map<string, Stream>();
  /** Those of HELLO, until WELCOME. */
  let greeted: Stream[] = [];
  let link: AbortController | null = null;
  let limits = limitsOf();
  let ref = 0;
  const flushSoon = onceATurn(flush);

  function track(name: string): Stream {
    const stream = new Stream(name, clock.now(), clock.wall());
    streams.set(name, stream);
    return stream;
  }

  function drop(stream: Stream): void {
    streams.delete(stream.name);
    changed();
  }

  function send(frame: ClientFrame): void {
    if (link) transmit(frame);
  }

  function leave(names: readonly string[]): void {
    send({ type: "UNSUBSCRIBE", ref: ++ref, streams: names });
  }

  function want(stream: Stream): void {
    stream.dropRetry();
    stream.dirty = true;
    flushSoon();
  }

  /** Names now what is wanted. Without a link HELLO does. */
  function flush(): void {
    const wanted = [...streams.values()].filter((stream) => stream.dirty);
    if (!link || !wanted.length) return;
    ref++;
    for (const stream of wanted) {
      stream.cursor.dropParts();
      stream.dirty = false;
      stream.joined = true;
      stream.ref = ref;
      stream.catchUp(clock.now());
    }
    send({ type: "SUBSCRIBE", ref, streams: claimsOf(wanted) });
    changed();
  }

  function enter(name: string, position: WirePosition | null | undefined): Stream | undefined {
    if (streams.size >= limits.streams) return;
    const stream = track(name);
    stream.cursor.position = fromWire(position);
    want(stream);
    return stream;
  }

  function unused(stream: Stream): void {
    if (stream.subscribers.size || stream.held || stream.uninvited || streams.get(stream.name) !== stream) return;
    drop(stream);
    if (stream.joined) leave([stream.name]);
    stream.part();
  }

  function silent(since: number): void {
    for (const stream of streams.values()) if (stream.live && !stream.unverified) stream.prove(since);
  }

  return {
    streams,
    get limits() {
      return limits;
    },
    get link() {
      return link && link.signal;
    },
    drop,
    want,
    enter,
    unused,
    send,
    silent,
    probe: () => send({ type: "SUBSCRIBE", ref: ++ref, streams: {} }),

    add(name, options) {
      checkStream(name);
      let stream = streams.get(name);
      if (!stream) {
        stream = enter(name, options.position);
        if (!stream) throw new PayloadError(`at most ${limits.streams} streams a socket`);
      } else if (stream.cursor.position || stream.joined) {
        // It has a position and no state of its own: everybody gets a snapshot (protocol 5.7).
        stream.wantsSnapshot = true;
        if (!stream.stopRetry) want(stream);
      }
      const subscriber: Subscriber = { handlers: options };
      stream.subscribers.add(subscriber);
      changed();
      return { stream, subscriber };
    },

    remove(stream, subscriber) {
      stream.subscribers.delete(subscriber);
      unused(stream);
    },

    answered({ ref: answer }) {
      for (const stream of streams.values()) {
        if (stream.ref !== answer) continue;
        stream.ref = null;
        stream.catchUp(clock.now());
      }
    },

    waitFor(name) {
      const stream = streams.get(name);
      return !stream || stream.live ? 0 : Math.max(0, stream.changedAt + SYNC_WAIT_MS - clock.now());
    },

    claims() {
      greeted = [...streams.values()].slice(0, limits.streams);
      for (const stream of greeted) stream.dirty = false;
      return claimsOf(greeted);
    },

    welcome({ streams: uninvited }, given) {
      link = new AbortController();
      limits = given;
      // Closed since HELLO: what nobody acknowledges would end the socket.
      const left = greeted.map(({ name }) => name).filter((name) => !streams.has(name) && !uninvited.includes(name));
      for (const stream of greeted) stream.joined = true;
      greeted = [];
      for (const name of uninvited.filter(isStream)) {
        const stream = streams.get(name) ?? track(name);
        stream.joined = stream.uninvited = true;
      }
      for (const stream of streams.values()) {
        stream.catchUp(clock.now());
        if (!stream.joined) stream.dirty = true;
      }
      if (left.length) leave(left);
      flush();
      changed();
    },

    down() {
      link?.abort();
      link = null;
      for (const stream of streams.values()) stream.part();
      changed();
    },

    forget() {
      for (const { cursor } of streams.values()) cursor.forget();
    },
  };
}

function claimsOf(streams: readonly Stream[]): Record<string, WirePosition | null> {
  return Object.fromEntries(streams.map((stream) => [stream.name, stream.claim]));
}

import type { ClientFrame } from "./frames.ts";
import { toWire, type WirePosition } from "./position.ts";
import type { Stream } from "./stream.ts";

/** What a client brings to HELLO and SUBSCRIBE: where it stands in each stream, or null for "I have nothing". */
export type Claims = Record<string, WirePosition | null>;

export function claim(stream: Stream): WirePosition | null {
  return stream.wantsSnapshot ? null : toWire(stream.cursor.position);
}

/** Between a SUBSCRIBE and its answer, sync frames are those of the older subscription (protocol 5.3). */
export function ignores(stream: Stream): boolean {
  return !stream.joined || stream.ref !== null || stream.dirty;
}

export interface EnrolmentEvents {
  now(): number;
  /** Goes nowhere while there is no link. */
  send(frame: ClientFrame): void;
  changed(): void;
}

/** Asks the server for streams, and leaves them; numbers the questions (protocol 3). */
export class Enrolment {
  #ref = 0;
  #scheduled = false;
  readonly #streams: Iterable<Stream> & { readonly connected: boolean };
  readonly #events: EnrolmentEvents;

  constructor(streams: Iterable<Stream> & { readonly connected: boolean }, events: EnrolmentEvents) {
    this.#streams = streams;
    this.#events = events;
  }

  /** Will be named in a SUBSCRIBE; those of one turn of the event loop share it. */
  want(stream: Stream): void {
    stream.stopRetry?.();
    stream.stopRetry = null;
    stream.dirty = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Names them now. Without a link HELLO does. */
  flush(): void {
    if (!this.#streams.connected) return;
    const wanted = [...this.#streams].filter((stream) => stream.dirty);
    if (!wanted.length) return;
    const ref = ++this.#ref;
    for (const stream of wanted) {
      stream.cursor.dropParts();
      stream.dirty = false;
      stream.joined = true;
      stream.ref = ref;
      stream.catchUp(this.#events.now());
    }
    const streams: Claims = Object.fromEntries(wanted.map((stream) => [stream.name, claim(stream)]));
    this.#events.send({ type: "SUBSCRIBE", ref, streams });
    this.#events.changed();
  }

  leave(streams: readonly string[]): void {
    this.#events.send({ type: "UNSUBSCRIBE", ref: ++this.#ref, streams });
  }

  /** A SUBSCRIBE of nothing, which a living server answers at once. */
  probe(): void {
    this.#events.send({ type: "SUBSCRIBE", ref: ++this.#ref, streams: {} });
  }
}

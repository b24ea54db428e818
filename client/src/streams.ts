import { calculateBackoff } from "./backoff.ts";
import { after, type Clock } from "./clock.ts";
import { PayloadError, Rejected } from "./errors.ts";
import { claim, Enrolment, ignores, type Claims } from "./enrolment.ts";
import {
  waitOf,
  type ClientFrame,
  type Entry,
  type Ping,
  type ServerError,
  type ServerFrame,
  type SyncDelta,
  type SyncSnapshot,
  type Welcome,
} from "./frames.ts";
import type { LamportClock } from "./lamport.ts";
import { checkStream, isStream } from "./payload.ts";
import { fromWire, toWire } from "./position.ts";
import type { Random } from "./random.ts";
import type { Recorder } from "./recorder.ts";
import { Stream, type SubscribeOptions, type Subscriber } from "./stream.ts";

/** A message waits for the sync of its stream, but not longer (protocol 6.2). */
export const SYNC_WAIT_MS = 10_000;
/** So many refused frames in a row, and the position itself is doubted. */
const DOUBT_AFTER = 3;
const DEFAULTS = { streams: 100, ack_entries: 100, ack_bytes: 64 * 1024 };

export interface StreamsSettings {
  readonly clock: Clock;
  readonly random: Random;
  readonly recorder: Recorder;
  readonly lamport: LamportClock;
  readonly baseMs: number;
  readonly maxMs: number;
}

/** What the layers above hear; none of these may throw. */
export interface StreamsEvents {
  send(frame: ClientFrame): boolean;
  error(error: unknown): void;
  /** Verified entries, before the handlers get them. */
  entries(stream: string, entries: readonly Entry[]): void;
  /** A snapshot leads to `seq`. */
  jumped(stream: string, seq: number): void;
  /** The stream is tracked no more. */
  gone(stream: string): void;
  /** Something that people may see changed. */
  changed(): void;
}

/** All streams of a client: subscribing, applying, acknowledging, mending (protocol 5). */
export class Streams {
  readonly #streams = new Map<string, Stream>();
  readonly #settings: StreamsSettings;
  readonly #events: StreamsEvents;
  #link: AbortController | null = null;
  #greeted = new Set<Stream>();
  readonly #enrolment: Enrolment;
  #limits = DEFAULTS;

  constructor(settings: StreamsSettings, events: StreamsEvents) {
    this.#settings = settings;
    this.#events = events;
    this.#enrolment = new Enrolment(this, {
      now: () => settings.clock.now(),
      send: (frame) => this.#send(frame),
      changed: () => events.changed(),
    });
  }

  [Symbol.iterator](): IterableIterator<Stream> {
    return this.#streams.values();
  }

  get(name: string): Stream | undefined {
    return this.#streams.get(name);
  }

  get connected(): boolean {
    return this.#link !== null;
  }

  /** How long a message for this stream still waits: 0 = not at all (protocol 6.2). */
  waitFor(name: string): number {
    const stream = this.#streams.get(name);
    if (!stream || stream.live) return 0;
    return Math.max(0, stream.changedAt + SYNC_WAIT_MS - this.#settings.clock.now());
  }

  // -- subscribers -------------------------------------------------------------------------------

  /** @throws PayloadError for a bad name, or more streams than a socket carries */
  add(name: string, options: SubscribeOptions): { stream: Stream; subscriber: Subscriber } {
    checkStream(name);
    let stream = this.#streams.get(name);
    if (!stream) {
      if (this.#streams.size >= this.#limits.streams) {
        throw new PayloadError(`at most ${this.#limits.streams} streams a socket`);
      }
      stream = this.#track(name);
      this.#enrolment.want(stream);
    } else if (stream.cursor.position || stream.joined) {
      // It has a position and no state of its own: everybody gets a snapshot (protocol 5.7).
      stream.wantsSnapshot = true;
      if (!stream.stopRetry) this.#enrolment.want(stream);
    }
    const subscriber: Subscriber = { options, sync: null };
    stream.subscribers.add(subscriber);
    this.#events.changed();
    return { stream, subscriber };
  }

  remove(stream: Stream, subscriber: Subscriber): void {
    stream.subscribers.delete(subscriber);
    if (stream.subscribers.size || stream.uninvited || this.#streams.get(stream.name) !== stream) return;
    this.#drop(stream);
    if (stream.joined) this.#enrolment.leave([stream.name]);
    stream.part();
  }

  // -- the link ----------------------------------------------------------------------------------

  /** Asks for a sign of life (design 11.3). */
  probe(): void {
    this.#enrolment.probe();
  }

  /** The positions for HELLO: everything is resumed at once (protocol 3). */
  claims(): Claims {
    this.#greeted = new Set([...this.#streams.values()].slice(0, this.#limits.streams));
    for (const stream of this.#greeted) stream.dirty = false;
    return Object.fromEntries(Array.from(this.#greeted, (stream) => [stream.name, claim(stream)]));
  }

  /** WELCOME answers for the streams of HELLO (protocol 5.3). */
  welcome({ streams, limits }: Welcome): void {
    this.#link = new AbortController();
    this.#limits = Object.fromEntries(
      Object.entries(DEFAULTS).map(([name, value]) => [name, waitOf(limits[name], value) || value]),
    ) as typeof DEFAULTS;
    const now = this.#settings.clock.now();
    const left: string[] = [];
    for (const stream of this.#greeted) {
      stream.joined = true;
      // Closed since HELLO: what nobody acknowledges would end the socket.
      if (!this.#streams.has(stream.name) && !streams.includes(stream.name)) left.push(stream.name);
    }
    for (const name of streams) {
      if (!isStream(name)) continue;
      const stream = this.#streams.get(name) ?? this.#track(name);
      stream.joined = stream.uninvited = true;
    }
    for (const stream of this) {
      stream.catchUp(now);
      if (!stream.joined) stream.dirty = true;
    }
    this.#greeted.clear();
    if (left.length) this.#enrolment.leave(left);
    this.#enrolment.flush();
    this.#events.changed();
  }

  down(): void {
    this.#link?.abort();
    this.#link = null;
    for (const stream of this) stream.part();
    this.#events.changed();
  }

  /** Everything forgotten, as after repeated INVALID_SEQ (protocol 5.8). */
  forget(): void {
    for (const stream of this) stream.cursor.forget();
  }

  /** @returns whether the frame was for the streams */
  receive(frame: ServerFrame, size: number): boolean {
    switch (frame.type) {
      case "SYNC_DELTA":
        this.#delta(frame, size);
        return true;
      case "SYNC_SNAPSHOT":
        this.#snapshot(frame);
        return true;
      case "SUBSCRIBED":
      case "UNSUBSCRIBED":
        this.#answered(frame.ref);
        return true;
      case "PING":
        this.#ping(frame);
        return true;
      case "ERROR":
        this.#error(frame);
        return true;
      default:
        return false;
    }
  }

  // -- frames ------------------------------------------------------------------------------------

  #delta(frame: SyncDelta, size: number): void {
    const stream = this.#streams.get(frame.stream);
    if (!stream || ignores(stream)) return;
    const outcome = stream.cursor.delta(frame);
    if (outcome.kind === "refused") {
      this.#settings.recorder.count("reconnect_frames_refused_total", 1, { why: outcome.why });
      this.#heal(stream);
      return;
    }
    if (outcome.kind === "repeat") return;
    const { clock, lamport } = this.#settings;
    const { entries } = outcome;
    const { from, to, complete } = frame;
    if (!stream.live) stream.caughtUp += entries.length;
    if (complete) stream.goLive(clock.now(), clock.wall());
    for (const entry of entries) lamport.observe(entry.clock);
    if (entries.length) {
      this.#events.entries(stream.name, entries);
      const first = entries[0]!.seq - 1;
      this.#call(stream, ({ onEvents }) => onEvents?.(entries, { from: Math.max(from, first), to, complete }));
    }
    stream.entries += entries.length;
    stream.size += size;
    // A page that isn't the last one is acknowledged at once: the server waits for it to send the next.
    if (!complete || stream.entries >= this.#limits.ack_entries || stream.size >= this.#limits.ack_bytes) {
      this.#acknowledge(stream);
    }
    this.#events.changed();
  }

  #snapshot(frame: SyncSnapshot): void {
    const stream = this.#streams.get(frame.stream);
    if (!stream || ignores(stream)) return;
    const outcome = stream.cursor.snapshot(frame);
    if (outcome.kind === "part") {
      this.#send({ type: "ACK", streams: {}, parts: { [stream.name]: outcome.part } });
    } else if (outcome.kind === "refused") {
      this.#heal(stream);
    } else {
      const { clock } = this.#settings;
      const { reason, exact = true, partial = false, seq } = frame;
      stream.catchUp(clock.now());
      stream.wantsSnapshot = false;
      stream.brokenAt = null;
      stream.verifiedAt = clock.wall();
      this.#events.jumped(stream.name, seq);
      this.#call(stream, ({ onSnapshot }) => onSnapshot?.(outcome.state, { reason, exact, partial, seq }));
      this.#acknowledge(stream);
      this.#events.changed();
    }
  }

  #answered(ref: number): void {
    for (const stream of this) {
      if (stream.ref !== ref) continue;
      stream.ref = null;
      stream.catchUp(this.#settings.clock.now());
    }
    this.#events.changed();
  }

  #ping({ t, heads }: Ping): void {
    const streams: Claims = {};
    for (const stream of this) {
      if (!ignores(stream) && stream.cursor.position) {
        streams[stream.name] = toWire(stream.cursor.position);
        stream.entries = stream.size = 0; // PONG acknowledges too
      }
    }
    this.#send({ type: "PONG", t, streams });
    for (const stream of this) {
      if (ignores(stream) || stream.cursor.collecting) continue;
      const head = fromWire(Object.hasOwn(heads, stream.name) ? heads[stream.name] : null);
      const { position } = stream.cursor;
      if (!head) stream.unverified = stream.live;
      else if (head.epoch === position?.epoch) {
        const lost = head.seq > position.seq || (head.seq === position.seq && head.checksum !== position.checksum);
        if (lost) this.#heal(stream);
        else if (stream.live) stream.prove(this.#settings.clock.wall());
      }
    }
    this.#events.changed();
  }

  #error({ code, reason, detail, ref, streams = [], retry_after_ms: wait }: ServerError): void {
    this.#events.error(new Rejected(code, reason, detail, streams));
    for (const name of streams ?? []) {
      const stream = this.#streams.get(name);
      if (!stream) continue;
      // It speaks of a subscription that a later SUBSCRIBE has replaced.
      if (typeof ref === "number" && stream.ref !== null && ref < stream.ref) continue;
      if (reason === "INVALID_SEQ") stream.cursor.forget();
      else if (code === 503 || code === 429) {
        const { clock, random, baseMs } = this.#settings;
        stream.part();
        const ms = waitOf(wait, baseMs * 2) * (1 + random() / 2);
        if (this.#link) stream.stopRetry = after(clock, ms, this.#link.signal, () => this.#enrolment.want(stream));
      } else if (code === 403 || code === 413) {
        stream.part();
        this.#drop(stream);
        // Nothing follows for them; that much they are still told.
        for (const { options } of stream.subscribers) {
          try {
            options.onSync?.(stream.sync(false, 0));
          } catch (error) {
            this.#events.error(error);
          }
        }
        stream.subscribers.clear();
      }
    }
    this.#events.changed();
  }

  // -- what follows ------------------------------------------------------------------------------

  /** Hands something to every subscriber. One that throws spoils the stream, not the others (protocol 5.6). */
  #call(stream: Stream, run: (options: SubscribeOptions) => void): void {
    let failed = false;
    for (const subscriber of [...stream.subscribers]) {
      try {
        if (stream.subscribers.has(subscriber)) run(subscriber.options);
      } catch (error) {
        failed = true;
        this.#events.error(error);
      }
    }
    const { clock } = this.#settings;
    if (failed && this.#streams.get(stream.name) === stream && stream.break(clock.now(), clock.wall())) {
      stream.wantsSnapshot = true;
      this.#enrolment.want(stream);
    }
  }

  /** Continuity can't be proved: ask again from the position that is (protocol 5.1). */
  #heal(stream: Stream): void {
    if (stream.stopRetry || !this.#link) return;
    const { clock, random, baseMs, maxMs, recorder } = this.#settings;
    const tried = stream.heals++;
    recorder.count("reconnect_holes_healed_total");
    stream.cursor.dropParts();
    if (tried >= DOUBT_AFTER) stream.cursor.forget();
    if (!tried) return this.#enrolment.want(stream);
    // The answer itself didn't fit: don't turn a fault of the server into a loop.
    const ms = calculateBackoff(tried, baseMs, maxMs, random);
    stream.stopRetry = after(clock, ms, this.#link.signal, () => this.#enrolment.want(stream));
  }

  #acknowledge(stream: Stream): void {
    // A SUBSCRIBE on its way has taken this subscription's place; so has nobody, where a handler closed it.
    if (ignores(stream)) return;
    stream.entries = stream.size = 0;
    this.#send({ type: "ACK", streams: { [stream.name]: toWire(stream.cursor.position) } });
  }

  #send(frame: ClientFrame): void {
    if (this.#link) this.#events.send(frame);
  }

  #track(name: string): Stream {
    const { clock } = this.#settings;
    const stream = new Stream(name, clock.now(), clock.wall());
    this.#streams.set(name, stream);
    return stream;
  }

  #drop(stream: Stream): void {
    this.#streams.delete(stream.name);
    this.#events.gone(stream.name);
    this.#events.changed();
  }
}

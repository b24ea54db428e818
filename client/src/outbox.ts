import { TokenBucket } from "./bucket.ts";
import { after, type Clock } from "./clock.ts";
import { ClosedError, OutcomeUnknown, QueueOverflowError, Rejected } from "./errors.ts";
import { waitOf, type MessageAck, type Reject } from "./frames.ts";
import { view, type Item, type OutboxStore, type QueueEntry, type Receipt, type Sending } from "./item.ts";
import { Lane } from "./lane.ts";
import type { LamportClock } from "./lamport.ts";
import { checkStream, encodePayload, MAX_MESSAGE_BYTES } from "./payload.ts";
import { uuid4, type Random } from "./random.ts";
import type { Recorder } from "./recorder.ts";

export interface OutboxSettings {
  readonly clock: Clock;
  readonly random: Random;
  readonly recorder: Recorder;
  readonly lamport: LamportClock;
  readonly maxQueue: number;
  readonly maxQueueBytes: number;
  readonly store?: OutboxStore | undefined;
}

/** What the layers above hear; none of these may throw. */
export interface OutboxEvents {
  transmit(text: string): boolean;
  /** How long the stream's messages still wait for its sync, in milliseconds. */
  waitFor(stream: string): number;
  queueChange(waiting: number): void;
  evict(entry: QueueEntry, reason: string): void;
  highWater(waiting: number): void;
  error(error: unknown): void;
  /** An answered message, before its promise settles. */
  acked(stream: string, ack: MessageAck): void;
}

/** A message whose handler raised so often is given up (protocol 6.4). */
export const MAX_FAILURES = 5;
const HIGH_WATER = 0.8;
const MAX_RETRY_MS = 5_000;

/** Messages that have no answer yet: bounded, ordered, each sent until its fate is known (protocol 6). */
export class Outbox {
  readonly producer = uuid4();
  readonly #items = new Map<string, Item>();
  readonly #lanes = new Map<string, Lane>();
  readonly #settings: OutboxSettings;
  readonly #events: OutboxEvents;
  #link: AbortController | null = null;
  #bucket = new TokenBucket(1, 1, 0);
  #inFlightLimit = 16;
  #messageBytes = MAX_MESSAGE_BYTES;
  #bytes = 0;
  #sentBytes = 0;
  #sent = 0;
  #high = false;
  #flushes = { attempted: 0, succeeded: 0 };
  #stopTimer = () => {};
  #timerAt = Infinity;
  #queue: readonly QueueEntry[] | null = null;
  #drained: { resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(settings: OutboxSettings, events: OutboxEvents) {
    this.#settings = settings;
    this.#events = events;
  }

  get waiting(): number {
    return this.#items.size;
  }

  waitingOn(stream: string): number {
    return this.#lanes.get(stream)?.items.size ?? 0;
  }

  /** The same array until something changes. */
  get queue(): readonly QueueEntry[] {
    return (this.#queue ??= Object.freeze(Array.from(this.#items.values(), view)));
  }

  /** Resolves when nothing waits; rejects with ClosedError when what waited was dropped. */
  drained(): Promise<void> {
    const promise = new Promise<void>((resolve, reject) => {
      if (this.#items.size) this.#drained.push({ resolve, reject });
      else resolve();
    });
    promise.catch(() => {});
    return promise;
  }

  /**
   * Queues a message. Every fault rejects the promise: PayloadError at once, QueueOverflowError when it is
   * evicted or doesn't fit, Rejected by the server, ClosedError, OutcomeUnknown.
   */
  send(stream: string, payload: unknown, signal?: AbortSignal, refusal?: Error): Sending {
    const id = uuid4();
    let evicted: [Item, string][] = [];
    const promise = new Promise<Receipt>((resolve, reject) => {
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const { text, bytes, value } = encodePayload(payload, this.#messageBytes);
        evicted = this.#makeRoom(bytes);
        const lane = this.#lane(stream);
        const item: Item = {
          id,
          stream,
          lane,
          text,
          value,
          bytes,
          createdAt: this.#settings.clock.wall(),
          resolve,
          reject,
          n: null,
          inFlight: false,
          failures: 0,
          flushed: false,
          detach: () => signal?.removeEventListener("abort", abort),
        };
        const abort = () => this.#abort(item, signal?.reason);
        signal?.addEventListener("abort", abort);
        this.#items.set(id, item);
        lane.items.add(item);
        this.#bytes += bytes;
      } catch (error) {
        reject(error);
      }
    });
    // Whoever awaits it gets the error; whoever doesn't shall not find it in the console at page unload.
    promise.catch(() => {});
    if (this.#items.has(id)) {
      // Told when all is consistent: a listener may send again.
      for (const [item, reason] of evicted) this.#events.evict(view(item), reason);
      this.#changed();
      this.pump();
    }
    return Object.assign(promise, { id });
  }

  // -- the link ----------------------------------------------------------------------------------

  /** A new connection: what was sent and not answered goes again, then the rest (protocol 6.2). */
  open(limits: Readonly<Record<string, unknown>>): void {
    const { clock, recorder } = this.#settings;
    this.#link = new AbortController();
    const positive = (value: unknown, fallback: number) => waitOf(value, fallback) || fallback;
    this.#bucket = new TokenBucket(positive(limits["rate"], 50), positive(limits["burst"], 1_000), clock.now());
    this.#inFlightLimit = positive(limits["in_flight"], 16);
    this.#messageBytes = Math.min(positive(limits["message_bytes"], MAX_MESSAGE_BYTES), MAX_MESSAGE_BYTES);
    for (const lane of this.#lanes.values()) lane.resumeAt = lane.retries = 0;
    for (const item of this.#items.values()) item.flushed = true;
    this.#flushes.attempted += this.#items.size;
    recorder.count("reconnect_flush_attempted_total", this.#items.size);
    this.pump();
  }

  down(): void {
    this.#link?.abort();
    this.#link = null;
    this.#timerAt = Infinity;
    for (const item of this.#items.values()) item.inFlight = false;
  }

  /** Nothing will be sent any more: every promise settles and is dropped (design 11.1). */
  abandon(reason: string): void {
    this.down();
    for (const item of [...this.#items.values()]) {
      this.#remove(item);
      item.reject(item.n === null ? new ClosedError(reason) : new OutcomeUnknown(reason));
    }
    for (const { reject } of this.#drained.splice(0)) reject(new ClosedError(reason));
    this.#changed();
  }

  /** Sends what may be sent now. Cheap to call too often. */
  pump(): void {
    if (!this.#link) return;
    const held = new Set<Lane>();
    let room = this.#inFlightLimit;
    for (const item of this.#items.values()) if (item.inFlight) room--;
    // Two passes: first what was sent before, then what is new.
    for (const fresh of [false, true]) {
      for (const item of this.#items.values()) {
        if (item.inFlight || (item.n === null) !== fresh || held.has(item.lane)) continue;
        if (room <= 0) return;
        const wait = this.#hold(item);
        if (wait > 0) {
          held.add(item.lane);
          this.#schedule(wait);
          continue;
        }
        const pause = this.#bucket.take(this.#settings.clock.now());
        if (pause > 0) return this.#schedule(pause);
        if (item.n === null && !this.#number(item)) {
          held.add(item.lane);
          continue;
        }
        if (!this.#transmit(item)) return;
        room--;
      }
    }
  }

  ack(frame: MessageAck): void {
    const item = this.#items.get(frame.id);
    if (!item) return; // answered before; a retry crossed the first answer
    item.lane.retries = 0;
    if (item.flushed) {
      const { recorder } = this.#settings;
      this.#flushes.succeeded++;
      recorder.count("reconnect_flush_succeeded_total");
      recorder.gauge("reconnect_flush_success_rate", this.#flushes.succeeded / this.#flushes.attempted);
    }
    this.#remove(item);
    this.#events.acked(item.stream, frame);
    const { id, epoch = null, seq = null, result = null, duplicate = false } = frame;
    item.resolve({ id, epoch, seq, result, duplicate });
    this.#changed();
    this.pump();
  }

  reject(frame: Reject): void {
    const item = this.#items.get(frame.id);
    if (!item || item.n === null) return;
    const { code, reason, detail, retry } = frame;
    const error = new Rejected(code, reason, detail);
    const failed = retry === true && reason === "FAILED" && ++item.failures >= MAX_FAILURES;
    if (retry !== true || failed) {
      this.#remove(item);
      item.reject(error);
      // A caller that doesn't look at its promise must still hear that a message is gone.
      if (failed) this.#events.error(error);
    } else {
      this.#retryLater(item, frame);
    }
    this.#changed();
    this.pump();
  }

  // -- parts -------------------------------------------------------------------------------------

  #retryLater(item: Item, { reason, retry_after_ms }: Reject): void {
    const { clock, random } = this.#settings;
    const { lane } = item;
    item.inFlight = false;
    if (reason === "ORDER") {
      // An earlier one is missing there: go again from the oldest without an answer.
      for (const older of lane.items) {
        if (older === item) break;
        older.inFlight = false;
      }
    }
    const wait = waitOf(retry_after_ms, 0);
    const jitter = random() * Math.max(wait / 2, Math.min(50 * 2 ** Math.min(lane.retries++, 10), MAX_RETRY_MS));
    lane.resumeAt = Math.max(lane.resumeAt, clock.now() + wait + jitter);
  }

  /** How long this item must wait, 0 = not: its stream is syncing, or an earlier one was put off. */
  #hold({ lane, stream }: Item): number {
    if (lane.saving) return Infinity;
    return Math.max(lane.resumeAt - this.#settings.clock.now(), this.#events.waitFor(stream));
  }

  /** @returns whether it may be sent now, not only after its number was persisted */
  #number(item: Item): boolean {
    const { lane } = item;
    item.n = ++lane.lastN;
    this.#sent++;
    this.#sentBytes += item.bytes;
    this.#queue = null;
    const { store } = this.#settings;
    if (!store) return true;
    const resume = () => {
      lane.saving = false;
      this.pump();
    };
    try {
      const saved = store.save({ ...view(item), n: item.n, producer: this.producer });
      if (!saved) return true;
      lane.saving = true;
      // Not persisted is worse than sent and persisted, and better than never sent.
      saved.then(resume, (error: unknown) => {
        this.#events.error(error);
        resume();
      });
      return false;
    } catch (error) {
      this.#events.error(error);
      return true;
    }
  }

  #transmit(item: Item): boolean {
    const { id, n, stream, lane, text } = item;
    const clock = this.#settings.lamport.tick();
    const head = { type: "MESSAGE", id, producer: this.producer, n, stream, settled: lane.settled, clock };
    // The payload was encoded once: every retry is the same text.
    item.inFlight = this.#events.transmit(`${JSON.stringify(head).slice(0, -1)},"payload":${text}}`);
    return item.inFlight;
  }

  /** @returns what had to go */
  #makeRoom(bytes: number): [Item, string][] {
    const { maxQueue, maxQueueBytes, recorder } = this.#settings;
    if (this.#sent + 1 > maxQueue || this.#sentBytes + bytes > maxQueueBytes) {
      recorder.count("reconnect_outbox_refused_total");
      throw new QueueOverflowError("everything in the outbox was sent already and waits for an answer");
    }
    const evicted: [Item, string][] = [];
    for (const item of this.#items.values()) {
      const reason = this.#items.size >= maxQueue ? "count" : "bytes";
      if (reason === "bytes" && this.#bytes + bytes <= maxQueueBytes) break;
      if (item.n !== null) continue; // it may have been applied: never evicted
      this.#remove(item);
      recorder.count("reconnect_outbox_evicted_total", 1, { reason });
      item.reject(new QueueOverflowError(`evicted by newer messages (${reason})`));
      evicted.push([item, reason]);
    }
    return evicted;
  }

  #abort(item: Item, reason: unknown): void {
    if (!this.#items.has(item.id)) return;
    if (item.n === null) {
      this.#remove(item);
      item.reject(reason);
      this.#changed();
      this.pump();
    } else {
      // The server may have it: it is followed up, for the sake of the numbers after it; nobody waits for it.
      item.reject(new OutcomeUnknown("aborted after it was sent", { cause: reason }));
    }
  }

  #remove(item: Item): void {
    item.detach();
    this.#items.delete(item.id);
    item.lane.items.delete(item);
    this.#bytes -= item.bytes;
    if (item.n !== null) {
      this.#sent--;
      this.#sentBytes -= item.bytes;
    }
    try {
      this.#settings.store?.remove(item.id);
    } catch (error) {
      this.#events.error(error);
    }
  }

  #changed(): void {
    this.#queue = null;
    const waiting = this.#items.size;
    this.#settings.recorder.observe("ws_queue_depth", waiting);
    this.#events.queueChange(waiting);
    const high = waiting >= this.#settings.maxQueue * HIGH_WATER;
    if (high && !this.#high) this.#events.highWater(waiting);
    this.#high = high;
    if (!waiting) for (const { resolve } of this.#drained.splice(0)) resolve();
  }

  #schedule(ms: number): void {
    if (!this.#link || ms === Infinity) return;
    const at = this.#settings.clock.now() + ms;
    if (at >= this.#timerAt) return;
    this.#stopTimer();
    this.#timerAt = at;
    this.#stopTimer = after(this.#settings.clock, ms, this.#link.signal, () => {
      this.#timerAt = Infinity;
      this.pump();
    });
  }

  #lane(stream: string): Lane {
    const lane = this.#lanes.get(stream) ?? new Lane();
    this.#lanes.set(stream, lane);
    return lane;
  }
}

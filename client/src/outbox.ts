import { tokenBucket } from "./bucket.ts";
import { after } from "./clock.ts";
import { deferred } from "./deferred.ts";
import { ClosedError, OutcomeUnknown, Rejected } from "./errors.ts";
import { limitsOf, positive, type Limits, type MessageAck, type Reject } from "./frames.ts";
import type { QueueEntry, Receipt, Sending } from "./item.ts";
import { unsent, type Item, type Lane } from "./lane.ts";
import { checkStream, encodePayload } from "./payload.ts";
import { createQueue, type Queue, type QueueSettings } from "./queue.ts";
import { uuid4 } from "./random.ts";
import type { Settings } from "./settings.ts";
import { onAbort } from "./signals.ts";

export type OutboxSettings = QueueSettings & Pick<Settings, "clock" | "random" | "lamport" | "checking" | "error">;

/** What the layers above hear and are asked; none of these may throw. */
export interface OutboxEvents {
  /** @returns whether the link took it */
  transmit(text: string): boolean;
  /** How long the stream's messages still wait for its sync, in milliseconds. */
  waitFor(stream: string): number;
  /** An answered message, before its promise settles. */
  acked(stream: string, ack: MessageAck): void;
}

/** Messages that have no answer yet: bounded, ordered, each sent until its fate is known (protocol 6). */
export interface Outbox {
  readonly waiting: number;
  readonly queue: readonly QueueEntry[];
  readonly messages: Queue;
  waitingOn(stream: string): number;
  /** Monotonic time at which the oldest message without an answer went out; Infinity: there is none. */
  unansweredSince(): number;
  drained(): Promise<void>;
  /**
   * Queues a message. Every fault rejects the promise: PayloadError at once, QueueOverflowError when it is
   * evicted or doesn't fit, Rejected by the server, ClosedError, OutcomeUnknown.
   */
  send(stream: string, payload: unknown, signal?: AbortSignal, refusal?: Error): Sending;
  /** A new connection: what was sent and not answered goes again, then the rest (protocol 6.2). */
  open(limits: Limits): void;
  down(): void;
  /**
   * Every promise settles and is dropped (design 11.1). What the store holds stays in it for whoever adopts it; its
   * error says `retained: true`.
   *
   * @param final nothing will be sent any more: what nobody will wait for any longer, and was never sent, goes
   */
  abandon(reason: string, final?: boolean): void;
  /** Messages came or went: tells, and sends what may be sent. */
  changed(): void;
  /** Sends what may be sent now. Cheap to call too often. */
  pump(): void;
  ack(frame: MessageAck): void;
  reject(frame: Reject): void;
}

/** A message whose handler raised so often is given up (protocol 6.4). */
const MAX_FAILURES = 5;
/** An answer can get lost on a living connection: then it is asked for again, ever more slowly (protocol 6.2). */
const ANSWER_MS = 10_000;

export function createOutbox(settings: OutboxSettings, events: OutboxEvents): Outbox {
  const { clock, random, lamport, keeper, emit } = settings;
  let producer = uuid4();
  let order = 0;
  const queue = createQueue(settings);
  const { items } = queue;
  let link: AbortController | null = null;
  let limits = limitsOf();
  let takeToken = tokenBucket(1, 1, 0);
  let stopTimer = () => {};
  let timerAt = Infinity;

  // -- sending -----------------------------------------------------------------------------------

  function pump(): void {
    if (!link) return;
    const held = new Set<Lane>();
    /** Where a number is being persisted: what follows is numbered along with it, and waits. */
    const unsaved = new Set<Lane>();
    let room = limits.in_flight;
    for (const item of items.values()) {
      const overdueIn = item.overdueAt - clock.now();
      if (overdueIn <= 0) item.sentAt = Infinity;
      if (item.sentAt === Infinity) continue;
      room--;
      pumpIn(overdueIn);
    }
    // First what was sent before, then what is new.
    const inTurn = [...items.values()].sort((a, b) => Number(a.n === null) - Number(b.n === null));
    for (const item of inTurn) {
      const { lane } = item;
      if (item.sentAt < Infinity || held.has(lane) || lane.blocks(item)) continue;
      if (room <= 0) return;
      // Its stream is syncing, or an earlier one was put off.
      const wait = Math.max(lane.resumeAt - clock.now(), events.waitFor(item.stream));
      if (wait > 0) {
        pumpIn(wait);
        held.add(lane);
        continue;
      }
      if (keeper && item.n === null) number(item);
      if (item.saving) unsaved.add(lane);
      if (!unsaved.has(lane)) {
        const pause = takeToken(clock.now());
        if (pause > 0) return pumpIn(pause);
        if (item.n === null) number(item);
        if (!transmit(item)) return;
      }
      room--;
    }
  }

  function number(item: Item): void {
    queue.number(item);
    const saved = keeper?.save(item);
    if (!saved) return;
    item.saving = true;
    void saved.then(() => {
      item.saving = false;
      pump();
    });
  }

  function transmit(item: Item): boolean {
    const { id, n, stream, lane, text } = item;
    const head = { type: "MESSAGE", id, producer: item.producer, n, stream, settled: lane.settled, clock: lamport.tick() };
    item.sentAt = clock.now();
    const patience = ANSWER_MS * 2 ** item.asked++;
    item.overdueAt = item.sentAt + patience;
    pumpIn(patience);
    // The payload was encoded once: every retry is the same text.
    const taken = events.transmit(`${JSON.stringify(head).slice(0, -1)},"payload":${text}}`);
    if (!taken) item.sentAt = Infinity;
    return taken;
  }

  function pumpIn(ms: number): void {
    const at = clock.now() + ms;
    if (!link || at >= timerAt) return;
    stopTimer();
    timerAt = at;
    stopTimer = after(clock, ms, link.signal, () => {
      timerAt = Infinity;
      pump();
    });
  }

  // -- answers -----------------------------------------------------------------------------------

  function retryLater(item: Item, { reason, retry_after_ms }: Reject): void {
    item.sentAt = Infinity;
    item.asked = 0;
    for (const older of item.lane.items) {
      // An earlier one is missing there: go again from the oldest without an answer.
      if (reason !== "ORDER" || older === item) break;
      older.sentAt = Infinity;
    }
    item.lane.putOff(clock.now(), positive(retry_after_ms, 0), random);
  }

  function withdraw(item: Item, cause: unknown): void {
    // The server may have it: it is followed up, for the sake of the numbers after it; nobody waits for it.
    if (item.n !== null || keeper?.exposed(item.id)) {
      return item.reject(new OutcomeUnknown("aborted after it was sent", { cause }));
    }
    queue.remove(item);
    item.reject(cause);
    changed();
  }

  function changed(): void {
    queue.changed();
    pump();
  }

  function down(): void {
    link?.abort();
    link = null;
    timerAt = Infinity;
    for (const item of items.values()) {
      item.sentAt = Infinity;
      item.asked = 0;
    }
  }

  return {
    get waiting() {
      return items.size;
    },
    get queue() {
      return queue.entries;
    },
    waitingOn(stream) {
      let waiting = 0;
      for (const lane of queue.lanes.values()) if (lane.stream === stream) waiting += lane.items.size;
      return waiting;
    },
    unansweredSince: () => Math.min(...Array.from(items.values(), ({ sentAt }) => sentAt)),
    messages: queue,
    drained: queue.drained,
    changed,
    down,
    pump,

    send(stream, payload, signal, refusal) {
      const id = uuid4();
      const { promise, resolve, reject } = deferred<Receipt>();
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const encoded = encodePayload(payload, limits.message_bytes, settings.checking);
        const place = { id, stream, lane: queue.lane(stream, stream, producer), origin: producer, order: ++order };
        const fresh = { n: null, producer: null, restored: false, ...unsent() };
        const item: Item = { ...place, ...encoded, createdAt: clock.wall(), resolve, reject, ...fresh };
        const tell = queue.add(item);
        item.detach = onAbort(signal, () => withdraw(item, signal?.reason));
        void keeper?.save(item);
        tell();
        changed();
      } catch (error) {
        reject(error);
      }
      return Object.assign(promise, { id });
    },

    open(given) {
      link = new AbortController();
      limits = given;
      takeToken = tokenBucket(limits.rate, limits.burst, clock.now());
      for (const lane of queue.lanes.values()) lane.resumeAt = lane.retries = 0;
      emit("flush", Array.from(items.keys()));
      pump();
    },

    abandon(reason, final = false) {
      down();
      let kept = false;
      for (const item of [...items.values()]) {
        const { n, restored } = item;
        const retained = (!final || restored || n !== null) && keeper?.holds(item.id) === true;
        queue.remove(item, retained);
        kept ||= retained;
        if (!restored) item.reject(Object.assign(n === null ? new ClosedError(reason) : new OutcomeUnknown(reason), { retained }));
      }
      if (final) {
        keeper?.close();
      } else if (kept) {
        keeper?.release();
        // Another outbox goes on with these numbers.
        queue.clear();
        producer = uuid4();
        order = 0;
      }
      queue.dropped(reason);
      queue.changed();
    },

    ack(frame) {
      const item = items.get(frame.id);
      if (!item) return; // answered before; a retry crossed the first answer
      item.lane.retries = 0;
      emit("acked", frame.id);
      queue.remove(item);
      events.acked(item.stream, frame);
      const { id, epoch = null, seq = null, result = null, duplicate = false } = frame;
      item.resolve({ id, epoch, seq, result, duplicate });
      changed();
    },

    reject(frame) {
      const item = items.get(frame.id);
      if (!item || item.n === null) return;
      const { code, reason, detail, retry } = frame;
      const failed = retry === true && reason === "FAILED" && ++item.failures >= MAX_FAILURES;
      if (retry !== true || failed) {
        const error = new Rejected(code, reason, detail);
        queue.remove(item);
        item.reject(error);
        // A caller that doesn't look at its promise must still hear that a message is gone.
        if (failed) settings.error(error);
      } else {
        retryLater(item, frame);
      }
      changed();
    },
  };
}

import { tokenBucket } from "./bucket.ts";
import { after } from "./clock.ts";
import { deferred } from "./deferred.ts";
import { ClosedError, OutcomeUnknown, Rejected } from "./errors.ts";
import { limitsOf, positive, type Limits, type MessageAck, type Reject } from "./frames.ts";
import type { QueueEntry, Receipt, Sending } from "./item.ts";
import { view, type Item, type Lane } from "./lane.ts";
import { checkStream, encodePayload } from "./payload.ts";
import { createQueue, type QueueSettings } from "./queue.ts";
import { uuid4 } from "./random.ts";
import type { Settings } from "./settings.ts";
import { onAbort } from "./signals.ts";

export type OutboxSettings = QueueSettings & Pick<Settings, "clock" | "random" | "lamport">;

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
  /** Nothing will be sent any more: every promise settles and is dropped (design 11.1). */
  abandon(reason: string): void;
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
  const { clock, random, recorder, lamport, store } = settings;
  const producer = uuid4();
  const queue = createQueue(settings);
  const { items } = queue;
  let link: AbortController | null = null;
  let limits = limitsOf();
  let takeToken = tokenBucket(1, 1, 0);
  let attempted = 0;
  let succeeded = 0;
  let stopTimer = () => {};
  let timerAt = Infinity;

  // -- sending -----------------------------------------------------------------------------------

  function pump(): void {
    if (!link) return;
    const held = new Set<Lane>();
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
      if (item.sentAt < Infinity || held.has(lane)) continue;
      if (room <= 0) return;
      // Its stream is syncing, or an earlier one was put off.
      const wait = lane.saving ? Infinity : Math.max(lane.resumeAt - clock.now(), events.waitFor(item.stream));
      const pause = wait > 0 ? 0 : takeToken(clock.now());
      if (wait > 0) pumpIn(wait);
      if (pause > 0) return pumpIn(pause);
      if (wait > 0 || (item.n === null && !number(item))) held.add(lane);
      else if (!transmit(item)) return;
      else room--;
    }
  }

  /** @returns whether it may be sent now, not only after its number was persisted */
  function number(item: Item): boolean {
    const { lane } = item;
    queue.number(item);
    try {
      const saved = store?.save({ ...view(item), n: lane.lastN, producer });
      if (!saved) return true;
      lane.saving = true;
      // Not persisted is worse than sent and persisted, and better than never sent.
      saved.then(undefined, settings.error).then(() => {
        lane.saving = false;
        pump();
      });
      return false;
    } catch (error) {
      settings.error(error);
      return true;
    }
  }

  function transmit(item: Item): boolean {
    const { id, n, stream, lane, text } = item;
    const head = { type: "MESSAGE", id, producer, n, stream, settled: lane.settled, clock: lamport.tick() };
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
    for (const older of item.lane.items) {
      // An earlier one is missing there: go again from the oldest without an answer.
      if (reason !== "ORDER" || older === item) break;
      older.sentAt = Infinity;
    }
    item.lane.putOff(clock.now(), positive(retry_after_ms, 0), random);
  }

  function withdraw(item: Item, cause: unknown): void {
    // The server may have it: it is followed up, for the sake of the numbers after it; nobody waits for it.
    if (item.n !== null) return item.reject(new OutcomeUnknown("aborted after it was sent", { cause }));
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
    for (const item of items.values()) item.sentAt = Infinity;
  }

  return {
    get waiting() {
      return items.size;
    },
    get queue() {
      return queue.entries;
    },
    waitingOn: (stream) => queue.lanes.get(stream)?.items.size ?? 0,
    unansweredSince: () => Math.min(...Array.from(items.values(), ({ sentAt }) => sentAt)),
    drained: queue.drained,
    down,
    pump,

    send(stream, payload, signal, refusal) {
      const id = uuid4();
      const { promise, resolve, reject } = deferred<Receipt>();
      try {
        if (refusal) throw refusal;
        signal?.throwIfAborted();
        checkStream(stream);
        const encoded = encodePayload(payload, limits.message_bytes);
        const lane = queue.lane(stream);
        const fresh = { n: null, sentAt: Infinity, overdueAt: 0, asked: 0, failures: 0, flushed: false, detach: () => {} };
        const item: Item = { id, stream, lane, ...encoded, createdAt: clock.wall(), resolve, reject, ...fresh };
        const tell = queue.add(item);
        item.detach = onAbort(signal, () => withdraw(item, signal?.reason));
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
      for (const item of items.values()) item.flushed = true;
      attempted += items.size;
      recorder.count("reconnect_flush_attempted_total", items.size);
      pump();
    },

    abandon(reason) {
      down();
      for (const item of [...items.values()]) {
        queue.remove(item);
        item.reject(item.n === null ? new ClosedError(reason) : new OutcomeUnknown(reason));
      }
      queue.dropped(reason);
      queue.changed();
    },

    ack(frame) {
      const item = items.get(frame.id);
      if (!item) return; // answered before; a retry crossed the first answer
      item.lane.retries = 0;
      if (item.flushed) {
        recorder.count("reconnect_flush_succeeded_total");
        recorder.gauge("reconnect_flush_success_rate", ++succeeded / attempted);
      }
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

import { calculateBackoff } from "./backoff.ts";
import { after } from "./clock.ts";
import { Rejected } from "./errors.ts";
import { positive, type Ping, type ServerError, type SyncDelta, type SyncSnapshot } from "./frames.ts";
import { fromWire, toWire, type WirePosition } from "./position.ts";
import type { Roster } from "./roster.ts";
import type { Settings } from "./settings.ts";
import type { Stream, SubscribeOptions } from "./stream.ts";

/** So many refused frames in a row, and the position itself is doubted. */
const DOUBT_AFTER = 3;

/** Where traffic goes on, the first entry that isn't acknowledged waits so long for its ACK, in ms. */
const ACK_AFTER = 5_000;

/**
 * Applies what the server sends of streams: verifies, hands to subscribers, acknowledges, mends (protocol 5).
 *
 * @returns for each type of frame what takes it
 */
export function createApplying(settings: Settings, roster: Roster) {
  const { clock, random, emit, lamport, baseMs, maxMs } = settings;
  const { streams } = roster;

  function delta(frame: SyncDelta, size: number): void {
    const stream = streams.get(frame.stream);
    // What changes a state is nothing to whoever waits for one.
    if (!stream || stream.ignores || stream.wantsSnapshot) return;
    const outcome = stream.cursor.delta(frame);
    if (typeof outcome === "string" && outcome !== "repeat") {
      emit("refused", outcome);
      return heal(stream);
    }
    const { epoch, to, complete } = frame;
    // A repeat that ends where we stand, at the head, is news all the same: we are current.
    if (outcome === "repeat" && !(complete && to === stream.seq)) return;
    const entries = outcome === "repeat" ? [] : outcome;
    if (!stream.live) stream.caughtUp += entries.length;
    if (complete) stream.goLive(clock.now());
    if (stream.live) stream.prove(clock.wall());
    for (const entry of entries) lamport.observe(entry.clock);
    if (entries.length) {
      for (const lost of stream.receipts.passed(stream.name, epoch, entries)) emit("lost", lost);
      const from = entries[0]!.seq - 1;
      call(stream, ({ onEvents }) => onEvents?.(entries, { from, to, complete }));
    }
    stream.unackedEntries += entries.length;
    stream.unackedSize += size;
    stream.unackedSince ||= clock.now();
    const { ack_entries, ack_bytes } = roster.limits;
    // A page that isn't the last one is acknowledged at once: the server waits for it to send the next.
    // On a slow line the other bounds take minutes to reach, in which the server would hear nothing.
    if (
      !complete ||
      stream.unackedEntries >= ack_entries ||
      stream.unackedSize >= ack_bytes ||
      clock.now() - stream.unackedSince > ACK_AFTER
    )
      acknowledge(stream);
  }

  function snapshot(frame: SyncSnapshot): void {
    const stream = streams.get(frame.stream);
    if (!stream || stream.ignores) return;
    const outcome = stream.cursor.snapshot(frame);
    if (outcome.kind === "refused") return heal(stream);
    if (outcome.kind === "part") {
      return roster.send({ type: "ACK", streams: {}, parts: { [stream.name]: outcome.part } });
    }
    const { reason, exact = true, partial = false, seq } = frame;
    stream.catchUp(clock.now());
    stream.prove(clock.wall());
    stream.wantsSnapshot = false;
    stream.brokenAt = null;
    stream.receipts.jumped(seq);
    call(stream, ({ onSnapshot }) => onSnapshot?.(outcome.state, { reason, exact, partial, seq }));
    acknowledge(stream);
  }

  function ping({ t, heads }: Ping): void {
    const positions: Record<string, WirePosition | null> = {};
    for (const stream of streams.values()) {
      if (stream.ignores || !stream.cursor.position) continue;
      positions[stream.name] = toWire(stream.cursor.position);
      stream.acknowledged(); // PONG acknowledges too
    }
    roster.send({ type: "PONG", t, streams: positions });
    for (const stream of streams.values()) {
      if (stream.ignores) continue;
      const { position, collecting } = stream.cursor;
      const head = fromWire(Object.hasOwn(heads, stream.name) ? heads[stream.name] : null);
      if (!head) stream.unverified ||= stream.live;
      else if (head.epoch === position?.epoch && !collecting) {
        const lost = head.seq > position.seq || (head.seq === position.seq && head.checksum !== position.checksum);
        if (lost) heal(stream);
        else if (stream.live) stream.prove(clock.wall());
      }
    }
  }

  function error({ code, reason, detail, ref, streams: named, retry_after_ms }: ServerError): void {
    const names = named ?? [];
    settings.error(new Rejected(code, reason, detail, names));
    for (const name of names) {
      const stream = streams.get(name);
      // An older ref speaks of a subscription that a later SUBSCRIBE has replaced.
      if (!stream || (ref && stream.ref && ref < stream.ref)) continue;
      if (reason === "INVALID_SEQ") stream.cursor.forget();
      else if (code === 503 || code === 429) {
        stream.part();
        wantIn(stream, positive(retry_after_ms, baseMs * 2) * (1 + random() / 2));
      } else if (code === 403 || code === 413) {
        stream.part();
        roster.drop(stream);
        emit("denied", stream);
        stream.subscribers.clear();
      }
    }
  }

  /** Hands something to every subscriber. One that throws spoils the stream, not the others (protocol 5.6). */
  function call(stream: Stream, run: (options: SubscribeOptions) => void): void {
    let failed = false;
    for (const subscriber of [...stream.subscribers]) {
      try {
        if (stream.subscribers.has(subscriber)) run(subscriber.handlers);
      } catch (cause) {
        failed = true;
        settings.error(cause);
      }
    }
    if (failed && streams.get(stream.name) === stream && stream.break(clock.now(), clock.wall())) {
      stream.wantsSnapshot = true;
      roster.want(stream);
    }
  }

  /** Continuity can't be proved: ask again from the position that is (protocol 5.1). */
  function heal(stream: Stream): void {
    if (stream.stopRetry) return;
    emit("heal", stream.name);
    stream.cursor.dropParts();
    if (stream.heals >= DOUBT_AFTER) stream.cursor.forget();
    // When the answer itself doesn't fit, don't turn a fault of the server into a loop.
    const tried = stream.heals++;
    if (tried) wantIn(stream, calculateBackoff(tried, baseMs, maxMs, random));
    else roster.want(stream);
  }

  function wantIn(stream: Stream, ms: number): void {
    if (roster.link) stream.stopRetry = after(clock, ms, roster.link, () => roster.want(stream));
  }

  function acknowledge(stream: Stream): void {
    // A SUBSCRIBE on its way has taken this subscription's place; so has nobody, where a handler closed it.
    if (stream.ignores) return;
    stream.acknowledged();
    roster.send({ type: "ACK", streams: { [stream.name]: toWire(stream.cursor.position) } });
  }

  const { answered } = roster;
  return { SYNC_DELTA: delta, SYNC_SNAPSHOT: snapshot, SUBSCRIBED: answered, UNSUBSCRIBED: answered, PING: ping, ERROR: error };
}

import { after } from "../clock.ts";
import type { SyncDelta } from "../frames.ts";
import type { WirePosition } from "../position.ts";
import type { Ending, Transport, TransportEvents } from "../transport.ts";
import type { TabsEnvironment } from "./environment.ts";
import type { createHttp, Sync } from "./http.ts";
import { HELLO, syncStream, type Lead, type Letter, type Standing } from "./letters.ts";

/** A letter reaches nobody while nobody leads: it is said again. */
const REPEAT_MS = 1_000;
/** Frames kept for a stream while its delta is fetched. */
const KEPT = 1_000;
/** Messages of one follower at once: the server bounds those of a socket. */
const IN_FLIGHT = 8;

type Claims = Readonly<Record<string, WirePosition | null>>;

/** One stream on its way to the leader's frames. */
interface Joining {
  /** Frames that came before it was known how they connect; null: they pass. */
  kept: Sync[] | null;
  readonly over: AbortController;
}

export interface SharedParts {
  readonly tab: string;
  readonly environment: TabsEnvironment;
  readonly http: ReturnType<typeof createHttp>;
  leader(): Lead | null;
  post(letter: Letter): void;
  visible(): boolean;
  /** The leader's socket carries no more streams: this tab needs its own. */
  full(): void;
}

/** A transport over the leader's socket: answers this tab's client as a server would. */
export interface SharedTransport extends Transport {
  /** The leader spoke of itself. */
  led(): void;
  /** A letter of the leader. */
  take(letter: Letter): void;
  end(ending: Partial<Ending>): void;
}

export function createSharedTransport(parts: SharedParts, events: TransportEvents): SharedTransport {
  const { tab, environment, http, leader, post } = parts;
  const life = new AbortController();
  const streams = new Map<string, Joining>();
  /** Joins without an answer. */
  const joins = new Map<number, Claims>();
  const probes: number[] = [];
  let session: string | null = null;

  const deliver = (frame: object) => events.received(JSON.stringify(frame));
  /** Not now: whoever opens doesn't have the transport yet, and servers don't answer at once. */
  const later = (run: () => void) =>
    queueMicrotask(() => {
      if (!life.signal.aborted) run();
    });

  function stop(): void {
    life.abort();
    for (const { over } of streams.values()) over.abort();
  }

  function end(ending: Partial<Ending>): void {
    if (life.signal.aborted) return;
    stop();
    events.ended({ code: 1006, reason: "", ...ending });
  }

  // -- joining streams -------------------------------------------------------------------------------

  function join(ref: number, claims: Claims): void {
    for (const name of Object.keys(claims)) {
      part(name);
      streams.set(name, { kept: [], over: new AbortController() });
    }
    joins.set(ref, claims);
    const ask = () => {
      const term = leader()?.term;
      if (term === undefined || !joins.has(ref)) return;
      post({ t: "join", term, tab, ref, streams: claims, anew: false });
      after(environment.clock, REPEAT_MS, life.signal, ask);
    };
    ask();
  }

  function joined(ref: number, standings: Readonly<Record<string, Standing>>): void {
    const claims = joins.get(ref);
    const welcome = leader()?.welcome;
    if (!claims || !welcome) return;
    const places = Object.keys(claims).map((name) => standings[name]);
    if (places.includes(undefined)) return; // the answer to a join of an earlier transport
    joins.delete(ref);
    if (places.includes(null)) return parts.full();
    if (ref === HELLO) deliver({ ...welcome, limits: { ...welcome.limits, in_flight: IN_FLIGHT } });
    else deliver({ type: "SUBSCRIBED", ref });
    for (const [name, claim] of Object.entries(claims)) {
      const stream = streams.get(name);
      if (stream?.kept) connect(name, stream, claim, standings[name]!);
    }
  }

  /** Puts a stream behind the leader's frames, from where this tab stands. */
  function connect(name: string, stream: Joining, claim: WirePosition | null, at: NonNullable<Standing>): void {
    const first = stream.kept![0];
    const reaches =
      first && (first.type === "SYNC_SNAPSHOT" || (first.epoch === claim?.epoch && first.from <= claim.last_seq_id));
    // A leader without a position is about to get a snapshot itself.
    if (reaches || !at.position) pass(stream);
    else if (!first && same(claim, at.position)) {
      pass(stream);
      if (at.live) deliver(current(name, at.position));
    } else {
      void http(name, claim, stream.over.signal, {
        frame: deliver,
        done: () => pass(stream),
        failed() {
          // The socket can do what HTTP can't, at the price of a snapshot for every tab.
          pass(stream);
          post({ t: "join", term: leader()?.term ?? 0, tab, ref: HELLO, streams: { [name]: null }, anew: true });
        },
      });
    }
  }

  function pass(stream: Joining): void {
    const { kept } = stream;
    stream.kept = null;
    for (const frame of kept ?? []) if (!stream.over.signal.aborted) deliver(frame);
  }

  function part(name: string): void {
    streams.get(name)?.over.abort();
    streams.delete(name);
  }

  // -- the server's frames ---------------------------------------------------------------------------

  function frame(text: string): void {
    const name = syncStream(text);
    if (name && !streams.get(name)?.kept) return void (streams.has(name) && events.received(text));
    const frame = JSON.parse(text) as Record<string, unknown>;
    switch (frame["type"]) {
      case "SYNC_DELTA":
      case "SYNC_SNAPSHOT": {
        const stream = streams.get((frame as unknown as Sync).stream);
        if (!stream) return;
        if (!stream.kept) return events.received(text);
        stream.kept.push(frame as unknown as Sync);
        if (stream.kept.length > KEPT) stream.kept.shift(); // a hole, which is healed like any
        return;
      }
      case "PING": {
        // A stream that is still on its way is behind, and knows it.
        const heads = Object.entries(frame["heads"] ?? {}).filter(([name]) => streams.get(name)?.kept === null);
        return deliver({ ...frame, heads: Object.fromEntries(heads) });
      }
      case "ERROR": {
        const named = frame["streams"];
        const ours = Array.isArray(named) ? named.filter((name) => streams.has(name)) : [];
        // The ref is the leader's.
        if (ours.length) deliver({ ...frame, ref: undefined, streams: ours });
        return;
      }
      default:
        events.received(text);
    }
  }

  // -- this tab's frames -----------------------------------------------------------------------------

  function send(text: string): boolean {
    const lead = leader();
    if (!session || !lead || life.signal.aborted) return false;
    const { term } = lead;
    const frame = JSON.parse(text);
    switch (frame.type) {
      case "HELLO":
        join(HELLO, { ...Object.fromEntries((lead.welcome?.streams ?? []).map((name) => [name, null])), ...frame.streams });
        return true;
      case "SUBSCRIBE":
        if (Object.keys(frame.streams).length) join(frame.ref, frame.streams);
        else {
          probes.push(frame.ref);
          post({ t: "wake", tab });
          post({ t: "ask", tab, visible: parts.visible(), seen: term });
        }
        return true;
      case "UNSUBSCRIBE":
        frame.streams.forEach(part);
        post({ t: "leave", term, tab, streams: frame.streams });
        later(() => deliver({ type: "UNSUBSCRIBED", ref: frame.ref }));
        return true;
      case "MESSAGE":
        post({ t: "out", term, tab, id: frame.id, text });
        return true;
      default:
        // ACK and PONG are the leader's, whose socket it is. So is TELEMETRY: what isn't taken is reported later.
        return frame.type !== "TELEMETRY";
    }
  }

  function led(): void {
    const welcome = leader()?.welcome;
    if (session && session !== welcome?.session) end({ reason: "the leader's connection", again: true });
    else if (welcome && !session) {
      ({ session } = welcome);
      later(() => events.opened());
    }
    if (welcome) for (const ref of probes.splice(0)) deliver({ type: "SUBSCRIBED", ref });
  }

  later(led);
  return {
    get patient() {
      return !session;
    },
    send,
    led,
    end,
    close: stop,

    take(letter) {
      if (!session || life.signal.aborted) return;
      try {
        if (letter.t === "frame") frame(letter.text);
        else if (!("to" in letter) || letter.to !== tab) return;
        else if (letter.t === "joined") joined(letter.ref, letter.streams);
        else if (letter.t === "answer") events.received(letter.text);
        else if (letter.t === "lost") end({ reason: "the leader lost this tab", again: true });
      } catch {
        // Not JSON: not of our leader.
      }
    },
  };
}

/** "You are current." */
function current(stream: string, { epoch, last_seq_id: seq, checksum }: WirePosition): SyncDelta {
  return { type: "SYNC_DELTA", stream, epoch, from: seq, to: seq, checksum, complete: true, payload: [] };
}

function same(a: WirePosition | null, b: WirePosition): boolean {
  return a !== null && a.epoch === b.epoch && a.last_seq_id === b.last_seq_id && a.checksum === b.checksum;
}

import { after } from "../clock.ts";
import { isTerminal, type Welcome } from "../frames.ts";
import { toWire } from "../position.ts";
import type { TabsHost } from "../sharing.ts";
import type { OpenTransport, Transport } from "../transport.ts";
import type { TabsEnvironment } from "./environment.ts";
import { HELLO, syncStream, type Lead, type Letter, type Standing } from "./letters.ts";

const BEAT_MS = 1_000;
/** A tab whose beacon can be taken this long after its letter is dead. */
const BEACON_MS = 2_000;
/** Messages whose owner is remembered: many times what all tabs have in flight. */
const OWNERS = 10_000;

export interface RelayParts {
  readonly key: string;
  readonly tab: string;
  readonly client: string;
  readonly term: number;
  readonly host: TabsHost;
  readonly environment: TabsEnvironment;
  post(letter: Letter): void;
  visible(): boolean;
  /** The server has a newer socket of this browser. */
  superseded(term: number): void;
  /** The list of tabs changed. */
  changed(): void;
}

/** A leader's side: one socket for all tabs. It forwards and decides nothing: whoever sent a message keeps it. */
export interface Relay {
  readonly tabs: Lead["tabs"];
  readonly open: OpenTransport;
  /** A letter of a follower. */
  take(letter: Letter): void;
  /** Says who leads. */
  say(): void;
  /** The connection gave up: for all, where the reason is everybody's. */
  failed(): void;
  end(): void;
}

interface Follower {
  visible: boolean;
  readonly streams: Set<string>;
}

export function createRelay(parts: RelayParts): Relay {
  const { key, tab, client, term, host, environment, post } = parts;
  const { clock } = environment;
  const life = new AbortController();
  const followers = new Map<string, Follower>();
  /** Which tab a message came from. */
  const owners = new Map<string, string>();
  let transport: Transport | null = null;
  let welcome: Welcome | null = null;
  let heardAt = clock.now();
  /** How the connection ended, if it may not come back. */
  let terminal: Lead["failed"] = null;
  let failed: Lead["failed"] = null;
  let stopBeat = () => {};

  const tabs = () => [
    { id: tab, visible: parts.visible() },
    ...Array.from(followers, ([id, { visible }]) => ({ id, visible })),
  ];

  function say(): void {
    if (life.signal.aborted) return;
    stopBeat();
    stopBeat = after(clock, BEAT_MS, life.signal, say);
    const age = clock.now() - heardAt;
    post({ t: "lead", term, tab, client, welcome, ...host.waiting(), age, tabs: tabs(), failed });
  }

  // -- the server's side ---------------------------------------------------------------------------

  const open: OpenTransport = (events) => {
    let over = false;
    const mine = host.open({
      opened: events.opened,
      received(data) {
        heardAt = clock.now();
        if (syncStream(data)) {
          events.received(data);
          return tell(data);
        }
        const frame = parse(data);
        const type = frame?.type;
        if (type === "BYE") {
          const { code, reason, reconnect } = frame!;
          if (code === 4509) return supersede(frame!.term);
          terminal = reconnect === false ? { code: Number(code), reason: String(reason) } : null;
        }
        const owner = (type === "ACK" || type === "REJECT") && owners.get(String(frame!.id));
        if (owner) {
          owners.delete(String(frame!.id));
          return post({ t: "answer", term, to: owner, text: String(data) });
        }
        events.received(data);
        if (over || !frame) return; // a handler closed the client
        if (type === "WELCOME") {
          welcome = frame as unknown as Welcome;
          terminal = failed = null;
          say();
        } else if (!PRIVATE.includes(String(type))) tell(data);
      },
      ended(ending) {
        down();
        if (ending.code === 4509) return supersede();
        if (isTerminal(ending.code)) terminal = { code: ending.code, reason: ending.reason };
        events.ended(ending);
        say();
      },
    });

    /** Those that it may concern, after this tab: what it says of its positions follows what it passed on. */
    function tell(data: unknown): void {
      if (!over && welcome && followers.size) post({ t: "frame", term, text: String(data) });
    }

    function supersede(other?: unknown): void {
      down();
      mine.close(1000, "superseded");
      parts.superseded(typeof other === "number" ? other : 0);
    }

    function down(): void {
      over = true;
      if (transport !== mine && transport) return;
      transport = welcome = null;
      owners.clear();
    }

    transport = mine;
    return {
      send: mine.send,
      close(code, reason) {
        const was = welcome;
        down();
        mine.close(code, reason);
        if (was) say();
      },
    };
  };

  // -- the followers' side ---------------------------------------------------------------------------

  function follower(id: string): Follower {
    let known = followers.get(id);
    if (!known) {
      known = { visible: true, streams: new Set() };
      followers.set(id, known);
      watchBeacon(id);
      parts.changed();
    }
    return known;
  }

  /** The lock that a tab holds while it lives is the one notice of death that needs no timer. */
  function watchBeacon(id: string): void {
    after(clock, BEACON_MS, life.signal, () => {
      environment
        .locks!.request(`${key}:tab:${id}`, { signal: life.signal }, () => {
          if (life.signal.aborted || !followers.has(id)) return;
          forget(id);
          post({ t: "lost", term, to: id });
        })
        .catch(() => {});
    });
  }

  function forget(id: string): void {
    const gone = followers.get(id);
    if (!gone) return;
    followers.delete(id);
    leave(gone, [...gone.streams]);
    parts.changed();
    say();
  }

  function leave(from: Follower, names: readonly string[]): void {
    for (const name of names) {
      from.streams.delete(name);
      if (![...followers.values()].some(({ streams }) => streams.has(name))) host.release(name);
    }
  }

  function join({ tab: to, ref, streams, anew }: Extract<Letter, { t: "join" }>): void {
    const known = follower(to);
    if (!welcome) return; // it joins again when the connection stands
    // What it doesn't name any more, it gave up while there was no connection to say so on.
    if (ref === HELLO && !anew) leave(known, [...known.streams].filter((name) => !Object.hasOwn(streams, name)));
    const standings: Record<string, Standing> = {};
    for (const [name, claim] of Object.entries(streams)) {
      const held = host.hold(name, claim, anew);
      const at = held ? host.at(name) : undefined;
      if (at) known.streams.add(name);
      standings[name] = at ? { position: toWire(at.position), live: at.live } : null;
    }
    post({ t: "joined", term, to, ref, streams: standings });
  }

  function out({ tab: from, id, text }: Extract<Letter, { t: "out" }>): void {
    follower(from);
    if (!welcome || !transport) return;
    owners.delete(id);
    owners.set(id, from);
    for (const oldest of owners.keys()) {
      if (owners.size <= OWNERS) break;
      owners.delete(oldest);
    }
    transport.send(text);
  }

  return {
    get tabs() {
      return tabs();
    },
    open,
    say,

    take(letter) {
      if ("term" in letter && letter.term !== term) return;
      if (letter.t === "ask") {
        const known = follower(letter.tab);
        if (known.visible !== (known.visible = letter.visible)) parts.changed();
        say();
      } else if (letter.t === "join") join(letter);
      else if (letter.t === "leave") leave(follower(letter.tab), letter.streams);
      else if (letter.t === "out") out(letter);
      else if (letter.t === "bye") forget(letter.tab);
      else if (letter.t === "claim") say();
      else if (letter.t === "wake") {
        follower(letter.tab);
        host.wake("tab");
      }
    },

    failed() {
      failed = terminal;
      if (failed) say();
    },

    end() {
      life.abort();
      for (const name of new Set([...followers.values()].flatMap(({ streams }) => [...streams]))) host.release(name);
      followers.clear();
    },
  };
}

/** What concerns the leader's own conversation with the server alone. */
const PRIVATE = ["WELCOME", "BYE", "SUBSCRIBED", "UNSUBSCRIBED", "ACK", "REJECT"];

function parse(data: unknown): Record<string, unknown> | null {
  try {
    const frame: unknown = JSON.parse(String(data));
    return typeof frame === "object" ? (frame as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

import { holdLock } from "../held-lock.ts";
import { uuid4 } from "../random.ts";
import { alone, type Role, type TabInfo, type Tabs, type TabsHost, type TabsLink } from "../sharing.ts";
import { createElection } from "./election.ts";
import { browserEnvironment, type TabsEnvironment } from "./environment.ts";
import { createHttp } from "./http.ts";
import { readLetter, type Lead, type Letter } from "./letters.ts";
import type { Pipe } from "./pipe.ts";
import { createRelay, type Relay } from "./relay.ts";
import { watchRest } from "./rest.ts";
import { createSharedTransport, type SharedTransport } from "./shared-transport.ts";
import { createWatch } from "./watch.ts";

export type { TabsEnvironment } from "./environment.ts";

export interface TabsOptions {
  /** Instead of the client's `key`. */
  readonly key?: string | undefined;
  /** Where deltas are served over HTTP, with STREAM in the place of a stream's name ("/reconnect/streams/STREAM/delta"). */
  readonly deltaUrl?: string | undefined;
  /** With every tab hidden for so long, the connection rests until one is looked at, in milliseconds: never. */
  readonly hiddenDisconnectMs?: number | undefined;
  readonly environment?: TabsEnvironment | undefined;
}

/**
 * Lets the tabs of one browser, URL and identity share one connection (design 11.4).
 *
 * Without an identity key, Web Locks (plain-http origins) or a way for tabs to talk, each tab has a socket of its own.
 */
export function shareTabs(options: TabsOptions = {}): Tabs {
  return (host) => {
    const environment = options.environment ?? browserEnvironment();
    const key = options.key ?? host.key;
    const link = (key && environment.locks && share(`rc:v1:${key}:${host.url}`, host, environment, options)) || alone(host);
    watchRest(environment, host, link, options.hiddenDisconnectMs);
    return link;
  };
}

function share(key: string, host: TabsHost, environment: TabsEnvironment, { deltaUrl }: TabsOptions): TabsLink | null {
  const { signal, settings } = host;
  const { storage, window, document } = environment;
  const tab = uuid4();
  let leader: Lead | null = null;
  let relay: Relay | null = null;
  let transport: SharedTransport | null = null;
  let askedAt = -Infinity;
  let asleep = false;
  let idle = false;
  let solo = false;
  let releaseBeacon = () => {};
  let tabs: readonly TabInfo[] = [];
  let client = clientId();
  let pipe: Pipe | undefined = environment.openPipe(key, received);
  if (!pipe) return null;

  const visible = () => document?.visibilityState !== "hidden";
  const http = createHttp(environment, deltaUrl);

  /** One name for all tabs: the server lets its newest socket win. */
  function clientId(): string {
    try {
      const known = storage?.getItem(`${key}:client`);
      if (known && known.length <= 100) return known;
      const made = uuid4();
      storage?.setItem(`${key}:client`, made);
      return made;
    } catch {
      return tab; // the first leader's, which the others learn from it
    }
  }

  function post(letter: Letter): void {
    try {
      pipe?.post(letter);
    } catch (error) {
      settings.error(error);
    }
  }

  function ask(): void {
    askedAt = settings.clock.now();
    post({ t: "ask", tab, visible: visible(), seen: election.term });
  }

  // -- roles -----------------------------------------------------------------------------------------

  const election = createElection(key, environment, {
    lead() {
      watch.stop();
      leader = null;
      const { term } = election;
      const superseded = (newer: number) => {
        if (election.term !== term || !election.leading) return;
        election.observe(newer);
        if (election.leading) election.resign();
      };
      relay = createRelay({ key, tab, client, term, host, environment, post, visible, superseded, changed });
      relay.say();
      changed();
      host.restart("leader");
    },
    follow() {
      endRelay();
      watch.start();
      changed();
      host.restart("follower");
      ask();
    },
    unavailable() {
      goSolo();
    },
  });

  const watch = createWatch(tab, environment, signal, {
    ask() {
      election.requeue();
      ask();
    },
    claim: () => post({ t: "claim", tab }),
    takeOver: () => void election.steal(),
  });

  function endRelay(): void {
    relay?.end();
    relay = null;
  }

  function forget(): void {
    leader = null;
    transport?.end({ reason: "the leader is gone", again: true });
  }

  function role(): Role {
    if (solo) return "solo";
    if (asleep || idle) return "suspended";
    return relay ? "leader" : leader ? "follower" : "candidate";
  }

  function changed(): void {
    const list = solo ? [] : relay ? relay.tabs : (leader?.tabs ?? []);
    const head = relay ? tab : leader?.tab;
    const next = list.map(({ id, visible }) => Object.freeze({ id, leader: id === head, mine: id === tab, visible }));
    if (JSON.stringify(next) !== JSON.stringify(tabs)) tabs = Object.freeze(next);
    settings.changed();
  }

  function begin(): void {
    // Held as long as this tab lives: whoever gets it knows that the tab doesn't.
    releaseBeacon = holdLock(environment.locks!, `${key}:tab:${tab}`);
    election.apply();
    watch.start();
    ask();
  }

  /** Leaves the others; synchronous, since no page lives longer than its `pagehide`. */
  function end(): void {
    post(relay ? { t: "gone", term: election.term } : { t: "bye", tab });
    watch.stop();
    endRelay();
    leader = null;
    election.withdraw();
    releaseBeacon();
  }

  function goSolo(): void {
    if (solo) return;
    end();
    solo = true;
    pipe?.close();
    pipe = undefined;
    changed();
    host.restart("solo");
  }

  // -- letters ---------------------------------------------------------------------------------------

  function received(data: unknown): void {
    const letter = readLetter(data);
    if (!letter || asleep || solo || signal.aborted) return;
    if (letter.t === "logout") return host.logout();
    if (letter.t === "claim") watch.claimed(letter.tab);
    if (letter.t === "lead") hear(letter);
    // The count of leaderships was lost (storage cleared or full), and that tab would never listen to us.
    if (letter.t === "ask" && relay) election.observe(letter.seen);
    if (relay) relay.take(letter);
    else if ("term" in letter && letter.term === leader?.term) {
      if (letter.t === "gone") forget();
      else transport?.take(letter);
    }
  }

  function hear(letter: Lead): void {
    if (letter.term < election.term || !election.plausible(letter.term) || letter.tab === tab) return;
    election.observe(letter.term); // which ends an older leadership of ours
    if (relay) return;
    const other = leader?.term !== letter.term || leader.tab !== letter.tab;
    const missing = !letter.tabs.some(({ id }) => id === tab);
    leader = letter;
    client = letter.client;
    if (fresh(letter)) watch.heard();
    if (other) transport?.end({ reason: "another tab leads", again: true });
    if (letter.failed) transport?.end(letter.failed);
    else if (idle && letter.welcome) host.retry();
    else transport?.led();
    // Once: while many join, most of what a leader says was said before it read our letter.
    if (missing && !idle && (other || settings.clock.now() - askedAt >= ASK_AGAIN_MS)) ask();
    changed();
  }

  /** Whether a leader that speaks also does its work: frozen pages still answer. */
  function fresh({ welcome, age, retryAt }: Lead): boolean {
    if (welcome) return age < 2 * welcome.heartbeat_ms + SLACK_MS;
    return retryAt === null || settings.clock.wall() < retryAt + SLACK_MS;
  }

  // -- the page --------------------------------------------------------------------------------------

  function sleep(): void {
    if (asleep || solo) return;
    end();
    asleep = true;
    // A message to a page in the back/forward cache would throw it out of there.
    pipe?.close();
    pipe = undefined;
    changed();
  }

  function wake(): void {
    if (!asleep) return;
    asleep = false;
    pipe = environment.openPipe(key, received);
    if (!pipe) return goSolo();
    if (!idle) begin();
    changed();
  }

  const listen = (target: EventTarget | undefined, type: string, run: () => void) =>
    target?.addEventListener(type, run, { signal });
  listen(window, "pagehide", sleep);
  listen(document, "freeze", sleep);
  listen(window, "pageshow", wake);
  listen(document, "resume", wake);
  listen(document, "visibilitychange", () => {
    if (relay) {
      relay.say();
      changed();
    } else {
      ask();
      if (visible()) post({ t: "wake", tab });
    }
  });
  listen(window, "online", () => post({ t: "wake", tab }));
  signal.addEventListener("abort", () => {
    if (!asleep && !solo) end();
    pipe?.close();
    pipe = undefined;
  });
  if (!signal.aborted) begin();

  return {
    get role() {
      return role();
    },
    get term() {
      return solo ? 0 : election.term;
    },
    get clientId() {
      return solo ? host.clientId : client;
    },
    get tabs() {
      return tabs;
    },
    get waiting() {
      return relay || !leader ? null : leader;
    },

    open(events) {
      if (solo) return host.open(events);
      if (relay) return relay.open(events);
      return (transport = createSharedTransport(
        { tab, environment, http, leader: () => leader, post, visible, full: goSolo },
        events,
      ));
    },

    resign() {
      if (!relay) return;
      post({ t: "gone", term: election.term });
      election.resign();
    },

    failed(failed) {
      if (signal.aborted) return; // FAILED ends with `close`, too
      if (solo || asleep) return void (idle = failed);
      if (failed) {
        relay?.failed();
        idle = true;
        end();
      } else if (idle) {
        idle = false;
        begin();
      }
      changed();
    },

    logout: () => post({ t: "logout" }),
  };
}

const SLACK_MS = 15_000;
const ASK_AGAIN_MS = 500;

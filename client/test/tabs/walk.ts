/** A walk: a browser with some tabs, a server, and whatever may happen to them, checked against what is promised. */
import { connect } from "../../src/index.ts";
import type { Tabs } from "../../src/sharing.ts";
import type { TabsEnvironment } from "../../src/tabs/environment.ts";
import { FakeServer, type FakeSocket } from "../../src/testing.ts";
import { createBrowser, type Browser } from "./browser.ts";
import { print, type Command } from "./commands.ts";
import { createLoop, type Loop } from "./loop.ts";
import { createPage, type Page, type Sent } from "./page.ts";
import { leaks, unsettled, wrongMessages } from "./promises.ts";
import type { Tab } from "./tab.ts";

const STREAMS = ["s", "t"];
const MAX_TABS = 6;
/** Everybody is up to date so soon after the last fault: backoff, connect timeout and 5 s (design P6). */
const HEAL_MS = 33_000;
const HEARTBEAT_MS = 15_000;

/** What a run came to. */
export interface Outcome {
  /** Empty: every promise was kept. */
  readonly problems: readonly string[];
  readonly trace: readonly string[];
  readonly stats: Readonly<Record<string, number>>;
}

export interface Sharing {
  readonly environment: TabsEnvironment;
  readonly deltaUrl: string | undefined;
  readonly hiddenDisconnectMs: number | undefined;
}

export interface WalkOptions {
  readonly trace?: boolean;
  /** How a page shares its connection; undefined: not at all. */
  readonly share?: ((how: Sharing) => Tabs) | undefined;
}

/** Runs commands in the world of a seed. The same arguments give the same outcome. */
export async function walk(seed: number, commands: readonly Command[], options: WalkOptions = {}): Promise<Outcome> {
  const loop = createLoop(seed);
  const restore = takeOver(loop);
  try {
    return await createWalk(loop, options).run(commands);
  } finally {
    restore();
  }
}

/** Ids and jitter of the code under test come from the seed, and it has no other timers than the tab's. */
function takeOver(loop: Loop): () => void {
  const { crypto, setTimeout } = globalThis;
  const original = crypto.getRandomValues;
  crypto.getRandomValues = ((array: Uint32Array) => {
    for (let i = 0; i < array.length; i++) array[i] = loop.random() * 2 ** 32;
    return array;
  }) as typeof original;
  globalThis.setTimeout = (() => {
    throw new Error("a timer that is not of the tab's clock");
  }) as never;
  return () => Object.assign(globalThis, { setTimeout }) && void (crypto.getRandomValues = original);
}

function createWalk(loop: Loop, { trace: tracing = false, share }: WalkOptions) {
  const server = new FakeServer();
  const problems: string[] = [];
  const trace: string[] = [];
  const pages: Page[] = [];
  const sent: Sent[] = [];
  /** Pages that must hear of a logout. */
  let hearing = new Set<Page>();
  const leaders = new Map<string, Tab>();
  const stats = { commands: 0, sends: 0, hellos: 0, duplicates: 0, deltas: 0, letters: 0, healMs: 0 };
  let published = 0;
  let evictions = 0;

  const complain = (what: string) => {
    note(`PROBLEM ${what}`);
    if (problems.length < 20) problems.push(`at ${Math.round(loop.now)} ms: ${what}`);
  };
  const note = (what: string) => {
    if (tracing) trace.push(`${(loop.now / 1000).toFixed(3).padStart(9)}  ${what}`);
  };

  const chance = (probability: number) => loop.random() < probability;
  const busy = chance(0.3);
  const delays = busy ? { lockMs: loop.between(1, 60), messageMs: loop.between(3, 300) } : { lockMs: 1, messageMs: 3 };
  const browser: Browser = createBrowser(loop, server, answer, delays);
  function answer(url: string, cookie: string | null): object | number {
    stats.deltas++;
    if (cookie === null || http === "refused") return 403;
    if (http === "flaky" && loop.random() < 0.5) return 503;
    const { pathname, searchParams } = new URL(url, "http://host");
    const epoch = searchParams.get("epoch");
    const [last, checksum] = ["last_seq_id", "checksum"].map((name) => Number(searchParams.get(name)));
    return server.delta(
      decodeURIComponent(pathname.split("/").at(-1)!),
      epoch === null ? null : { epoch, last_seq_id: last!, checksum: checksum! },
    );
  }
  const said = new Map<Tab, string>();
  browser.posted = (tab, data) => {
    stats.letters++;
    if (!tracing) return;
    // What a leader says again and again is told when it changes.
    const { age, ...rest } = data as Record<string, unknown>;
    const text = JSON.stringify({ ...rest, ...(rest["welcome"] ? { welcome: true } : {}) }).slice(0, 300);
    if (age === undefined || said.get(tab) !== text) note(`    ${tab.id} says ${text}`);
    if (age !== undefined) said.set(tab, text);
  };
  browser.evicted = (tab, why) => {
    note(`  ${tab.id} is evicted from the back/forward cache by ${why}`);
    evictions++;
  };
  const http = chance(0.1) ? "refused" : chance(0.2) ? "flaky" : "good";
  const deltaUrl = chance(0.1) ? undefined : "/d/STREAM";
  const hiddenDisconnectMs = chance(0.1) ? 4_000 : undefined;
  browser.cookie = "ada";
  browser.lacks.storage = chance(0.04) || (chance(0.04) && "full");
  let counted = !browser.lacks.storage;
  browser.frozenLocks = chance(0.5);
  browser.freezesCached = chance(0.7);
  // Some browsers lack something: then every tab is on its own, and all else holds.
  browser.lacks.locks = chance(0.06);
  browser.lacks.pipe = chance(0.04);
  const shares = share !== undefined && !browser.lacks.locks && !browser.lacks.pipe;

  const world = { browser, server, pages, sent, shares };

  for (const name of STREAMS) {
    const log = server.log(name);
    // Snapshots hold the state, where there is one; else everything comes as entries.
    if (chance(0.5)) Object.defineProperty(log, "state", { get: () => log.entries.map(({ payload }) => payload) });
  }
  server.limits = { ...server.limits, in_flight: loop.between(2, 16) };
  server.identify = (socket) => {
    const cookie = browser.network.origin(socket)?.cookie ?? null;
    return cookie === browser.cookie ? cookie : null; // that session has ended
  };
  server.intercept = (socket, frame) => {
    const tab = browser.network.origin(socket)?.tab;
    note(`  server < ${tab?.id} ${JSON.stringify(frame)}`);
    if (frame["type"] === "MESSAGE" && server.answers.has(frame["id"])) stats.duplicates++;
    if (frame["type"] !== "HELLO") return;
    stats.hellos++;
    // Where the count isn't stored, a tab that slept through a leadership may count it again: the server bears that.
    if (shares !== frame["term"] > 0) complain(`a term of ${frame["term"]}`);
    if (!shares || !tab || !counted) return;
    const leadership = JSON.stringify([frame["key"], frame["client_id"], frame["term"]]);
    const leader = leaders.get(leadership) ?? tab;
    leaders.set(leadership, leader);
    if (leader !== tab) complain(`two leaders of one term: ${leader.id} and ${tab.id}, ${leadership}`);
  };

  (function beat() {
    for (const socket of server.connected) server.ping(socket);
    loop.later(HEARTBEAT_MS, beat);
  })();

  // -- the pages ---------------------------------------------------------------------------------

  const alive = () => pages.filter(({ tab }) => tab.alive);
  const awake = () => pages.filter(({ tab }) => tab.awake);
  function open(): void {
    if (browser.cookie !== null && alive().length < MAX_TABS) start(browser.open(), browser.cookie);
  }

  function start(tab: Tab, key: string): void {
    const name = `page${pages.length + 1}`;
    const { clock, random, window, document } = tab.environment;
    const client = connect("ws://host/ws/", {
      WebSocket: tab.WebSocket,
      networkAware: { window, document },
      clock,
      random,
      key,
      tabs: share?.({ environment: tab.environment, deltaUrl, hiddenDisconnectMs }) ?? false,
    });
    note(`${name} opened in ${tab.id} for ${key}`);
    let role = "";
    client.on("change", (snapshot) => {
      const now = `${snapshot.role} ${snapshot.state}`;
      if (now !== role) note(`  ${name} is ${(role = now)}`);
    });
    const page = createPage(name, tab, client, key, server, complain);
    // A leader of an older session of this user takes a newcomer with it when that session is cut.
    page.left = alive().some((other) => other.key === key && other.left);
    page.subscribe("s");
    pages.push(page);
  }

  function send(page: Page, pick: number): void {
    stats.sends++;
    const made = page.send(STREAMS[pick % 3] ?? "s");
    note(`  ${page.name} sends ${made.payload} ${made.id}`);
    sent.push(made);
  }

  /** Another user, or nobody, from now on. */
  function become(cookie: string | null): void {
    if (cookie === browser.cookie) return;
    browser.cookie = cookie;
    for (const page of pages) if (page.key !== cookie) page.left = true;
    for (const socket of server.connected) {
      if (browser.network.origin(socket)?.cookie !== cookie) server.bye(socket, 4501, "LOGGED_OUT");
    }
  }

  // -- the commands ------------------------------------------------------------------------------

  function perform({ do: kind, pick, ms }: Command): void {
    const one = <T>(list: readonly T[]): T | undefined => list[pick % Math.max(list.length, 1)];
    const responsive = alive().filter(({ tab }) => !tab.blocked);
    const page = one(awake());
    const name = STREAMS[1]!;
    const publish = () => server.publish(STREAMS[pick % 2]!, `server-${++published}`);
    note(`> ${kind} ${page?.name ?? ""}`);
    if (kind === "freeze" || kind === "cache") for (const other of hearing) if (other.tab === page?.tab) hearing.delete(other);
    const actions: Record<Command["do"], () => unknown> = {
      open,
      twin: () => page && page.key === browser.cookie && alive().length < MAX_TABS && start(page.tab, page.key),
      close: () => one(alive())?.tab.close(),
      reload() {
        page?.tab.close();
        loop.later(0, open);
      },
      crash: () => one(alive())?.tab.crash(),
      freeze: () => page?.tab.freeze(),
      resume: () => one(responsive.filter(({ tab }) => tab.frozen))?.tab.resume(),
      cache: () => page?.tab.cache(),
      restore: () => one(responsive.filter(({ tab }) => tab.cached))?.tab.restore(),
      block() {
        page?.tab.block();
        loop.later(200 + (pick / 60) * 14_000, () => void (page?.tab.blocked && page.tab.unblock()));
      },
      hide: () => page?.tab.hide(),
      show: () => page?.tab.show(),
      send: () => page && send(page, pick),
      burst() {
        for (let i = 0; page && i < 5 + (pick % 20); i++) send(page, i % 4 ? 0 : 1);
      },
      publish,
      unpushed: () => void server.log(STREAMS[pick % 2]!).append(`server-${++published}`),
      epoch() {
        server.log(name).epoch += "x";
        for (const socket of server.connected) server.drop(1006, socket);
      },
      subscribe: () => page?.subscribe(name),
      unsubscribe: () => page?.unsubscribe(name),
      resign: () => page?.client.resign(),
      down: () => void (browser.network.state = "down"),
      mute: () => void (browser.network.state = "mute"),
      up: () => void (browser.network.state = "up"),
      drop: () => {
        const socket = one<FakeSocket>(server.connected);
        if (socket) server.drop(1006, socket);
      },
      online: () => page?.tab.environment.window.dispatchEvent(new Event("online")),
      logout() {
        if (!page || page.client.signal.aborted || page.key !== browser.cookie) return;
        for (const other of pages) if (other.key === page.key) other.left = true;
        const others = awake().filter((other) => other !== page && other.key === page.key);
        hearing = new Set(shares ? others : []);
        page.client.logout();
        loop.later(delays.messageMs + 1, () => {
          for (const { name, tab, client } of hearing) {
            if (tab.awake && !client.signal.aborted) complain(`${name} didn't hear of the logout`);
          }
        });
        loop.later(ms / 2, () => become(null));
      },
      login() {
        become(["ada", "bob"][pick % 2]!);
        open();
      },
      clear() {
        browser.stored.clear();
        counted = false;
      },
      wait() {},
    };
    actions[kind]();
  }

  // -- the end -----------------------------------------------------------------------------------

  /** Time passes until all is as it must be, and it stays so. */
  async function calm(when: string): Promise<void> {
    const since = loop.now;
    await loop.advance(2_000); // one that had given up comes back where a leader shows that it works
    let found = unsettled(world);
    while (found.length && loop.now - since < HEAL_MS) {
      await loop.advance(500);
      found = unsettled(world);
    }
    stats.healMs = Math.max(stats.healMs, loop.now - since);
    for (const problem of found) complain(`${when}, after ${HEAL_MS} ms: ${problem}`);
    if (found.length) return;
    const { hellos } = stats;
    await loop.advance(HEARTBEAT_MS * 1.5);
    for (const problem of unsettled(world)) complain(`${when}, it didn't stay: ${problem}`);
    if (hellos !== stats.hellos) complain(`${when}, the connection changed in calm`);
  }

  async function run(commands: readonly Command[]): Promise<Outcome> {
    const rejected = (error: unknown) => complain(`an unhandled rejection: ${(error as Error)?.stack ?? String(error)}`);
    process.on("unhandledRejection", rejected);
    for (const command of commands) {
      stats.commands++;
      perform(command);
      await loop.advance(command.ms);
      if (problems.length) break;
    }
    if (!problems.length) await finish();
    process.off("unhandledRejection", rejected);
    for (const { tab, error } of browser.errors) complain(`${tab.id} threw: ${(error as Error)?.stack ?? String(error)}`);
    const { steals } = browser.locks;
    return { problems, trace, stats: { ...stats, steals, fenced: server.fenced, evictions } };
  }

  async function finish(): Promise<void> {
    note("> all is well again, who sleeps sleeps on");
    await loop.advance(15_000); // whoever is busy is done
    browser.network.state = "up";
    if (hiddenDisconnectMs !== undefined) for (const { tab } of awake()) tab.show();
    await calm("with sleepers");
    if (problems.length) return;
    note("> everybody wakes");
    for (const { tab } of alive()) {
      if (tab.frozen) tab.resume();
      else if (tab.cached) tab.restore();
    }
    await loop.advance(0);
    for (const { tab } of alive()) tab.show();
    await calm("with everybody");
    if (problems.length) return;
    for (const { client } of alive()) client.close();
    await loop.advance(5_000);
    for (const problem of [...wrongMessages(world), ...leaks(world)]) complain(problem);
  }

  return { run };
}

/** What to print of a walk that failed, and of the shortest one that was found to fail alike. */
export function report(
  seed: number,
  commands: readonly Command[],
  { problems }: Outcome,
  short: readonly Command[],
  again: Outcome,
): string {
  return [
    ...problems,
    `seed ${seed}, ${commands.length} commands: ${commands.map(print).join(", ")}`,
    `shortened to ${short.length}: ${short.map(print).join(", ")}`,
    ...again.trace.slice(-60),
    `again: WALK_SEED=${seed} npx vitest run --project source test/tabs/simulation.test.ts`,
  ].join("\n");
}

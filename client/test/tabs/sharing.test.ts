import { EventEmitter } from "node:events";
import { beforeEach, describe, expect, test } from "vitest";
import { connect, shareTabs, type Client, type Options } from "../../src/index.ts";
import { FakeServer, type Frame } from "../../src/testing.ts";
import { createBrowser, type Browser } from "./browser.ts";
import { createLoop, type Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

EventEmitter.defaultMaxListeners = 100;

const ADDRESS = "ws://host/ws/";
const PIPE = `rc:v1:ada:${ADDRESS}`;

let loop: Loop;
let server: FakeServer;
let browser: Browser;
let deltas: string[];
let serve: (url: string) => object | number;

interface Opened {
  readonly tab: Tab;
  readonly client: Client;
  /** The state as the application folds it. */
  readonly seen: unknown[];
}

beforeEach(() => {
  loop = createLoop(7);
  server = new FakeServer();
  server.identify = (socket) => socket.of("HELLO")[0]?.["key"] ?? null; // whoever it says it is
  deltas = [];
  serve = (url) => {
    const { pathname, searchParams } = new URL(url, "http://host");
    const epoch = searchParams.get("epoch");
    const claim = epoch === null ? null : { epoch, last_seq_id: Number(searchParams.get("last_seq_id")), checksum: Number(searchParams.get("checksum")) };
    return server.delta(pathname.split("/").at(-1)!, claim);
  };
  browser = createBrowser(loop, server, (url) => {
    deltas.push(url);
    return serve(url);
  });
});

function open(options: Partial<Options> & { hiddenDisconnectMs?: number; deltaUrl?: string | undefined } = {}): Opened {
  const tab = browser.open();
  const { clock, random, window, document } = tab.environment;
  const { hiddenDisconnectMs, deltaUrl = "/d/STREAM", ...rest } = options;
  const client = connect(ADDRESS, {
    WebSocket: tab.WebSocket,
    networkAware: { window, document },
    clock,
    random,
    key: "ada",
    tabs: shareTabs({ deltaUrl, environment: tab.environment, hiddenDisconnectMs }),
    ...rest,
  });
  return { tab, client, seen: [] };
}

function follow(page: Opened, stream = "s"): void {
  page.client.subscribe(stream, {
    onSnapshot: (state) => void page.seen.splice(0, Infinity, ...((state as unknown[] | null) ?? [])),
    onEvents: (entries) => void page.seen.push(...entries.map(({ payload }) => payload)),
  });
}

async function until(condition: () => boolean, ms = 30_000): Promise<void> {
  for (let waited = 0; waited < ms && !condition(); waited += 10) await loop.advance(10);
  expect(condition()).toBe(true);
}

const live = ({ client }: Opened) => client.state === "CONNECTED" && client.sync.kind === "live";
const sockets = () => server.connected.length;
const roles = (...pages: Opened[]) => pages.map(({ client }) => client.role);

async function three(): Promise<[Opened, Opened, Opened]> {
  const pages: [Opened, Opened, Opened] = [open(), open(), open()];
  for (const page of pages) follow(page);
  await until(() => pages.every(live) && roles(...pages).includes("leader") && pages[0].client.snapshot.tabs.length === 3);
  return pages;
}

describe("tabs of one identity", () => {
  test("have one socket, the same sync state, and know each other", async () => {
    const pages = await three();
    expect(sockets()).toBe(1);
    expect(roles(...pages)).toEqual(["leader", "follower", "follower"]);
    for (const { client } of pages) {
      const { tabs, sync, state } = client.snapshot;
      expect({ state, sync }).toEqual({ state: "CONNECTED", sync: { kind: "live", waiting: 0 } });
      expect(tabs.filter(({ leader }) => leader)).toHaveLength(1);
      expect(tabs.filter(({ mine }) => mine)).toHaveLength(1);
    }
  });

  test("see each entry once, and every message of theirs takes effect once, in each tab's order", async () => {
    const pages = await three();
    for (let i = 0; i < 30; i++) void pages[i % 3]!.client.send("s", `${i % 3}:${i}`);
    await until(() => pages.every(({ client }) => !client.waiting));
    server.publish("s", "from the server");
    await until(() => pages.every(({ seen }) => seen.length === 31));
    for (const tab of [0, 1, 2]) {
      const own = server.applied.map(({ payload }) => String(payload)).filter((text) => text.startsWith(`${tab}:`));
      expect(own).toEqual([...own].sort((a, b) => Number(a.slice(2)) - Number(b.slice(2))));
      expect(own).toHaveLength(10);
    }
    expect(pages[1].seen).toEqual(pages[0].seen);
    expect(pages[2].seen).toEqual(pages[0].seen);
    expect(deltas).toEqual([]);
  });

  test("hand the connection over when the leader asks for it, and nothing is lost", async () => {
    const [first, second, third] = await three();
    for (let i = 0; i < 5; i++) void second.client.send("s", i);
    first.client.resign();
    await until(() => second.client.role === "leader" && [first, second, third].every(live));
    expect(roles(first, second, third)).toEqual(["follower", "leader", "follower"]);
    await until(() => !second.client.waiting);
    expect(server.applied.map(({ payload }) => payload)).toEqual([0, 1, 2, 3, 4]);
    expect(sockets()).toBe(1);
  });

  test("of which one alone resigns keep the connection", async () => {
    const only = open();
    await until(() => only.client.role === "leader" && only.client.state === "CONNECTED");
    only.client.resign();
    await until(() => only.client.role === "leader" && only.client.state === "CONNECTED");
  });

  test("a follower shows what its leader waits for while the server is away", async () => {
    const [leader, follower] = await three();
    browser.network.state = "down";
    server.drop();
    await until(() => leader.client.snapshot.retryAt !== null && follower.client.snapshot.retryAt === leader.client.snapshot.retryAt);
    expect(follower.client.state).toBe("RECONNECTING");
    expect(follower.client.sync.kind).toBe("stale");
    browser.network.state = "up";
    await until(() => live(leader) && live(follower));
    expect(sockets()).toBe(1);
  });

  test("with another identity share nothing", async () => {
    const ada = open();
    const other = browser.open();
    const { clock, random } = other.environment;
    const shared = connect(ADDRESS, { WebSocket: other.WebSocket, clock, random, networkAware: false, key: "bob", tabs: shareTabs({ environment: other.environment }) });
    await until(() => ada.client.state === "CONNECTED" && shared.state === "CONNECTED");
    expect([ada.client.role, shared.role]).toEqual(["leader", "leader"]);
    const keys = server.sockets.flatMap((socket) => socket.of("HELLO")).map((hello: Frame) => hello["key"]);
    expect(new Set(keys)).toEqual(new Set(["ada", "bob"]));
  });

  test("close together on logout", async () => {
    const pages = await three();
    pages[1].client.logout();
    await until(() => pages.every(({ client }) => client.signal.aborted));
    await until(() => sockets() === 0);
  });
});

describe("a tab that comes late", () => {
  test("to a stream that is open elsewhere fetches what it lacks over HTTP", async () => {
    const first = open();
    follow(first);
    await until(() => live(first));
    for (let i = 0; i < 5; i++) server.publish("s", i);
    await until(() => first.seen.length === 5);
    const late = open();
    follow(late);
    await until(() => live(late));
    expect(late.seen).toEqual([0, 1, 2, 3, 4]);
    expect(deltas.length).toBeGreaterThan(0);
    expect(server.socket.of("SUBSCRIBE").filter(({ streams }) => "s" in streams)).toEqual([]);
  });

  test("has the leader ask for a snapshot where HTTP says no", async () => {
    serve = () => 403;
    const first = open();
    follow(first);
    server.publish("s", "early");
    await until(() => live(first) && first.seen.length === 1);
    const late = open();
    follow(late);
    await until(() => live(late));
    expect(late.seen).toEqual(first.seen);
  });

  test("tries HTTP again where it fails for a while", async () => {
    let failures = 2;
    const good = serve;
    serve = (url) => (failures-- > 0 ? 503 : good(url));
    const first = open();
    follow(first);
    server.publish("s", "early");
    await until(() => live(first) && first.seen.length === 1);
    const late = open();
    follow(late);
    await until(() => live(late));
    expect(deltas).toHaveLength(4); // two failures, the snapshot or page, and what came after it
    expect(late.seen).toEqual(["early"]);
  });

  test("to a stream of its own has the leader follow it, and leave it when it goes", async () => {
    const [leader, other] = await three();
    follow(other, "t");
    await until(() => live(other));
    server.publish("t", "for the other");
    await until(() => other.seen.includes("for the other"));
    expect(leader.client.snapshot.streams).not.toHaveProperty("t");
    other.tab.close();
    await until(() => server.socket.of("UNSUBSCRIBE").some(({ streams }) => streams.includes("t")));
  });

  test("and crashes is noticed by its beacon", async () => {
    const [leader, other] = await three();
    follow(other, "t");
    await until(() => live(other));
    other.tab.crash();
    await until(() => leader.client.snapshot.tabs.length === 2);
    await until(() => server.socket.of("UNSUBSCRIBE").some(({ streams }) => streams.includes("t")));
  });
});

describe("a tab has a socket of its own", () => {
  test.each(["locks", "pipe"] as const)("without %s", async (lacking) => {
    browser.lacks[lacking] = true;
    const pages = [open(), open()];
    await until(() => pages.every(({ client }) => client.state === "CONNECTED"));
    expect(roles(...pages)).toEqual(["solo", "solo"]);
    expect(sockets()).toBe(2);
    expect(pages[0]!.client.snapshot.tabs).toEqual([]);
  });

  test("without an identity key", async () => {
    const page = open({ key: undefined });
    await until(() => page.client.state === "CONNECTED");
    expect(page.client.role).toBe("solo");
  });

  test("when the leader's carries no more streams", async () => {
    server.limits = { ...server.limits, streams: 2 };
    const first = open();
    follow(first, "a");
    follow(first, "b");
    await until(() => live(first));
    const second = open();
    follow(second, "c");
    await until(() => live(second));
    expect(roles(first, second)).toEqual(["leader", "solo"]);
    expect(sockets()).toBe(2);
  });
});

describe("a leader", () => {
  test("whose attempts are exhausted resigns, and another tab takes over", async () => {
    const first = open({ maxAttempts: 2 });
    await until(() => first.client.role === "leader" && first.client.state === "CONNECTED");
    const second = open();
    await until(() => second.client.role === "follower" && second.client.state === "CONNECTED");
    browser.network.state = "down";
    server.drop();
    await until(() => first.client.state === "FAILED");
    expect(first.client.role).toBe("suspended");
    browser.network.state = "up";
    await until(() => second.client.role === "leader" && second.client.state === "CONNECTED");
    // And the first comes back by itself, since somebody shows that it works.
    await until(() => first.client.role === "follower" && first.client.state === "CONNECTED");
  });

  test("that is refused for good fails all tabs alike, and one retry brings all back", async () => {
    const pages = await three();
    const { identify } = server;
    server.identify = () => null;
    server.bye(server.socket, 4501, "LOGGED_OUT");
    await until(() => pages.every(({ client }) => client.state === "FAILED"));
    server.identify = identify;
    pages[2].client.retry();
    await until(() => pages.every(live));
    expect(sockets()).toBe(1);
  });

  test("that the server has superseded becomes a follower or leads anew above the newer term", async () => {
    const [first] = await three();
    const { term } = server.socket.of("HELLO")[0]! as { term: number };
    server.socket.deliver({ type: "BYE", code: 4509, reason: "SUPERSEDED", reconnect: false, term: term + 10 });
    await until(() => first.client.role === "follower" && live(first));
    const hello = server.socket.of("HELLO")[0]!;
    expect(hello["term"]).toBeGreaterThan(term + 10);
  });

  test("whose thread is stuck is replaced within 8 s, by one steal, and sends nothing twice", async () => {
    const [first, second, third] = await three();
    const stuckAt = loop.now;
    first.tab.block();
    await until(() => [second, third].some(({ client }) => client.role === "leader" && client.state === "CONNECTED"), 8_000);
    expect(loop.now - stuckAt).toBeLessThan(8_000);
    void second.client.send("s", "meanwhile");
    await loop.advance(12_000 - (loop.now - stuckAt));
    first.tab.unblock();
    await until(() => first.client.role === "follower" && live(first));
    await until(() => [first, second, third].every(({ seen }) => seen.length === 1));
    expect(server.applied).toHaveLength(1);
    expect(sockets()).toBe(1);
  });
});

describe("with every tab hidden", () => {
  test("the connection rests where that is wished, and comes back with the first that is looked at", async () => {
    const pages = [open({ hiddenDisconnectMs: 60_000 }), open({ hiddenDisconnectMs: 60_000 })];
    for (const page of pages) follow(page);
    await until(() => pages.every(live) && pages[0]!.client.snapshot.tabs.length === 2);
    pages[0]!.tab.hide();
    await loop.advance(90_000);
    expect(sockets()).toBe(1);
    pages[1]!.tab.hide();
    await until(() => sockets() === 0, 200_000);
    pages[1]!.tab.show();
    await until(() => pages.every(live));
  });
});

describe("forged letters", () => {
  const base = { term: 1, tab: "x", to: "x", id: "i", ref: 1, streams: {}, text: "{", anew: false, visible: true };
  const forged: unknown[] = [
    ...[null, 7, "lead", [], {}, { t: "nonsense" }, { t: "lead" }, { t: "__proto__" }],
    ...["gone", "frame", "answer", "joined", "lost", "ask", "join", "leave", "out", "wake", "claim", "bye"].flatMap((t) => [
      { t },
      { ...base, t },
      { ...base, t, term: 2 ** 53 },
      { ...base, t, term: "1", tab: 7, streams: [1], text: null },
      { ...base, t, text: "nonsense", streams: ["s"] },
      { ...base, t, text: '{"type":"SYNC_DELTA","stream":"s"}' },
      { ...base, t, text: '{"type":"MESSAGE","id":"i","stream":"s","payload":"forged","producer":"p","n":"x"}' },
    ]),
    { t: "lead", term: 1e15, tab: "x", client: "c", welcome: null, attempt: 1, retryAt: null, age: 0, tabs: [], failed: null },
    { t: "lead", term: 2 ** 53, tab: "x", client: "c", welcome: null, attempt: 1, retryAt: null, age: 0, tabs: [], failed: null },
    { t: "lead", term: 1e9, tab: "x", client: "c", welcome: { heartbeat_ms: 1 }, attempt: 1, retryAt: 1, age: 1, tabs: [{}], failed: null },
  ];

  test("of every type break nothing: all tabs are live again, and each message takes effect once", async () => {
    const pages = await three();
    const forger = browser.open();
    const pipe = forger.environment.openPipe(PIPE, () => {})!;
    for (const letter of forged) {
      pipe.post(letter);
      void pages[1].client.send("s", "true");
      await loop.advance(20);
    }
    await until(() => pages.every(live) && pages.every(({ client }) => !client.waiting), 120_000);
    expect(sockets()).toBe(1);
    expect(browser.errors).toEqual([]);
    const times = new Map<string, number>();
    for (const { id, payload } of server.applied) if (payload === "true") times.set(id, (times.get(id) ?? 0) + 1);
    expect(times.size).toBe(forged.length);
    expect([...times.values()].every((count) => count === 1)).toBe(true);
  });
});

/** What random walks have found, as short as it goes. */
import { beforeEach, expect, test } from "vitest";
import { connect, type Client } from "../../src/index.ts";
import { shareTabs } from "../../src/tabs/index.ts";
import { FakeServer } from "../../src/testing.ts";
import { createBrowser, type Browser } from "./browser.ts";
import { createLoop, type Loop } from "./loop.ts";
import type { Tab } from "./tab.ts";

let loop: Loop;
let server: FakeServer;
let browser: Browser;
beforeEach(() => {
  loop = createLoop(1);
  server = new FakeServer();
  browser = createBrowser(loop, server);
  browser.cookie = "ada";
  server.identify = (socket) => browser.network.origin(socket)?.cookie ?? null;
});

function open(deltaUrl?: string): { readonly tab: Tab; readonly client: Client } {
  const tab = browser.open();
  const { clock, random, window, document } = tab.environment;
  const client = connect("ws://test/ws/", {
    WebSocket: tab.WebSocket,
    networkAware: { window, document },
    clock,
    random,
    key: "ada",
    tabs: shareTabs({ deltaUrl, environment: tab.environment }),
  });
  return { tab, client };
}

/** What one more subscriber of a stream is given: "snapshot 3" and "event 4". */
function follow(client: Client, stream: string): string[] {
  const seen: string[] = [];
  client.subscribe(stream, {
    onSnapshot: (_, { seq }) => seen.push(`snapshot ${seq}`),
    onEvents: (entries) => seen.push(...entries.map(({ seq }) => `event ${seq}`)),
  });
  return seen;
}

test("a tab that led a stream for others, and then shows it itself, begins with its state", async () => {
  const log = server.log("s");
  Object.defineProperty(log, "state", { get: () => log.entries.map(({ payload }) => payload) });
  const [first, second] = [open(), open()];
  await loop.advance(500);
  server.publish("s", 1);
  follow(second.client, "s");
  await loop.advance(500);
  expect([first.client.role, server.served(server.socket)]).toEqual(["leader", ["s"]]);

  // It knows where the stream stands, and nothing of what is in it; and there is no delta to be had over HTTP.
  const seen = follow(first.client, "s");
  first.tab.freeze();
  await loop.advance(500);
  first.tab.resume();
  browser.posted = (_, letter) => {
    if ((letter as { anew?: boolean }).anew) server.publish("s", 2); // while the state is asked for
  };
  await loop.advance(500);
  expect(second.client.role).toBe("leader");
  expect(seen).toEqual(["snapshot 2"]);
});

test("a tab that knows of more leaderships than the leader counts is followed up, not waited for", async () => {
  browser.lacks.storage = true; // full, denied, or cleared by the application
  const [first, second] = [open(), open()];
  await loop.advance(500);
  first.tab.freeze();
  await loop.advance(500);
  expect(second.client.role).toBe("leader");
  second.tab.freeze();
  const third = open();
  await loop.advance(500);
  expect(third.client.role).toBe("leader");

  second.tab.resume();
  await loop.advance(1_000);
  expect([second, third].map(({ client }) => client.state)).toEqual(["CONNECTED", "CONNECTED"]);
  expect(browser.locks.steals).toBe(0);
  expect(server.connected).toHaveLength(1);
});

test("a letter that was long on its way doesn't turn back the count of leaderships", async () => {
  open();
  open();
  const letters: { readonly t: string }[] = [];
  browser.posted = (_, letter) => letters.push(letter as { readonly t: string });
  await loop.advance(2_000);
  const count = [...browser.stored.keys()].find((name) => name.endsWith(":term"))!;
  browser.stored.set(count, "9"); // others have led since
  const late = browser.open().environment.openPipe(count.slice(0, -":term".length), () => {})!;
  late.post({ ...letters.find(({ t }) => t === "lead"), term: 5 });
  await loop.advance(500);
  expect(Number(browser.stored.get(count))).toBeGreaterThan(9);
});

test("a stream that a tab gives up while there is no connection is not served for it afterwards", async () => {
  const [, second] = [open(), open()];
  await loop.advance(500);
  const subscription = second.client.subscribe("s");
  await loop.advance(500);
  expect(server.served(server.socket)).toEqual(["s"]);
  browser.network.state = "down";
  await loop.advance(500);
  subscription.close();
  browser.network.state = "up";
  await loop.advance(10_000);
  expect(second.client.state).toBe("CONNECTED");
  expect(server.connected.flatMap((socket) => server.served(socket))).toEqual([]);
});

test("the answer to an earlier join doesn't refuse what was joined since", async () => {
  browser = createBrowser(loop, server, () => 404, { lockMs: 1, messageMs: 1_500 });
  browser.cookie = "ada";
  const first = open();
  await loop.advance(2_000);
  const second = open();
  follow(second.client, "s");
  let joins = 0;
  browser.posted = (tab, letter) => {
    // The connection is lost and back while the letter is on its way; by then, more is shown.
    if (tab !== second.tab || (letter as { t: string }).t !== "join" || joins++) return;
    server.drop();
    follow(second.client, "t");
  };
  await loop.advance(15_000);
  expect([first, second].map(({ client }) => client.role)).toEqual(["leader", "follower"]);
});

test("a hand-over among twenty tabs takes few words", async () => {
  const tabs = Array.from({ length: 20 }, () => open("/d/STREAM"));
  for (const { client } of tabs) follow(client, "s");
  await loop.advance(5_000);
  const said: Record<string, number> = {};
  browser.posted = (_, letter) => {
    const { t } = letter as { t: string };
    said[t] = (said[t] ?? 0) + 1;
  };
  tabs.find(({ client }) => client.role === "leader")!.tab.close();
  await loop.advance(950);
  expect(tabs.filter(({ client }) => client.role === "follower" && client.state === "CONNECTED")).toHaveLength(18);
  expect(said["ask"]).toBeLessThan(60);
  expect(said["lead"]).toBeLessThan(60);
});

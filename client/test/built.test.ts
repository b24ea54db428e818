/** The files that are served: they work, alone and beside each other. */
import { readdirSync, readFileSync } from "node:fs";
import vm from "node:vm";
import { describe, expect, test, vi } from "vitest";
import type { CoreApi } from "../src/api.ts";
import type { ReconnectChannels as Api } from "../src/index.ts";
import { FakeServer } from "../src/testing.ts";

const STATIC = new URL("../../reconnect_channels/static/reconnect_channels/", import.meta.url);
const KEY = Symbol.for("reconnect_channels.v1");
const scope = globalThis as { [KEY]?: unknown; ReconnectChannels?: unknown };

const load = (file: string, copy: string) =>
  import(/* @vite-ignore */ `${new URL(file, STATIC).href}?${copy}`) as Promise<Record<string, unknown>>;

/** Everything in one go: subscribe, drop, resume, send. */
async function drive(api: typeof Api) {
  const server = new FakeServer();
  const client = api.connect("ws://test/ws/", { WebSocket: server.WebSocket, networkAware: false, baseMs: 1, maxMs: 1 });
  expect(api.clients.has(client)).toBe(true);
  const seen: unknown[] = [];
  client.subscribe("s", {
    onSnapshot: (state) => seen.push({ state }),
    onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)),
  });
  await client.send("s", 1);
  server.drop();
  await vi.waitFor(() => expect(server.sockets).toHaveLength(2));
  expect(await client.send("s", 2)).toMatchObject({ seq: 2, duplicate: false });
  await vi.waitFor(() => expect(seen).toEqual([{ state: null }, 1, 2]));
  expect(api.describe(client.sync)).toBe("live");
  expect(client.snapshot.streams).toEqual({ s: { seq: 2, kind: "live" } });
  await expect(client.send("s", NaN)).rejects.toBeInstanceOf(api.PayloadError);
  client.close();
  expect(api.clients.size).toBe(0);
}

describe.each(["reconnect-channels.js", "reconnect-channels.min.js"])("%s", (file) => {
  test("sets the global, exports the same, and works", async () => {
    delete scope[KEY];
    delete scope.ReconnectChannels;
    const module = await load(file, "first");
    const api = module["default"] as typeof Api;
    expect(scope.ReconnectChannels).toBe(api);
    expect(module["ReconnectChannels"]).toBe(api);
    expect(module["connect"]).toBe(api.connect);
    await drive(api);
  });

  test("a second copy uses the first one's objects", async () => {
    delete scope[KEY];
    const [first, second] = [await load(file, "one"), await load(file, "two")];
    expect(second["default"]).toBe(first["default"]);
    expect(second["QueueOverflowError"]).toBe(first["QueueOverflowError"]);
  });
});

test("the script for pages without modules", async () => {
  delete scope[KEY];
  delete scope.ReconnectChannels;
  vm.runInThisContext(readFileSync(new URL("reconnect-channels.iife.min.js", STATIC), "utf8"));
  await drive(scope.ReconnectChannels as typeof Api);
});

test("the core: one tab's client, and nothing beside it", async () => {
  delete scope[KEY];
  delete scope.ReconnectChannels;
  const module = await load("reconnect-channels-core.min.js", "core");
  const api = module["default"] as CoreApi;
  expect(scope.ReconnectChannels).toBe(api);
  const server = new FakeServer();
  const client = api.connect("ws://test/ws/", { WebSocket: server.WebSocket, baseMs: 1, maxMs: 1 });
  const seen: unknown[] = [];
  const subscription = client.subscribe("s", {
    onSnapshot: (state) => seen.push({ state }),
    onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)),
  });
  expect(subscription.live).toBe(false);
  await client.send("s", 1);
  server.drop();
  await vi.waitFor(() => expect(server.sockets).toHaveLength(2));
  expect(await client.send("s", 2)).toMatchObject({ seq: 2, duplicate: false });
  await vi.waitFor(() => expect(seen).toEqual([{ state: null }, 1, 2]));
  expect(subscription).toMatchObject({ stream: "s", seq: 2, live: true });
  expect(server.sockets[1]!.of("HELLO")).toMatchObject([{ client_id: client.clientId, term: 0, attempt: 2 }]);
  await expect(client.send("s", NaN)).rejects.toBeInstanceOf(api.PayloadError);
  client.close();
  expect(client.state).toBe("DISCONNECTED");
  for (const lacking of ["sync", "snapshot", "role", "logout", "resign"]) expect(client).not.toHaveProperty(lacking);
});

describe("files that are served", () => {
  const served = readdirSync(STATIC);
  const scripts = served.filter((file) => file.endsWith(".js"));
  const text = (file: string) => readFileSync(new URL(file, STATIC), "utf8");

  test("all are there", () => {
    const client = ["reconnect-channels.js", "reconnect-channels.min.js", "reconnect-channels.iife.min.js", "reconnect-channels-core.min.js"];
    const rest = ["react.js", "react.min.js", "react-inspector.js", "element.js", "element.min.js", "vue.js"];
    expect(scripts).toEqual(expect.arrayContaining([...client, ...rest]));
  });

  test.each(scripts)("%s stands alone: hashed static files don't rewrite imports", (file) => {
    const imports = Array.from(text(file).matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g), ([, specifier]) => specifier);
    expect(["react", "vue"]).toEqual(expect.arrayContaining([...new Set(imports)]));
  });

  test.each(scripts)("%s has its map beside it, with the sources in it", (file) => {
    expect(text(file).trimEnd().split("\n").at(-1)).toBe(`//# sourceMappingURL=${file}.map`);
    const { sources, sourcesContent } = JSON.parse(text(`${file}.map`)) as Record<string, string[]>;
    expect(sourcesContent).toHaveLength(sources!.length);
  });
});

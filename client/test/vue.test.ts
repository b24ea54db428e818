// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createApp, createSSRApp, effectScope, h, nextTick, ref, type App, type Ref } from "vue";
import { renderToString } from "vue/server-renderer";
import { ClosedError } from "../src/index.ts";
import { FakeServer } from "../src/testing.ts";
import { useResilientWS, type ResilientWS, type ResilientWSOptions } from "../src/vue.ts";
import { settle, useFakeTime } from "./harness.ts";

useFakeTime();
const apps: App[] = [];
let server: FakeServer;
let url: string;
let runs = 0;

beforeEach(() => {
  server = new FakeServer();
  url = `ws://test/vue/${++runs}/`;
});
afterEach(async () => {
  apps.splice(0).forEach((app) => app.unmount());
  await settle(1);
});

interface Mounted {
  readonly app: App;
  readonly ws: ResilientWS;
  renders: number;
  readonly text: string | null;
}

async function mount(options: ResilientWSOptions = {}, address: string | Ref<string> = url): Promise<Mounted> {
  const host = document.body.appendChild(document.createElement("div"));
  const made = { renders: 0 } as Mounted & { ws: ResilientWS };
  const app = createApp({
    setup() {
      made.ws = useResilientWS(address, { WebSocket: server.WebSocket, networkAware: false, baseMs: 1000, random: () => 0.5, ...options });
      return () => {
        made.renders++;
        return h("p", `${made.ws.state.value} ${made.ws.sync.value.kind} ${made.ws.waiting.value}`);
      };
    },
  });
  apps.push(app);
  app.mount(host);
  await settle(1);
  return Object.defineProperties(made, { app: { value: app }, text: { get: () => host.textContent } });
}

const drop = (app: App) => {
  apps.splice(apps.indexOf(app), 1);
  app.unmount();
};

test("refs follow the connection, and entries reach the handlers without a render", async () => {
  const seen: unknown[] = [];
  const page = await mount({ stream: "s", onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)) });
  expect(page.text).toBe("CONNECTED live 0");
  const { renders } = page;
  for (let n = 0; n < 20; n++) {
    server.publish("s", n);
    await settle(1);
  }
  expect(seen).toHaveLength(20);
  expect(page.renders).toBe(renders);
});

test("components share a connection, and the last one closes it", async () => {
  const [a, b] = [await mount(), await mount()];
  expect(server.sockets).toHaveLength(1);
  expect(a.ws.client.value).toBe(b.ws.client.value);
  drop(a.app);
  await settle(1);
  expect(server.socket.closed).toBeNull();
  drop(b.app);
  await settle(1);
  expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
});

test("unmounting in an outage leaves no timer and withdraws what was never sent", async () => {
  const before = vi.getTimerCount();
  const page = await mount({ stream: "s" });
  server.accepts = false;
  server.drop();
  await settle(1);
  const fate = expect(page.ws.send("typed")).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
  await settle(1);
  expect(page.text).toBe("RECONNECTING stale 1");
  expect(page.ws.queue.value).toMatchObject([{ payload: "typed" }]);
  drop(page.app);
  await settle(1);
  await fate;
  expect(vi.getTimerCount()).toBe(before);
  await expect(page.ws.send("late")).rejects.toBeInstanceOf(ClosedError);
});

test("URL and stream may be refs", async () => {
  const seen: unknown[] = [];
  const [address, stream] = [ref(url), ref("a")];
  const page = await mount({ stream, onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)) }, address);
  stream.value = "b";
  await nextTick();
  await settle(1);
  server.publish("a", 1);
  server.publish("b", 2);
  await settle(1);
  expect(seen).toEqual([2]);
  expect(server.sockets).toHaveLength(1);
  await page.ws.send("x");
  expect(server.applied).toMatchObject([{ stream: "b", payload: "x" }]);
  address.value = `${url}other/`;
  await nextTick();
  await settle(1);
  expect(server.sockets.map(({ closed }) => closed?.reason)).toEqual(["unmount", undefined]);
  expect(page.text).toBe("CONNECTED live 0");
});

test("an effect scope is enough", async () => {
  const scope = effectScope();
  const ws = scope.run(() => useResilientWS(url, { WebSocket: server.WebSocket, networkAware: false }))!;
  await settle(1);
  expect(ws.state.value).toBe("CONNECTED");
  scope.stop();
  await settle(1);
  expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
});

test("a server renders without a connection", async () => {
  vi.stubGlobal("window", undefined);
  const app = createSSRApp({
    setup() {
      const { state, send } = useResilientWS(url, { WebSocket: server.WebSocket });
      void send(1).catch(() => {});
      return () => h("p", state.value);
    },
  });
  expect(await renderToString(app)).toBe("<p>DISCONNECTED</p>");
  expect(server.sockets).toEqual([]);
});

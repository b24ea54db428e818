// @vitest-environment happy-dom
/** The bindings as they are built, each with its own copy of what they have in common. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import vm from "node:vm";
import { act, createElement } from "react";
import { createRoot } from "react-dom/client";
import { expect, test, vi } from "vitest";
import type { ReconnectStreamElement } from "../src/element.ts";
import { ReconnectChannels } from "../src/index.ts";
import type * as hooks from "../src/react.ts";
import { FakeServer } from "../src/testing.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

test("a React tree and a custom element share one client of the page, until both are gone", async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  const server = new FakeServer();
  vi.stubGlobal("WebSocket", server.WebSocket);
  const { useResilientWS } = (await import(/* @vite-ignore */ at("../dist/react.js"))) as typeof hooks;
  const script = readFileSync(at("../../reconnect_channels/static/reconnect_channels/element.min.js"), "utf8");
  vm.runInThisContext(script.replace(/export\s*\{[^}]*\}/, ""));

  const element = document.createElement("reconnect-stream") as ReconnectStreamElement;
  element.setAttribute("src", "ws://test/both/");
  document.body.append(element);
  let ws: hooks.ResilientWS | undefined;
  const App = () => ((ws = useResilientWS("ws://test/both/", { stream: "s" })), null);
  const root = createRoot(document.createElement("div"));
  await act(async () => root.render(createElement(App)));
  await act(() => vi.waitFor(() => expect(ws!.state).toBe("CONNECTED")));
  expect(ws!.client).toBe(element.client);
  expect(ReconnectChannels.clients.size).toBe(1);

  await act(async () => root.unmount());
  await new Promise((resolve) => setTimeout(resolve));
  expect(server.socket.closed).toBeNull();
  element.remove();
  await vi.waitFor(() => expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" }));
});

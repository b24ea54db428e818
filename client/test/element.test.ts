// @vitest-environment happy-dom
/** `<reconnect-stream>` on a page of plain templates. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ReconnectStreamElement } from "../src/element.ts";
import { OutcomeUnknown, ReconnectChannels, Rejected } from "../src/index.ts";
import { FakeServer } from "../src/testing.ts";
import { settle, useFakeTime } from "./harness.ts";

useFakeTime();
let server: FakeServer;
let url: string;
let runs = 0;

beforeEach(() => {
  server = new FakeServer();
  url = `ws://test/element/${++runs}/`;
  vi.stubGlobal("WebSocket", server.WebSocket);
});
afterEach(async () => {
  document.body.replaceChildren();
  await settle(1);
  expect(ReconnectChannels.clients.size).toBe(0);
});

/** An element of this test's server that is in no document yet. */
function make(attributes: Record<string, string> = {}): ReconnectStreamElement {
  const element = document.createElement("reconnect-stream");
  for (const [name, value] of Object.entries({ src: url, stream: "board:1", ...attributes })) element.setAttribute(name, value);
  return element;
}

async function place(attributes?: Record<string, string>, html = ""): Promise<ReconnectStreamElement> {
  const element = make(attributes);
  element.innerHTML = html;
  document.body.append(element);
  await settle(1);
  return element;
}

/** The details of all events of one type that reach the document. */
function heard(type: string): Record<string, unknown>[] {
  const details: Record<string, unknown>[] = [];
  const stop = new AbortController();
  document.addEventListener(type, (event) => details.push((event as CustomEvent).detail), { signal: stop.signal });
  stops.push(stop);
  return details;
}
const stops: AbortController[] = [];
afterEach(() => stops.splice(0).forEach((stop) => stop.abort()));

describe("events", () => {
  test("snapshots, entries and freshness bubble as events", async () => {
    const [snapshots, entries, syncs] = ["snapshot", "events", "sync"].map((name) => heard(`reconnect:${name}`));
    server.log("board:1").state = { cards: [] };
    await place();
    server.publish("board:1", { title: "milk" });
    await settle();
    expect(snapshots).toMatchObject([{ stream: "board:1", state: { cards: [] }, seq: 0, reason: "new", exact: true }]);
    expect(entries!.filter(({ from, to }) => from !== to)).toMatchObject([{ stream: "board:1", from: 0, to: 1, entries: [{ payload: { title: "milk" } }] }]);
    expect(syncs!.at(-1)).toMatchObject({ stream: "board:1", sync: { kind: "live" }, text: "live" });
  });

  test("attributes and the status element say how fresh the page is", async () => {
    const element = await place({}, "<output role=status data-reconnect-status></output>");
    const shown = () => [element.dataset["kind"], element.dataset["waiting"], element.dataset["role"], element.textContent];
    expect(shown()).toEqual(["live", "0", "solo", "live"]);
    server.accepts = false;
    server.drop();
    await settle();
    void element.send(1).catch(() => {});
    await settle();
    expect(shown()).toEqual(["stale", "1", "solo", expect.stringMatching(/^stale since [\d:]+, 1 waiting$/)]);
  });

  test("an element without a stream shows the connection's freshness", async () => {
    const element = await place({ stream: "" });
    expect(element.dataset["kind"]).toBe("live");
    server.accepts = false;
    server.drop();
    await settle();
    expect(element.dataset["kind"]).toBe("stale");
  });

  test("refresh dispatches one event a frame, however many entries came", async () => {
    const frames: FrameRequestCallback[] = [];
    vi.stubGlobal("requestAnimationFrame", (run: FrameRequestCallback) => frames.push(run));
    const frame = () => frames.splice(0).forEach((run) => run(0));
    const changes = heard("board-changed");
    await place({ refresh: "board-changed" });
    frame();
    changes.length = 0;
    for (let n = 0; n < 50; n++) server.publish("board:1", n);
    await settle();
    expect(changes).toEqual([]);
    frame();
    expect(changes).toEqual([{ seq: 50 }]);
    frame();
    expect(changes).toHaveLength(1);
  });
  test("what the page came with is not fetched again", async () => {
    const log = server.log("board:1");
    log.append("rendered");
    vi.stubGlobal("requestAnimationFrame", (run: FrameRequestCallback) => setTimeout(run, 16));
    const positions = () => `<script type="application/json" data-reconnect-positions>${JSON.stringify({ "board:1": log.wire() })}</script>`;
    const changes = heard("board-changed");
    document.body.innerHTML = positions();
    await place({ refresh: "board-changed" });
    await settle(100);
    expect(server.socket.of("HELLO")[0]!["streams"]).toMatchObject({ "board:1": { last_seq_id: 1 } });
    server.publish("board:1", "new");
    await settle(100);
    expect(changes.splice(0)).toEqual([{ seq: 2 }]);
    // A fragment that swaps its own element.
    document.body.innerHTML = positions();
    await place({ refresh: "board-changed" });
    await settle(100);
    expect(changes).toEqual([]);
    server.publish("board:1", "newer");
    await settle(100);
    expect(changes).toEqual([{ seq: 3 }]);
    expect(server.sockets).toHaveLength(1);
  });
});

describe("life", () => {
  test("several elements share one connection; the last one closes it", async () => {
    const [a, b] = [await place(), await place()];
    expect(server.sockets).toHaveLength(1);
    expect(a.client).toBe(b.client);
    a.remove();
    await settle(1);
    expect(server.socket.closed).toBeNull();
    expect(a.client).toBeNull();
    b.remove();
    await settle(1);
    expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
  });

  test("a removed element hears nothing more, while others do", async () => {
    const [a, b] = [await place(), await place()];
    const counts = { a: 0, b: 0 };
    a.addEventListener("reconnect:events", () => counts.a++);
    b.addEventListener("reconnect:events", () => counts.b++);
    a.remove();
    await settle(1);
    server.publish("board:1", 1);
    await settle();
    expect(counts).toEqual({ a: 0, b: 1 });
  });

  test("a fragment that is swapped for a new one keeps the connection", async () => {
    const element = await place();
    for (let n = 0; n < 5; n++) {
      document.body.innerHTML = element.outerHTML;
      await settle(1);
    }
    expect(server.sockets).toHaveLength(1);
    const fresh = document.querySelector("reconnect-stream")!;
    const entries = heard("reconnect:events");
    server.publish("board:1", "x");
    await settle();
    expect(fresh).not.toBe(element);
    expect(entries).toHaveLength(1);
  });

  test("a moved element keeps its subscription", async () => {
    const element = await place();
    const snapshots = heard("reconnect:snapshot");
    document.body.append(document.createElement("main"));
    document.querySelector("main")!.append(element);
    await settle(1);
    server.publish("board:1", "x");
    await settle();
    expect(server.socket.of("UNSUBSCRIBE")).toEqual([]);
    expect(snapshots).toEqual([]);
    expect(element.seq).toBe(1);
  });

  test("an element that comes back later connects again", async () => {
    const element = await place();
    element.remove();
    await settle(1000);
    expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
    document.body.append(element);
    await settle(1);
    expect(server.sockets).toHaveLength(2);
    expect(element.dataset["kind"]).toBe("live");
  });

  test("other attributes change stream and connection", async () => {
    const element = await place();
    const entries = heard("reconnect:events");
    element.setAttribute("stream", "board:2");
    await settle(1);
    server.publish("board:1", "old");
    server.publish("board:2", "new");
    await settle();
    expect(entries.flatMap((detail) => detail["entries"])).toMatchObject([{ payload: "new" }]);
    expect(server.sockets).toHaveLength(1);

    element.setAttribute("src", `${url}other/`);
    element.setAttribute("stream", "board:3");
    await settle(1);
    expect(server.sockets.map(({ closed }) => closed?.reason)).toEqual(["unmount", undefined]);
    expect(server.socket.of("HELLO")[0]!["streams"]).toEqual({ "board:3": null });

    element.removeAttribute("src");
    await settle(1);
    expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
    expect(element.client).toBeNull();
    expect(element.hasAttribute("data-kind")).toBe(false);
  });

  test("an element that never came into a document connects to nothing", async () => {
    make();
    await settle(1);
    expect(server.sockets).toEqual([]);
  });

  test("removed before it could connect, it connects to nothing", async () => {
    const element = make();
    document.body.append(element);
    element.remove();
    await settle(1);
    expect(server.sockets).toEqual([]);
  });

  test("options that were set before the class was there count", async () => {
    const element = make();
    Object.defineProperty(element, "options", { value: { clientId: "mine" }, configurable: true, writable: true, enumerable: true });
    document.body.append(element);
    await settle(1);
    expect(element.client!.clientId).toBe("mine");
    expect(Object.hasOwn(element, "options")).toBe(false);
  });

  test("where the client's script comes later, it waits for it", async () => {
    const loaded = globalThis as { ReconnectChannels?: unknown };
    const api = loaded.ReconnectChannels;
    vi.spyOn(document, "readyState", "get").mockReturnValue("interactive");
    vi.stubGlobal("ReconnectChannels", undefined);
    const element = await place();
    expect(element.client).toBeNull();
    vi.stubGlobal("ReconnectChannels", api);
    dispatchEvent(new Event("load"));
    await settle(1);
    expect(element.dataset["kind"]).toBe("live");
  });
});

describe("sending", () => {
  const FORM = `<form data-reconnect-send><input type=hidden name=csrfmiddlewaretoken value=secret>
    <input name=title value="milk"><input type=checkbox name=tag value=a checked><input type=checkbox name=tag value=b checked>
    <button name=action value=add>Add</button></form>`;
  const submit = (element: ReconnectStreamElement) => {
    const form = element.querySelector("form")!;
    const event = new SubmitEvent("submit", { bubbles: true, cancelable: true, submitter: element.querySelector("button") });
    form.dispatchEvent(event);
    expect(event.defaultPrevented).toBe(true);
    return form;
  };
  const payload = { title: "milk", tag: ["a", "b"], action: "add" };

  test("a form is sent as a message, busy until its answer, and then reset", async () => {
    const element = await place({}, FORM);
    const [sent, receipts] = [heard("reconnect:sent"), heard("reconnect:receipt")];
    server.intercept = (_, { type }) => type === "MESSAGE";
    const form = submit(element);
    expect(sent).toMatchObject([{ id: expect.any(String), payload }]);
    const reset = vi.spyOn(form, "reset");
    await settle();
    expect(form.getAttribute("aria-busy")).toBe("true");
    expect(reset).not.toHaveBeenCalled();
    server.intercept = null;
    server.drop();
    await settle(10_000);
    expect(server.applied).toMatchObject([{ stream: "board:1", payload }]);
    expect(receipts).toMatchObject([{ receipt: { seq: 1 }, payload }]);
    expect(form.hasAttribute("aria-busy")).toBe(false);
    expect(reset).toHaveBeenCalledOnce();
  });

  test("what was typed since then is not reset", async () => {
    const element = await place({}, FORM);
    const form = submit(element);
    const reset = vi.spyOn(form, "reset");
    form.querySelector<HTMLInputElement>("[name=title]")!.value = "bread";
    await settle();
    expect(server.applied).toHaveLength(1);
    expect(reset).not.toHaveBeenCalled();
    submit(element);
    await settle();
    expect(server.applied).toHaveLength(2);
    expect(reset).toHaveBeenCalledOnce();
  });

  test("a refused form keeps what was typed", async () => {
    const element = await place({}, FORM);
    const rejected = heard("reconnect:rejected");
    server.intercept = (socket, { type, id }) => {
      if (type === "MESSAGE") socket.deliver({ type: "REJECT", id, code: 422, reason: "EMPTY", detail: null, retry: false });
      return type === "MESSAGE";
    };
    const form = submit(element);
    const reset = vi.spyOn(form, "reset");
    await settle();
    expect(rejected).toMatchObject([{ error: expect.any(Rejected), payload }]);
    expect(reset).not.toHaveBeenCalled();
    expect(form.hasAttribute("aria-busy")).toBe(false);
  });

  test("other forms, and those that somebody else handled, are left alone", async () => {
    const element = await place({}, "<form></form><form data-reconnect-send></form>");
    const [plain, handled] = element.querySelectorAll("form");
    const first = new SubmitEvent("submit", { bubbles: true, cancelable: true });
    plain!.dispatchEvent(first);
    expect(first.defaultPrevented).toBe(false);
    handled!.addEventListener("submit", (event) => event.preventDefault());
    handled!.dispatchEvent(new SubmitEvent("submit", { bubbles: true, cancelable: true }));
    await settle();
    expect(server.applied).toEqual([]);
  });

  test("removing the element withdraws what it never sent", async () => {
    const [element] = [await place(), await place({ stream: "other" })];
    server.accepts = false;
    server.drop();
    await settle();
    const fate = expect(element.send("typed")).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    element.remove();
    await settle(1);
    await fate;
  });

  test("removing the last element tells that the outcome of what was sent is unknown", async () => {
    const element = await place();
    server.intercept = (_, { type }) => type === "MESSAGE";
    const fate = expect(element.send("sent")).rejects.toBeInstanceOf(OutcomeUnknown);
    await settle();
    element.remove();
    await settle(1);
    await fate;
  });

  test("without a connection it rejects", async () => {
    await expect(make().send(1)).rejects.toThrow(expect.objectContaining({ name: "InvalidStateError" }));
  });
});

// @vitest-environment happy-dom
/** The hooks, with the React that is installed and, in a second run, with React 18. */
import { act, Component, StrictMode, useEffect, version, type ReactNode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ClosedError, connect, OutcomeUnknown } from "../src/index.ts";
import { Inspector } from "../src/react-inspector.ts";
import { useResilientWS, useStream, type ResilientWS, type ResilientWSOptions } from "../src/react.ts";
import { FakeServer } from "../src/testing.ts";
import { settle, useFakeTime } from "./harness.ts";

useFakeTime();
const roots: Root[] = [];
let server: FakeServer;
let url: string;
let runs = 0;

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  server = new FakeServer();
  url = `ws://test/${++runs}/`;
});
afterEach(async () => {
  await act(async () => roots.splice(0).forEach((root) => root.unmount()));
  await settle(1);
});

/** The reason of an aborted signal: never sent, and never will be. */
const withdrawn = expect.objectContaining({ name: "AbortError" });

/** Lets effects, frames and timers of now happen. */
const flush = (ms = 1) => act(() => settle(ms));

async function mount(node: ReactNode): Promise<Root> {
  const root = createRoot(document.body.appendChild(document.createElement("div")));
  roots.push(root);
  await act(async () => root.render(node));
  await flush();
  return root;
}

const rerender = async (root: Root, node: ReactNode) => {
  await act(async () => root.render(node));
  await flush();
};

/** What a component got, render by render. */
interface Seen {
  readonly renders: ResilientWS[];
  readonly last: ResilientWS;
}

function probe(): Seen & { readonly Probe: (props: ResilientWSOptions & { url?: string }) => null } {
  const renders: ResilientWS[] = [];
  return {
    renders,
    get last() {
      return renders.at(-1)!;
    },
    Probe({ url: other = url, ...options }) {
      renders.push(useResilientWS(other, { WebSocket: server.WebSocket, networkAware: false, baseMs: 1000, random: () => 0.5, ...options }));
      return null;
    },
  };
}

test.runIf(process.env["REACT"])("this run has the React that it is for", () => {
  expect(version.split(".")[0]).toBe(process.env["REACT"]);
});

describe("connection", () => {
  test("is one for a component that StrictMode mounts twice", async () => {
    const { Probe, renders } = probe();
    await mount(
      <StrictMode>
        <Probe stream="s" />
      </StrictMode>,
    );
    expect(server.sockets).toHaveLength(1);
    expect(server.socket.closed).toBeNull();
    expect(renders.at(-1)).toMatchObject({ state: "CONNECTED", sync: { kind: "live" }, role: "solo", waiting: 0, queue: [] });
  });

  test("is one for all components with its URL, until the last one unmounts", async () => {
    const a = probe();
    const b = probe();
    const root = await mount([<a.Probe key="a" />, <b.Probe key="b" />]);
    expect(server.sockets).toHaveLength(1);
    expect(a.last.client).toBe(b.last.client);
    await rerender(root, [<b.Probe key="b" />]);
    expect(server.socket.closed).toBeNull();
    await rerender(root, []);
    expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
    expect(b.last.client!.signal.aborted).toBe(true);
  });

  test("stays when one page of components replaces another", async () => {
    const a = probe();
    const b = probe();
    const root = await mount(<a.Probe key="a" />);
    await rerender(root, <b.Probe key="b" />);
    expect(server.sockets).toHaveLength(1);
    expect(b.last.client).toBe(a.last.client);
    expect(b.renders[0]!.state).toBe("CONNECTED");
  });

  test("is another one for another identity key", async () => {
    server.accepts = false;
    const { Probe } = probe();
    const root = await mount(<Probe />);
    function Keyed({ identity }: { identity: string }) {
      useResilientWS(url, { WebSocket: server.WebSocket, networkAware: false, key: identity });
      return null;
    }
    await rerender(root, <Keyed identity="anna" />);
    expect(server.sockets).toHaveLength(2);
    await rerender(root, <Keyed identity="ben" />);
    expect(server.sockets).toHaveLength(3);
    expect(server.sockets.map(({ closed }) => closed?.reason)).toEqual(["unmount", "unmount", undefined]);
  });

  test("follows a new URL and closes the old connection", async () => {
    const { Probe, renders } = probe();
    const root = await mount(<Probe stream="s" />);
    const first = renders.at(-1)!;
    await rerender(root, <Probe stream="s" url={`${url}other/`} />);
    expect(server.sockets.map((socket) => [socket.url, socket.closed?.reason])).toEqual([
      [url, "unmount"],
      [`${url}other/`, undefined],
    ]);
    const second = renders.at(-1)!;
    expect(second.client!.url).toBe(`${url}other/`);
    expect(second.state).toBe("CONNECTED");
    await expect(first.send("late")).rejects.toBeInstanceOf(ClosedError);
  });

  test("is made when it is enabled, and closed when it no longer is", async () => {
    const { Probe, renders } = probe();
    const root = await mount(<Probe enabled={false} stream="s" />);
    expect(server.sockets).toHaveLength(0);
    expect(renders.at(-1)!.client).toBeNull();
    expect(() => renders.at(-1)!.send(1)).toThrow("enabled");
    await rerender(root, <Probe enabled stream="s" />);
    expect(renders.at(-1)!.state).toBe("CONNECTED");
    await rerender(root, <Probe enabled={false} stream="s" />);
    expect(server.socket.closed).toEqual({ code: 1000, reason: "unmount" });
    expect(renders.at(-1)!.client).toBeNull();
  });

  // Development builds of React 18 catch errors by an event of the window, which happy-dom throws on.
  test.skipIf(process.env["REACT"] === "18")("without the client's script, an error boundary hears what is missing", async () => {
    vi.stubGlobal("ReconnectChannels", undefined);
    vi.spyOn(console, "error").mockImplementation(() => {});
    const { Probe } = probe();
    let heard: unknown;
    class Boundary extends Component<{ children: ReactNode }> {
      override state = { failed: false };
      static getDerivedStateFromError = () => ({ failed: true });
      override componentDidCatch = (error: unknown) => void (heard = error);
      override render = () => (this.state.failed ? null : this.props.children);
    }
    await mount(
      <Boundary>
        <Probe />
      </Boundary>,
    );
    expect(heard).toEqual(new Error("ReconnectChannels is not loaded or enabled"));
  });
});

describe("unmounting", () => {
  test("in an outage leaves no timer, and rejects what was never sent", async () => {
    const { Probe, renders } = probe();
    const before = vi.getTimerCount();
    const root = await mount(<Probe stream="s" />);
    server.accepts = false;
    server.drop();
    await flush();
    const sending = renders.at(-1)!.send("typed in a tunnel");
    const fate = expect(sending).rejects.toThrow(withdrawn);
    await flush();
    expect(renders.at(-1)!).toMatchObject({ waiting: 1, queue: [{ payload: "typed in a tunnel", state: "queued" }] });
    expect(vi.getTimerCount()).toBeGreaterThan(before);
    await act(async () => root.unmount());
    await settle(1);
    await fate;
    expect(vi.getTimerCount()).toBe(before);
    await settle(60_000);
    expect(server.sockets).toHaveLength(1);
  });

  test("withdraws what the component never sent, and nothing of the others", async () => {
    const a = probe();
    const b = probe();
    const root = await mount([<a.Probe key="a" stream="s" />, <b.Probe key="b" stream="s" />]);
    server.accepts = false;
    server.drop();
    await flush();
    const lost = expect(a.last.send("a")).rejects.toThrow(withdrawn);
    const kept = b.last.send("b");
    await rerender(root, [<b.Probe key="b" stream="s" />]);
    await lost;
    expect(b.last.queue.map(({ payload }) => payload)).toEqual(["b"]);
    server.accepts = true;
    await flush(10_000);
    await expect(kept).resolves.toMatchObject({ duplicate: false });
    expect(server.applied.map(({ payload }) => payload)).toEqual(["b"]);
  });

  test("follows up what was sent while another component keeps the connection", async () => {
    const a = probe();
    const b = probe();
    const root = await mount([<a.Probe key="a" stream="s" />, <b.Probe key="b" />]);
    server.intercept = (_, { type }) => type === "MESSAGE";
    const fate = expect(a.last.send("sent")).rejects.toBeInstanceOf(OutcomeUnknown);
    await flush();
    await rerender(root, [<b.Probe key="b" />]);
    await fate;
    server.intercept = null;
    server.drop();
    await flush(10_000);
    expect(server.applied.map(({ payload }) => payload)).toEqual(["sent"]);
    expect(b.last.waiting).toBe(0);
  });

  test("of the last one says that the outcome of what was sent is unknown", async () => {
    const { Probe, renders } = probe();
    const root = await mount(<Probe stream="s" />);
    server.intercept = (_, { type }) => type === "MESSAGE";
    const sending = renders.at(-1)!.send("sent");
    const fate = expect(sending).rejects.toBeInstanceOf(OutcomeUnknown);
    await flush();
    await act(async () => root.unmount());
    await settle(1);
    await fate;
  });

  test("ends sending: what comes later is rejected", async () => {
    const { Probe, renders } = probe();
    const root = await mount(<Probe stream="s" />);
    const { send } = renders.at(-1)!;
    await act(async () => root.unmount());
    await settle(1);
    const fate = expect(send("late")).rejects.toThrow(ClosedError);
    await settle(1);
    await fate;
    expect(server.applied).toEqual([]);
  });

  test("ends the subscription of a component, while others go on", async () => {
    const entries: unknown[] = [];
    const a = probe();
    const b = probe();
    const root = await mount([
      <a.Probe key="a" stream="s" onEvents={(batch) => entries.push(...batch)} />,
      <b.Probe key="b" stream="t" />,
    ]);
    await rerender(root, [<b.Probe key="b" stream="t" />]);
    server.publish("s", 1);
    await flush();
    expect(entries).toEqual([]);
    expect(Object.keys(b.last.client!.snapshot.streams)).toEqual(["t"]);
  });
});

describe("streams", () => {
  test("entries reach the handlers and render nothing", async () => {
    const seen: unknown[] = [];
    const { Probe, renders } = probe();
    await mount(
      <Probe stream="s" onSnapshot={(state) => seen.push({ state })} onEvents={(entries) => seen.push(...entries.map((e) => e.payload))} />,
    );
    const before = renders.length;
    for (let n = 1; n <= 100; n++) {
      server.publish("s", n);
      await flush();
    }
    expect(seen).toEqual([{ state: null }, ...Array.from({ length: 100 }, (_, n) => n + 1)]);
    expect(renders).toHaveLength(before);
  });

  test("handlers may be new in every render: the newest is called, without another subscription", async () => {
    const seen: string[] = [];
    const { Probe } = probe();
    const root = await mount(<Probe stream="s" onEvents={() => seen.push("old")} />);
    await rerender(root, <Probe stream="s" onEvents={() => seen.push("new")} />);
    server.publish("s", 1);
    await flush();
    expect(seen).toEqual(["new"]);
    expect(server.socket.of("UNSUBSCRIBE")).toEqual([]);
  });

  test("another stream is subscribed in place of the old one, on the same connection", async () => {
    const seen: unknown[] = [];
    const { Probe, renders } = probe();
    const onEvents: ResilientWSOptions["onEvents"] = (entries) => seen.push(...entries.map(({ payload }) => payload));
    const root = await mount(<Probe stream="a" onEvents={onEvents} />);
    await rerender(root, <Probe stream="b" onEvents={onEvents} />);
    server.publish("a", "a");
    server.publish("b", "b");
    await flush();
    expect(seen).toEqual(["b"]);
    expect(server.sockets).toHaveLength(1);
    await expect(renders.at(-1)!.send("to b")).resolves.toBeTruthy();
    expect(server.applied).toMatchObject([{ stream: "b" }]);
  });

  test("useStream follows more streams of the same client", async () => {
    const seen: unknown[] = [];
    function Two() {
      const { client } = useResilientWS(url, { WebSocket: server.WebSocket, networkAware: false });
      useStream(client, "a", { onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)) });
      useStream(client, "b", { onEvents: (entries) => seen.push(...entries.map(({ payload }) => payload)) });
      return null;
    }
    await mount(<Two />);
    server.publish("a", 1);
    server.publish("b", 2);
    await flush();
    expect(seen).toEqual([1, 2]);
  });

  test("useStream does nothing with a client that was closed", async () => {
    const client = connect(url, { WebSocket: server.WebSocket, networkAware: false });
    client.close();
    function One() {
      useStream(client, "a", {});
      return null;
    }
    await mount(<One />);
  });
});

describe("sending", () => {
  test("send is the same function in every render", async () => {
    const { Probe, renders } = probe();
    const root = await mount(<Probe stream="s" />);
    await rerender(root, <Probe stream="s" />);
    expect(new Set(renders.map(({ send }) => send)).size).toBe(1);
  });

  test("a child's first effect may send", async () => {
    const answers: unknown[] = [];
    function Child({ send }: { send: ResilientWS["send"] }) {
      useEffect(() => void send("hello").then((answer) => answers.push(answer)), [send]);
      return null;
    }
    function Parent() {
      const { send } = useResilientWS(url, { WebSocket: server.WebSocket, networkAware: false, stream: "s" });
      return <Child send={send} />;
    }
    await mount(<Parent />);
    await flush(1000);
    expect(answers).toHaveLength(1);
    expect(server.sockets).toHaveLength(1);
    expect(server.applied.map(({ payload }) => payload)).toEqual(["hello"]);
  });

  test("names another stream where it is told to", async () => {
    const { Probe, renders } = probe();
    await mount(<Probe stream="s" />);
    await renders.at(-1)!.send("x", "other");
    expect(server.applied).toMatchObject([{ stream: "other", payload: "x" }]);
  });

  test("the queue that a render shows is the one of now", async () => {
    const { Probe, renders } = probe();
    await mount(<Probe stream="s" />);
    server.intercept = (_, { type }) => type === "MESSAGE";
    void renders.at(-1)!.send("x").catch(() => {});
    await flush();
    expect(renders.at(-1)!.queue).toMatchObject([{ payload: "x", state: "sent" }]);
  });
});

describe("on a server", () => {
  test("nothing connects, and what was rendered is taken over", async () => {
    const { Probe } = probe();
    function Page() {
      const { state, role } = useResilientWS(url, { WebSocket: server.WebSocket, networkAware: false });
      return (
        <p>
          <Probe />
          {state} {role}
        </p>
      );
    }
    const errors = vi.spyOn(console, "error");
    const html = renderToString(<Page />);
    expect(html).toContain("DISCONNECTED");
    expect(server.sockets).toHaveLength(0);
    const host = document.body.appendChild(document.createElement("div"));
    host.innerHTML = html;
    await act(async () => void roots.push(hydrateRoot(host, <Page />)));
    await flush();
    expect(host.textContent).toBe("CONNECTED solo");
    expect(errors).not.toHaveBeenCalled();
  });
});

describe("inspector", () => {
  test("shows state, role, queue with contents, flush latency and the last seq of each stream", async () => {
    const client = connect(url, { WebSocket: server.WebSocket, networkAware: false, baseMs: 1000, random: () => 0.5 });
    client.subscribe("board:1");
    await mount(<Inspector client={client} />);
    const panel = () => document.querySelector(`section[aria-label="Connection ${url}"]`)!;
    const fact = (name: string) => [...panel().querySelectorAll("dt")].find((dt) => dt.textContent === name)!.nextSibling!.textContent;
    server.publish("board:1", 1);
    await flush();
    expect([fact("state"), fact("role"), fact("queue depth"), fact("flush latency")]).toEqual(["CONNECTED", "solo", "0", "not measured"]);
    expect(panel().textContent).toContain("board:11");

    server.accepts = false;
    server.drop();
    await flush();
    void client.send("board:1", { move: 7 });
    await flush();
    expect(fact("queue depth")).toBe("1");
    expect(panel().querySelector("table:last-of-type tbody")!.textContent).toContain('board:1queued{"move":7}');

    server.accepts = true;
    await flush(10_000);
    expect(fact("queue depth")).toBe("0");
    expect(fact("flush latency")).toMatch(/^\d+ ms$/);
    client.close();
  });
});

import fc from "fast-check";
import { setMaxListeners } from "node:events";
import { expect, test, vi } from "vitest";
import type { Sending } from "../src/item.ts";
import { useFakeTime } from "./harness.ts";
import { Browser, pass, quiet, type Page } from "./persistence-pages.ts";

useFakeTime();

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("send" as const), page: fc.nat(3), stream: fc.constantFrom("a", "b"), count: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("crash", "hide", "hide", "show", "fail", "retry", "abort"), page: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("open" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("offline", "online", "drop") }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("mute", "loseAnswers", "refuse", "refuse", "answer") }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(5_000) }) },
  // The page goes before the database has done all that it was asked.
  { weight: 2, arbitrary: fc.record({ do: fc.constant("steps" as const), count: fc.nat(30) }) },
);

/** A message that `send` took, and how its promise ended. */
interface Sent {
  readonly id: string;
  readonly lane: string;
  /** It was in the database, or its page lived on. */
  safe: boolean;
  settled: number;
}

test("pages that come, sleep, fail and crash under a bad network: each message takes effect once, in its page's order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: "max" }), async (steps) => {
      const browser = new Browser();
      const { server } = browser;
      Object.assign(server.limits, { in_flight: 4 });
      const alive: Page[] = [browser.open()];
      const asleep = new Set<Page>();
      const sent: Sent[] = [];
      const byPage = new Map<Page, Sent[]>();
      const controllers = new Map<Page, AbortController>();
      const withdrawn = new Set<string>();
      let names = 0;
      const laneOf = new Map<Page, string>();
      const fresh = (page: Page) => laneOf.set(page, `p${names++}`);

      function send(page: Page, stream: string): void {
        const controller = controllers.get(page) ?? new AbortController();
        setMaxListeners(0, controller.signal);
        controllers.set(page, controller);
        const promise: Sending = page.client.send(stream, sent.length, { signal: controller.signal });
        const one: Sent = { id: promise.id, lane: `${laneOf.get(page) ?? fresh(page).get(page)} ${stream}`, safe: false, settled: 0 };
        sent.push(one);
        byPage.set(page, [...(byPage.get(page) ?? []), one]);
        promise.then(
          () => one.settled++,
          (error: { name: string; message: string }) => {
            one.settled++;
            if (error.name === "AbortError" || error.name === "ClosedError") withdrawn.add(one.id);
          },
        );
      }

      for (const action of steps) {
        const page = "page" in action ? alive[action.page % Math.max(alive.length, 1)] : undefined;
        if (action.do === "open") {
          if (alive.length < 4) alive.push(browser.open());
        } else if (action.do === "offline") {
          server.accepts = false;
          for (const socket of server.sockets) if (socket.readyState === 1) server.drop(1006, socket);
        } else if (action.do === "online") browser.online();
        else if (action.do === "drop") {
          for (const socket of server.sockets) if (socket.readyState === 1) server.drop(1006, socket);
        } else if (action.do === "mute") server.intercept = (_, { type }) => type === "MESSAGE";
        else if (action.do === "loseAnswers") {
          const lose: typeof server.intercept = (_, frame) => {
            if (frame["type"] !== "MESSAGE") return false;
            server.intercept = null;
            server.receive({ deliver() {} } as never, frame);
            server.intercept = lose;
            return true;
          };
          server.intercept = lose;
        } else if (action.do === "refuse") {
          let count = 0;
          server.intercept = (socket, { type, id }) => {
            if (type !== "MESSAGE" || ++count % 3 === 0) return false;
            socket.deliver({ type: "REJECT", id, code: 503, reason: "UNAVAILABLE", detail: null, retry: true, retry_after_ms: 500 });
            return true;
          };
        } else if (action.do === "answer") server.intercept = null;
        else if (action.do === "wait") await pass(action.ms);
        else if (action.do === "steps") {
          for (let i = 0; i < action.count; i++) await new Promise((resolve) => setImmediate(resolve));
          continue;
        } else if (!page) continue;
        else if (action.do === "send") {
          if (asleep.has(page) || page.client.state === "FAILED") continue;
          for (let i = 0; i < action.count; i++) send(page, action.stream);
        } else if (action.do === "crash") {
          const stored = new Set((await browser.rows()).map(({ id }) => id));
          for (const one of byPage.get(page) ?? []) one.safe ||= stored.has(one.id);
          page.crash();
          alive.splice(alive.indexOf(page), 1);
          asleep.delete(page);
        } else if (action.do === "hide" && !asleep.has(page)) {
          page.hide();
          asleep.add(page);
        } else if (action.do === "show" && asleep.delete(page)) page.show();
        else if (action.do === "abort" && !asleep.has(page)) {
          controllers.get(page)?.abort();
          controllers.delete(page);
        } else if (action.do === "fail" && page.client.state === "CONNECTED") {
          const socket = server.sockets.filter(({ readyState }) => readyState === 1).at(-1);
          socket?.deliver({ type: "BYE", code: 4503, reason: "", reconnect: false });
        } else if (action.do === "retry" && page.client.state === "FAILED") {
          fresh(page);
          page.client.retry();
        }
        if (action.do !== "send") await quiet();
      }

      server.intercept = null;
      browser.online();
      for (const page of asleep) page.show();
      for (const page of alive) page.client.retry();
      if (!alive.length) alive.push(browser.open());
      await pass(150_000);

      const applied = server.applied.map(({ id }) => id);
      expect(new Set(applied).size).toBe(applied.length);
      const gone = new Set(alive.flatMap((page) => byPage.get(page) ?? []));
      for (const one of sent) {
        if (withdrawn.has(one.id)) continue;
        if (one.safe || gone.has(one)) expect(applied).toContain(one.id);
        if (gone.has(one)) expect(one.settled).toBe(1);
      }
      for (const lane of new Set(sent.map((one) => one.lane))) {
        const mine = sent.filter((one) => one.lane === lane).map(({ id }) => id);
        const places = applied.filter((id) => mine.includes(id)).map((id) => mine.indexOf(id));
        expect(places).toEqual([...places].sort((a, b) => a - b));
      }
      for (const page of alive) {
        expect(page.client.waiting).toBe(0);
        expect([page.told, page.undelivered, page.errors.filter((error) => !/Handshake/.test(String(error)))]).toEqual([[], [], []]);
      }
      expect(await browser.rows()).toEqual([]);
      for (const page of alive) page.client.close();
      vi.clearAllTimers();
    }),
    { numRuns: Number(process.env["RUNS"] ?? 40) },
  );
}, 120_000);

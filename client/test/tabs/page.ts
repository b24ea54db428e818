import type { Client } from "../../src/index.ts";
import type { Sending } from "../../src/item.ts";
import type { Subscription } from "../../src/public.ts";
import type { FakeServer } from "../../src/testing.ts";
import type { Tab } from "./tab.ts";

/** A message of an application, and what became of it. */
export interface Sent {
  readonly page: Page;
  readonly stream: string;
  readonly payload: string;
  readonly id: string;
  /** "": nothing yet; else "acked" or the name of the error. */
  outcome: string;
  settled: number;
}

/** What an application shows of a stream. */
interface Screen {
  readonly subscription: Subscription;
  seen: unknown[];
}

/** The application in one tab: it shows streams, sends, and complains of whatever it should never see. */
export interface Page {
  /** Begins each of its messages. */
  readonly name: string;
  readonly tab: Tab;
  readonly client: Client;
  /** Whose page the server has rendered. */
  readonly key: string;
  readonly screens: ReadonlyMap<string, Screen>;
  /** The user was logged out since, or is somebody else: the client may have ended. */
  left: boolean;
  subscribe(stream: string): void;
  unsubscribe(stream: string): void;
  send(stream: string): Sent;
}

/** @param complain of something that must not happen */
export function createPage(
  name: string,
  tab: Tab,
  client: Client,
  key: string,
  server: FakeServer,
  complain: (what: string) => void,
): Page {
  const screens = new Map<string, Screen>();
  let count = 0;

  client.on("error", (error) => {
    const bug = error instanceof TypeError && error.message !== "network error";
    if (bug || /StateTransition|Range|Reference|Frame/.test(String((error as Error)?.name))) {
      complain(`${name}: an error that only a bug makes: ${(error as Error).stack}`);
    }
  });
  client.on("lost", () => complain(`${name}: a message was said to be lost`));

  const page: Page = {
    name,
    tab,
    client,
    key,
    screens,
    left: false,

    subscribe(stream) {
      if (screens.has(stream) || client.signal.aborted) return;
      const log = server.log(stream);
      const subscription = client.subscribe(stream, {
        onSnapshot(state, { seq }) {
          screen.seen = [...((state as unknown[] | null) ?? [])];
          if (screen.seen.length !== seq) complain(`${name}: a snapshot of ${stream} at ${seq} with ${screen.seen.length}`);
        },
        onEvents(entries, { from }) {
          if (screen.seen.length !== from) complain(`${name}: ${stream} at ${screen.seen.length} got entries after ${from}`);
          for (const { seq, payload } of entries) {
            if (log.entries[seq - 1]?.payload !== payload) complain(`${name}: a wrong entry ${seq} of ${stream}`);
            screen.seen.push(payload);
          }
        },
      });
      const screen: Screen = { subscription, seen: [] };
      screens.set(stream, screen);
    },

    unsubscribe(stream) {
      screens.get(stream)?.subscription.close();
      screens.delete(stream);
    },

    send(stream) {
      const payload = `${name}-${String(++count).padStart(4, "0")}`;
      const sending: Sending = client.send(stream, payload);
      const sent: Sent = { page, stream, payload, id: sending.id, outcome: "", settled: 0 };
      const settle = (outcome: string) => {
        sent.outcome = outcome;
        sent.settled++;
        if (!tab.alive) complain(`${name}: a message settled after its page was gone`);
      };
      sending.then(
        ({ id }) => settle(id === sent.id ? "acked" : "the receipt of another message"),
        (error: Error) => settle(error.name),
      );
      return sent;
    },
  };
  return page;
}

/** The package as applications import it, by its own name: what must compile, and what must not. */
import ReconnectChannels, {
  connect,
  describe,
  OutcomeUnknown,
  Rejected,
  StateTransitionError,
  type Client,
  type ClientEvents,
  type Entry,
  type Options,
  type OutboxStore,
  type Receipt,
  type Recorder,
  type Snapshot,
  type State,
  type SyncState,
} from "reconnect-channels";
import { FakeServer } from "reconnect-channels/testing";
import * as runtime from "../../src/index.ts";
import type * as declared from "../../src/types.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <T extends true>(): T | void => {};

// What runs has everything that is declared.
const complete: { readonly [Name in keyof typeof declared]: unknown } = runtime;

const options: Options = { baseMs: 250, maxMs: undefined, networkAware: false, traceparent: () => undefined };
const client: Client = connect("/ws/board/1/", { ...options, WebSocket: new FakeServer().WebSocket });
connect(new URL("wss://example.org/"), { WebSocket });
// @ts-expect-error: not an option
connect("/ws/", { retries: 3 });

is<Equal<typeof client.state, State>>();
is<Equal<State, "DISCONNECTED" | "RECONNECTING" | "CONNECTED" | "FAILED">>();
is<Equal<typeof client.snapshot, Snapshot>>();
// @ts-expect-error: read only
client.snapshot.waiting = 1;

const off: () => void = client.on("stateChange", ({ from, to, reason }) => void [is<Equal<typeof to, typeof from>>(), reason]);
client.on("error", (error) => {
  if (error instanceof Rejected) error.streams.join(error.reason);
  // @ts-expect-error: unknown until it is looked at
  void error.reason;
});
// @ts-expect-error: not an event
client.on("open", () => {});
is<Equal<ClientEvents["highWater"], { readonly waiting: number }>>();

const subscription = client.subscribe("board:1", {
  onSnapshot: (state, { reason, exact, partial, seq }) => void [state, reason, exact, partial, seq],
  onEvents: (entries, { from, to, complete: newest }) => void [is<Equal<typeof entries, readonly Entry[]>>(), from, to, newest],
  onSync: (sync) => describe(sync),
  signal: client.signal,
});
is<Equal<typeof subscription.sync, SyncState>>();

const sent = client.send("board:1", { move: 7 });
is<Equal<typeof sent.id, string>>();
is<Equal<Awaited<typeof sent>, Receipt>>();

function seconds(sync: SyncState): number {
  // @ts-expect-error: only what is stale is stale since
  void sync.since;
  return sync.kind === "stale" ? sync.since / 1000 : sync.kind === "catching-up" ? sync.n : sync.waiting;
}

const store: OutboxStore = { save: async ({ n, producer }) => void [n, producer], remove: (id) => void id };
const recorder: Recorder = { count() {}, observe() {}, gauge() {} };
const error: Error = new OutcomeUnknown("x", { cause: new StateTransitionError("FAILED", "CONNECTED") });

is<Equal<typeof ReconnectChannels.clients, ReadonlySet<Client>>>();
is<Equal<typeof ReconnectChannels.connect, typeof connect>>();

export { complete, error, off, recorder, seconds, store };

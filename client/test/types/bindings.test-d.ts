/** The hooks, the element and the composable as applications import them. */
import type { Client, Entry, QueueEntry, Receipt, State, SyncState } from "reconnect-channels";
import ReconnectChannels, { connect as connectCore, type Client as CoreClient } from "reconnect-channels/core";
import { ReconnectStreamElement } from "reconnect-channels/element";
import { useResilientWS, useStream } from "reconnect-channels/react";
import { Inspector, useInspector } from "reconnect-channels/react-inspector";
import { useResilientWS as useInVue } from "reconnect-channels/vue";
import { createElement } from "react";
import { ref, type ComputedRef } from "vue";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <T extends true>(): T | void => {};

// -- React ---------------------------------------------------------------------------------------

const ws = useResilientWS("/ws/board/", {
  stream: "board:1",
  onSnapshot: (state, { reason, exact }) => void [state, reason, exact],
  onEvents: (entries, { complete }) => void [is<Equal<typeof entries, readonly Entry[]>>(), complete],
  onSync: (sync) => void is<Equal<typeof sync, SyncState>>(),
  enabled: true,
  maxMs: 1000,
});
useResilientWS("/ws/board/");
is<Equal<typeof ws.client, Client | null>>();
is<Equal<typeof ws.state, State>>();
is<Equal<typeof ws.queue, readonly QueueEntry[]>>();
is<Equal<typeof ws.role, Client["snapshot"]["role"]>>();
const sending = ws.send({ move: 7 });
is<Equal<Awaited<typeof sending>, Receipt>>();
void ws.send("x", "other:1").id.length;
// @ts-expect-error: positions change with every entry, and no entry renders anything
void ws.streams;
// @ts-expect-error: not an option
useResilientWS("/ws/", { retries: 3 });
// @ts-expect-error: the components' life is the client's
useResilientWS("/ws/", { signal: new AbortController().signal });

useStream(ws.client, "board:2", { onEvents: (entries) => void entries });
// @ts-expect-error: not a handler
useStream(ws.client, "board:2", { onMessage() {} });
const panel = createElement(Inspector, { client: ws.client });
const shown = useInspector(ws.client);
is<Equal<NonNullable<typeof shown>["flushMs"], number | null>>();

// -- custom element ------------------------------------------------------------------------------

const element = document.createElement("reconnect-stream");
is<Equal<typeof element, ReconnectStreamElement>>();
is<Equal<typeof element.sync, SyncState | null>>();
element.options = { maxMs: 1000 };
element.addEventListener("reconnect:events", ({ detail }) => void is<Equal<typeof detail.entries, readonly Entry[]>>());
document.querySelector("form")?.addEventListener("reconnect:receipt", ({ detail }) => void detail.receipt.id);
void element.send({ title: "x" }, { signal: new AbortController().signal }).id;
// @ts-expect-error: read only
element.client = null;

// -- Vue -----------------------------------------------------------------------------------------

const vue = useInVue(ref("/ws/board/"), { stream: () => "board:1", onEvents: (entries) => void entries, maxMs: 1000 });
is<Equal<typeof vue.state, ComputedRef<State>>>();
is<Equal<typeof vue.client, ComputedRef<Client | null>>>();
void vue.send({ move: 7 }).id;
// @ts-expect-error: a ref
void vue.waiting.toFixed();

// -- the small client ----------------------------------------------------------------------------

const small = connectCore("/ws/", { maxMs: 1000, networkAware: false });
is<Equal<typeof small, CoreClient>>();
void ReconnectChannels.connect("/ws/").subscribe("s", { onEvents: (entries) => void entries }).live;
// @ts-expect-error: snapshots are the whole client's
void small.snapshot;
// @ts-expect-error: so is the state for people
void small.sync;
// @ts-expect-error: and what it tells
small.on("syncChange", () => {});
// @ts-expect-error: and each stream's
small.subscribe("s", { onSync() {} });
// @ts-expect-error: and measurements
connectCore("/ws/", { recorder: { count() {}, observe() {}, gauge() {} } });
// @ts-expect-error: and messages that survive the page
connectCore("/ws/", { store: { save() {}, remove() {} } });
// @ts-expect-error: components need the whole client
useResilientWS("/ws/", { connect: connectCore });
// @ts-expect-error: tabs are the whole client's
void ReconnectChannels.shareTabs;

export { panel };

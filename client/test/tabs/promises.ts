/** What must hold, whatever happened. Each function returns what doesn't, in words. */
import type { FakeServer } from "../../src/testing.ts";
import type { Browser } from "./browser.ts";
import type { Page, Sent } from "./page.ts";

/** Everything that can be looked at. */
export interface World {
  readonly browser: Browser;
  readonly server: FakeServer;
  readonly pages: readonly Page[];
  readonly sent: readonly Sent[];
  /** Tabs share one connection. */
  readonly shares: boolean;
}

/** What is not yet as it must be once everything has calmed down. */
export function unsettled({ browser, server, pages, shares }: World): string[] {
  const found: string[] = [];
  const awake = pages.filter(({ tab }) => tab.awake);
  /** Those that must be connected: of the user who is logged in, and not ended by an earlier logout. */
  const team = awake.filter(({ key, client }) => key === browser.cookie && !client.signal.aborted && client.state !== "FAILED");
  for (const { name, client, key, left } of awake) {
    const { state, signal } = client;
    if (!left && (signal.aborted || state === "FAILED")) found.push(`${name} ended: ${state}`);
    if (key !== browser.cookie && !signal.aborted && state !== "FAILED") found.push(`${name} of ${key} still is ${state}`);
  }
  for (const { name: page, client, screens } of team) {
    const { state, sync, waiting, snapshot } = client;
    if (state !== "CONNECTED" || sync.kind !== "live" || waiting) {
      found.push(`${page} is ${snapshot.role} ${state} ${sync.kind}, ${waiting} waiting`);
    }
    for (const [name, { seen }] of screens) {
      const { entries } = server.log(name);
      const same = seen.length === entries.length && entries.every(({ payload }, index) => payload === seen[index]);
      if (!same) found.push(`${page} shows ${seen.length} of ${entries.length} entries of ${name}`);
    }
  }
  const roles = team.map(({ client }) => client.snapshot.role).sort();
  const expected = team.map((_, index) => (!shares ? "solo" : index ? "follower" : "leader")).sort();
  if (String(roles) !== String(expected)) found.push(`roles are ${roles}`);
  for (const { name, client } of shares ? team : []) {
    const { tabs } = client.snapshot;
    const marked = [tabs.length, tabs.filter(({ leader }) => leader).length, tabs.filter(({ mine }) => mine).length];
    if (String(marked) !== `${team.length},1,1`) found.push(`${name} sees ${marked} tabs, leaders, itself`);
  }
  const shown = new Set(team.flatMap(({ screens }) => [...screens.keys()]));
  for (const socket of server.connected) {
    const idle = server.served(socket).filter((stream) => !shown.has(stream));
    if (idle.length) found.push(`the server serves ${idle}, which nobody shows`);
  }
  const sockets = server.connected.length;
  const wanted = shares ? Math.min(team.length, 1) : team.length;
  if (sockets !== wanted) found.push(`${sockets} sockets for ${team.length} tabs`);
  return found;
}

/** What became of messages, though it must not. */
export function wrongMessages({ server, sent }: World): string[] {
  const found: string[] = [];
  const applied = new Map(server.applied.map(({ id }) => [id, 0]));
  for (const { id } of server.applied) applied.set(id, applied.get(id)! + 1);
  for (const { id, page, payload, outcome, settled } of sent) {
    const times = applied.get(id) ?? 0;
    const what = `${payload} (${outcome || "open"})`;
    if (times > 1) found.push(`${what} was applied ${times} times`);
    if (outcome === "acked" && times !== 1) found.push(`${what} was not applied`);
    if (outcome === "ClosedError" && times) found.push(`${what} was applied, and its sender told that it was never sent`);
    if (settled > 1 || (!settled && page.tab.alive)) found.push(`${what} settled ${settled} times`);
    const allowed = ["acked", ...(page.left ? ["ClosedError", "OutcomeUnknown"] : [])];
    if (settled && !allowed.includes(outcome)) found.push(`${what} was not acknowledged`);
  }
  const bodies = server.applied.map(({ payload }) => payload);
  if (new Set(bodies).size !== bodies.length) found.push("one message took effect under two ids");
  for (const stream of server.logs.keys()) {
    const last = new Map<string, string>();
    for (const { payload } of server.applied.filter((message) => message.stream === stream)) {
      const [tab] = String(payload).split("-") as [string];
      if ((last.get(tab) ?? "") >= String(payload)) found.push(`${payload} overtook ${last.get(tab)}`);
      last.set(tab, String(payload));
    }
  }
  return found;
}

/** What is left of clients that are closed. */
export function leaks({ browser, server }: World): string[] {
  const found: string[] = [];
  for (const tab of browser.tabs) {
    if (tab.timers) found.push(`${tab.id} has ${tab.timers} timers after close()`);
    const { window, document } = tab.environment;
    const listening = [...window.listening, ...document.listening];
    if (listening.length) found.push(`${tab.id} still listens to ${listening} after close()`);
  }
  const { locks, channels, network } = browser;
  for (const tab of locks.users) found.push(`${tab.id} holds or waits for a lock after close()`);
  for (const tab of channels.users) found.push(`${tab.id} has an open pipe after close()`);
  if (network.cables.size || server.connected.length) found.push(`sockets after close()`);
  return found;
}

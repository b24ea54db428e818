import { createElement as h, useDebugValue, useEffect, useReducer, useRef } from "react";
import type { ReactElement, ReactNode } from "react";
import { watchFlush } from "./flush.ts";
import type { QueueEntry } from "./item.ts";
import type { Client, Snapshot } from "./public.ts";

/** What an inspector shows of a client. */
export interface Inspection extends Pick<Snapshot, "state" | "role" | "sync"> {
  /** Messages without an answer. */
  readonly depth: number;
  /** The messages themselves, oldest first. */
  readonly queue: readonly QueueEntry[];
  /** Milliseconds that the last connect took until all that had waited was answered; null: not measured yet. */
  readonly flushMs: number | null;
  /** The last applied `seq` of each stream. */
  readonly streams: Readonly<Record<string, number>>;
}

/**
 * Everything of a client that development wants to see, also in React DevTools. Renders with every change, entries
 * included: for panels, not for pages.
 */
export function useInspector(client: Client | null): Inspection | null {
  const [, render] = useReducer((count: number) => count + 1, 0);
  const measured = useRef<number | null>(null);
  useEffect(() => {
    if (!client) return;
    const offs = [
      watchFlush(client, (ms) => {
        measured.current = ms;
        render();
      }),
      client.on("change", render),
      client.on("queueChange", render),
    ];
    render();
    return () => {
      measured.current = null;
      offs.forEach((off) => off());
    };
  }, [client]);

  const shown = client && inspect(client, measured.current);
  useDebugValue(shown);
  return shown;
}

function inspect(client: Client, flushMs: number | null): Inspection {
  const { queue } = client;
  const { state, role, sync, streams } = client.snapshot;
  const seqs = Object.fromEntries(Object.entries(streams).map(([name, { seq }]) => [name, seq]));
  return { state, role, sync, depth: queue.length, queue, flushMs, streams: seqs };
}

function table(caption: string, columns: readonly string[], rows: readonly (readonly ReactNode[])[]): ReactElement {
  const head = h("tr", null, ...columns.map((name) => h("th", { key: name, scope: "col", align: "left" }, name)));
  const body = rows.map((cells) => h("tr", { key: String(cells[0]) }, ...cells.map((cell, i) => h("td", { key: i }, cell))));
  return h("table", null, h("caption", null, caption), h("thead", null, head), h("tbody", null, ...body));
}

/** A panel for development: state, role, queue with contents, flush latency, and the last seq of each stream. */
export function Inspector({ client }: { readonly client: Client | null }): ReactElement | null {
  const shown = useInspector(client);
  if (!client || !shown) return null;
  const { state, role, sync, depth, queue, flushMs, streams } = shown;
  const facts = {
    state,
    role,
    sync: sync.kind,
    "queue depth": depth,
    "flush latency": flushMs === null ? "not measured" : `${flushMs.toFixed(0)} ms`,
  };
  return h(
    "section",
    { "aria-label": `Connection ${client.url}`, style: { font: "12px/1.5 ui-monospace, monospace", overflow: "auto" } },
    h("dl", null, ...Object.entries(facts).map(([name, fact]) => h("div", { key: name }, h("dt", null, name), h("dd", null, fact)))),
    table("Streams", ["stream", "last seq"], Object.entries(streams)),
    table(
      "Queue",
      ["id", "stream", "state", "payload"],
      queue.map(({ id, stream, state: fate, payload }) => [id, stream, fate, JSON.stringify(payload)]),
    ),
  );
}

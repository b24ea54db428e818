/* reconnect_channels, BSD-3-Clause */
import type { Client, QueueEntry, Snapshot } from "./index.js";
import type { ReactElement } from "react";

/** What an inspector shows of a client. */
interface Inspection extends Pick<Snapshot, "state" | "role" | "sync"> {
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
declare function useInspector(client: Client | null): Inspection | null;

/** A panel for development: state, role, queue with contents, flush latency, and the last seq of each stream. */
declare function Inspector({ client }: {
    readonly client: Client | null;
}): ReactElement | null;

export type { Inspection };
export { useInspector };
export { Inspector };

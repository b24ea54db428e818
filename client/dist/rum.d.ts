/* reconnect_channels, BSD-3-Clause */
import type { Recorder } from "./index.js";

/** A recorder that follows a client and forgets none of its methods. */
type Following = Recorder & Required<Pick<Recorder, "follow">>;

/** Options of `rumRecorder`. */
interface RumOptions {
    /** Before the names of events and performance entries: `reconnect-channels:`. */
    readonly prefix?: string | undefined;
    /** Performance entries of one name that stay on the timeline at most, 1 or more: 100. */
    readonly keep?: number | undefined;
    /** Where the CustomEvents are dispatched: the window. */
    readonly target?: EventTarget | undefined;
}

/** What the browser says of its network; all but `online` in Chromium only. */
interface NetworkQuality {
    readonly online?: boolean;
    /** `slow-2g`, `2g`, `3g` or `4g`. */
    readonly effectiveType?: string;
    /** Milliseconds. */
    readonly rtt?: number;
    /** Megabits a second. */
    readonly downlink?: number;
    readonly saveData?: boolean;
}

/** `detail` of the CustomEvents, by name without the prefix. Times are milliseconds. */
interface RumDetails {
    /** The connection is lost. */
    drop: NetworkQuality & {
        readonly reason: string;
    };
    /** A wait begins. `capped`: it can't grow any more. */
    backoff: NetworkQuality & {
        readonly ms: number;
        readonly capped: boolean;
    };
    /** An attempt to connect is over: `connected`, `failed`, `timeout` or `aborted`. */
    attempt: NetworkQuality & {
        readonly ms: number;
        readonly outcome: string;
    };
    /** The first connection of a page; every stream is live. */
    connect: RumDetails["outage"];
    /** An outage is over. */
    outage: NetworkQuality & {
        readonly ms: number;
        readonly outcome: string;
        readonly reason: string;
        readonly attempts: number;
        readonly role: string;
    };
    /** An outage is over, after which another tab leads. */
    handover: RumDetails["outage"];
}

/**
 * Shows outages, attempts and waits to whatever measures real users: as `performance` entries, and as CustomEvents on
 * the window, each with the network quality of its moment. One recorder serves one client.
 */
declare function rumRecorder(options?: RumOptions): Following;

export type { RumOptions };
export type { NetworkQuality };
export type { RumDetails };
export { rumRecorder };

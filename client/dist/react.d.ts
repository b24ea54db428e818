/* reconnect_channels, BSD-3-Clause */
import type { Client, Options, QueueEntry, Sending, Snapshot, SubscribeOptions } from "./index.js";

type Connect = (url: string | URL, options?: Options) => Client;

/** Options of a client that components share. Its life is theirs: it takes no `signal`. */
interface SharedOptions extends Omit<Options, "signal"> {
    /** Makes the client; the page's `ReconnectChannels.connect` unless given. */
    readonly connect?: Connect | undefined;
}

/** What components render. Positions are left out: they change with every entry, and no entry shall render anything. */
interface ClientView extends Omit<Snapshot, "streams" | "clientId" | "session"> {
    /** Null on a server, before the first effect, and while there is none. */
    readonly client: Client | null;
    /** The messages without an answer, oldest first. */
    readonly queue: readonly QueueEntry[];
}

/** What a component does with a stream. Functions may be new in every render: the newest is called. */
type StreamHandlers = Omit<SubscribeOptions, "signal">;

/** Options of `useResilientWS`: of the stream, and those of `connect`. */
interface ResilientWSOptions extends SharedOptions, StreamHandlers {
    /** The stream to follow and to send to. */
    readonly stream?: string | undefined;
    /** False: no client. True by default. */
    readonly enabled?: boolean | undefined;
}

/** What `useResilientWS` returns. */
interface ResilientWS extends ClientView {
    /**
     * Sends as `client.send` does. The same function while URL, `key` and `stream` are the same. What was not sent when the
     * component unmounts is withdrawn: its promise rejects with an AbortError.
     *
     * @param stream another one than that of the options
     * @throws Error while the hook is not enabled
     */
    readonly send: (payload: unknown, stream?: string) => Sending;
}

/**
 * Follows a stream of a client that the component got from `useResilientWS` or made itself.
 *
 * @param client null or closed: nothing happens
 * @param name undefined: nothing happens
 */
declare function useStream(client: Client | null, name: string | undefined, handlers: StreamHandlers): void;

/**
 * A connection for as long as the component is mounted. Components with the same URL and `key` share one client, made with
 * the options of the first; when the last one unmounts, it closes with 1000 `unmount`.
 *
 * Entries come by `onSnapshot` and `onEvents` and render nothing; the component renders when the connection's state, its
 * freshness or its queue change.
 *
 * @param url as for `connect`
 */
declare function useResilientWS(url: string, options?: ResilientWSOptions): ResilientWS;

export type { StreamHandlers };
export type { ResilientWSOptions };
export type { ResilientWS };
export { useStream };
export { useResilientWS };
export type { ClientView, SharedOptions };

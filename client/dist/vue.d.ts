/* reconnect_channels, BSD-3-Clause */
import type { Client, Options, QueueEntry, Sending, Snapshot, SubscribeOptions } from "./index.js";
import type { ComputedRef, MaybeRefOrGetter } from "vue";

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

interface ResilientWSOptions extends SharedOptions, Omit<SubscribeOptions, "signal"> {
    /** The stream to follow and to send to. */
    readonly stream?: MaybeRefOrGetter<string | undefined> | undefined;
}

/** What `useResilientWS` returns: every part of the view as a ref. */
type ResilientWS = {
    readonly [Name in keyof ClientView]: ComputedRef<ClientView[Name]>;
} & {
    /** As `client.send`. What was not sent when the scope ends is withdrawn: its promise rejects with an AbortError. */
    readonly send: (payload: unknown, stream?: string) => Sending;
};

/**
 * A connection for as long as the component, or effect scope, lives. Those with the same URL and `key` share one client,
 * made with the options of the first; the last one closes it with 1000 `unmount`. Entries come by `onSnapshot` and
 * `onEvents` and change no ref.
 *
 * @param url as for `connect`; a ref or getter may change
 */
declare function useResilientWS(url: MaybeRefOrGetter<string>, { stream, onSnapshot, onEvents, onSync, ...options }?: ResilientWSOptions): ResilientWS;

export type { ResilientWSOptions };
export type { ResilientWS };
export { useResilientWS };

/* reconnect_channels, BSD-3-Clause */
import type { Client, Entry, EventsInfo, Options, Receipt, Sending, SnapshotInfo, SyncState } from "./index.js";

type Connect = (url: string | URL, options?: Options) => Client;

/** Options of a client that components share. Its life is theirs: it takes no `signal`. */
interface SharedOptions extends Omit<Options, "signal"> {
    /** Makes the client; the page's `ReconnectChannels.connect` unless given. */
    readonly connect?: Connect | undefined;
}

/** A form's fields as JSON: text only, repeated names as arrays; neither files nor Django's CSRF token. */
type FormPayload = Record<string, string | string[]>;

/** What `<reconnect-stream>` and the forms in it dispatch; all of these bubble. */
interface ReconnectStreamEvents {
    /** Replaces the state of the stream. */
    "reconnect:snapshot": CustomEvent<SnapshotInfo & {
        readonly stream: string;
        readonly state: unknown;
    }>;
    /** Entries in order, without gaps or repeats. */
    "reconnect:events": CustomEvent<EventsInfo & {
        readonly stream: string;
        readonly entries: readonly Entry[];
    }>;
    /** The freshness changed; `text` says it for people. */
    "reconnect:sync": CustomEvent<{
        readonly stream: string | null;
        readonly sync: SyncState;
        readonly text: string;
    }>;
    /** At a form: its message is in the queue. */
    "reconnect:sent": CustomEvent<{
        readonly id: string;
        readonly payload: FormPayload;
    }>;
    /** At a form: its message took effect. */
    "reconnect:receipt": CustomEvent<{
        readonly receipt: Receipt;
        readonly payload: FormPayload;
    }>;
    /** At a form: its message was refused or given up, or its fate is unknown. */
    "reconnect:rejected": CustomEvent<{
        readonly error: unknown;
        readonly payload: FormPayload;
    }>;
}

declare const Base: {
    new (): HTMLElement;
    prototype: HTMLElement;
};

/**
 * `<reconnect-stream src="/ws/board/" stream="board:1">`: a stream for templates without a framework.
 *
 * Elements with the same `src` share one client, which outlives a swap within one task; the last one closes it with 1000
 * `unmount`. `data-kind`, `data-waiting` and `data-role` tell its state to style sheets.
 */
declare class ReconnectStreamElement extends Base {
    #private;
    static readonly observedAttributes: string[];
    constructor();
    /** Options of `connect`. Set them before the element is connected, or before `src`. */
    get options(): SharedOptions;
    set options(options: SharedOptions);
    /** Null while the element is in no document or has no `src`. */
    get client(): Client | null;
    /** The last applied entry; 0 for none. */
    get seq(): number;
    get sync(): SyncState | null;
    /**
     * Sends as `client.send` does, on the element's stream. What was not sent when the element is removed is withdrawn.
     *
     * @returns rejects in addition with an InvalidStateError while there is no client
     */
    send(payload: unknown, { signal }?: {
        signal?: AbortSignal | undefined;
    }): Sending;
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** Moved by `moveBefore`: nothing ends. */
    connectedMoveCallback(): void;
    attributeChangedCallback(): void;
}

declare global {
    interface HTMLElementTagNameMap {
        "reconnect-stream": ReconnectStreamElement;
    }
    interface HTMLElementEventMap extends ReconnectStreamEvents {
    }
}

export type { ReconnectStreamEvents };
export { ReconnectStreamElement };
export {};

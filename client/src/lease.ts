import type { QueueEntry } from "./item.ts";
import type { Options } from "./options.ts";
import type { Client, Snapshot } from "./public.ts";

type Connect = (url: string | URL, options?: Options) => Client;

/** Options of a client that components share. Its life is theirs: it takes no `signal`. */
export interface SharedOptions extends Omit<Options, "signal"> {
  /** Makes the client; the page's `ReconnectChannels.connect` unless given. */
  readonly connect?: Connect | undefined;
}

/** A component's part in a client. It ends one macrotask after it was made, or released, unless it was taken meanwhile. */
export interface Lease {
  readonly client: Client;
  /** Aborted at its end: ends what the component listens to, and withdraws what it never sent. */
  readonly signal: AbortSignal;
  /** Before `signal` is aborted. */
  take(): void;
  /** Once for each `take`. The last lease of a client closes it with 1000 `unmount`. */
  release(): void;
}

/** What components render. Positions are left out: they change with every entry, and no entry shall render anything. */
export interface ClientView extends Omit<Snapshot, "streams" | "clientId" | "session"> {
  /** Null on a server, before the first effect, and while there is none. */
  readonly client: Client | null;
  /** The messages without an answer, oldest first. */
  readonly queue: readonly QueueEntry[];
}

interface Shared {
  readonly client: Client;
  users: number;
  /** What it looked like, and the same as text. */
  view: ClientView;
  text: string;
}

const scope = globalThis as { [name: symbol]: unknown; ReconnectChannels?: { readonly connect: Connect } };
/** By key, for every copy of this module on the page: a React tree and a custom element share a client, too. */
const registry = (scope[Symbol.for("reconnect_channels")] ??= new Map()) as Map<string, Shared>;

/** Without a client: on a server, and before the first effect. */
export const NO_CLIENT: ClientView = {
  client: null,
  state: "DISCONNECTED",
  sync: { kind: "stale", since: 0, waiting: 0 },
  waiting: 0,
  attempt: 0,
  retryAt: null,
  role: "solo",
  tabs: [],
  queue: [],
};

/** Users share a client when URL and identity key are the same. Of the other options the first user's are taken. */
export const keyOf = (url: string, { key }: SharedOptions): string => JSON.stringify([url, key]);

/** The same object until something in it changes. */
export function viewOf(key: string): ClientView {
  const shared = registry.get(key);
  if (!shared) return NO_CLIENT;
  const { client, view, text } = shared;
  const shown = { ...client.snapshot, streams: undefined };
  // Compared as text: the list of tabs may be new and say the same.
  const says = JSON.stringify(shown);
  if (text === says && view.queue === client.queue) return view;
  shared.text = says;
  return (shared.view = { ...shown, client, queue: client.queue });
}

/**
 * A part in the client of a key, which is made for the first one.
 *
 * @throws Error when there is no `connect` or no key, and what `connect` throws
 */
export function lease(key: string, url: string, options: SharedOptions): Lease {
  let shared = registry.get(key)!;
  if (!shared) {
    const { connect = scope.ReconnectChannels?.connect } = options;
    if (!key || !connect) throw new Error("ReconnectChannels is not loaded or enabled");
    // It takes what it knows of the options.
    shared = { client: connect(url, options), users: 0, view: NO_CLIENT, text: "" };
    registry.set(key, shared);
    // Whoever closed it: the next user of the key gets a new one.
    shared.client.signal.addEventListener("abort", () => registry.delete(key));
  }
  shared.users++;
  const { client } = shared;
  const life = new AbortController();
  let taken = 1;
  const release = () => {
    // A macrotask later: StrictMode, a moved element and a swapped fragment are back by then.
    setTimeout(() => {
      if (--taken) return;
      life.abort();
      if (!--shared.users) client.close(1000, "unmount");
    });
  };
  release();
  return { client, signal: life.signal, take: () => taken++, release };
}

import type { End } from "./comeback.ts";
import type { DeltaFault } from "./cursor.ts";
import type { Connection } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import type { ClientEvents, CoreClient, CoreSubscription } from "./public.ts";
import type { Roster } from "./roster.ts";
import type { Settings } from "./settings.ts";
import type { State } from "./state-machine.ts";
import type { Stream } from "./stream.ts";

/** How one attempt to connect came out. */
export interface AttemptEnd {
  readonly outcome: "connected" | "failed" | "aborted";
  readonly ms: number;
  /** A socket opened. */
  readonly opened: boolean;
  /** Why it failed. */
  readonly end: End | undefined;
}

/** What happens in a client: what applications hear of, and what only its extensions do. */
export interface InnerEvents extends ClientEvents {
  attempt: AttemptEnd;
  /** The wait before the next attempt begins, in milliseconds. */
  backoff: number;
  /** The backoff has reached its cap. */
  capped: number;
  /** A transition that the state machine doesn't allow. */
  illegal: { readonly from: State; readonly to: State };
  /** A delta didn't continue its stream's position. */
  refused: DeltaFault;
  /** A stream that is asked for again, since its continuity couldn't be proved. */
  heal: string;
  /** A connection came for the messages with these ids. */
  flush: readonly string[];
  /** The id of a message that took effect. */
  acked: string;
  /** A message was refused, since everything in the outbox was sent already. */
  overflow: number;
  /** Something that people may see changed. */
  touch: undefined;
  subscribed: { readonly subscription: CoreSubscription; readonly stream: Stream };
  /** The server serves this stream no more, and its subscribers go. */
  denied: Stream;
  /** The client was closed: nothing follows. */
  closed: undefined;
}

/** A client seen from within, by what a bundle adds to it. */
export interface Inner {
  readonly settings: Settings;
  readonly client: CoreClient;
  readonly connection: Connection;
  readonly roster: Roster;
  readonly outbox: Outbox;
  /** Aborted when the client closes. */
  readonly signal: AbortSignal;
  on<K extends keyof InnerEvents>(event: K, listener: (value: InnerEvents[K]) => void): void;
}

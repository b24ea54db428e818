import type { Clock } from "./clock.ts";
import type { WakeCause } from "./network.ts";
import type { Position, WirePosition } from "./position.ts";
import type { Settings } from "./settings.ts";
import type { OpenTransport } from "./transport.ts";

/**
 * What a tab is to the browser's one connection: it owns it (leader), uses it (follower), waits to learn whose it is
 * (candidate), has its own and shares nothing (solo), or sleeps (suspended: in the back/forward cache, frozen, FAILED).
 */
export type Role = "solo" | "candidate" | "leader" | "follower" | "suspended";

/** A tab that shares the connection. */
export interface TabInfo {
  readonly id: string;
  readonly leader: boolean;
  /** This very tab. */
  readonly mine: boolean;
  readonly visible: boolean;
}

/** What tab sharing may do with the client it works for. None of these throws. */
export interface TabsHost {
  readonly url: string;
  /** The identity key, if the server issued one. */
  readonly key: string | undefined;
  /** This tab's own id. */
  readonly clientId: string;
  readonly settings: Settings & { readonly clock: Clock };
  /** Aborted when the client closes. */
  readonly signal: AbortSignal;
  /** Opens a socket of this tab. */
  readonly open: OpenTransport;
  /** Begins anew at once with what `TabsLink.open` now opens: another role, another way. */
  restart(reason: string): void;
  wake(cause: WakeCause): void;
  /** Out of FAILED: it works again. */
  retry(): void;
  /** What this tab waits for, while its connection is down. */
  waiting(): { readonly attempt: number; readonly retryAt: number | null };
  /** Lets the connection go until the next `wake`. */
  suspend(cause: string): void;
  /** Another tab logged out. */
  logout(): void;
  /**
   * Follows a stream for another tab, from its position if nobody here has one.
   *
   * @param anew ask for a snapshot, which every tab then gets
   * @returns whether there was room
   */
  hold(stream: string, claim: WirePosition | null, anew: boolean): boolean;
  /** No other tab follows it any more. */
  release(stream: string): void;
  /** Where this tab stands in a stream that the server serves it. */
  at(stream: string): { readonly position: Position | null; readonly live: boolean } | undefined;
}

/** A client's part in the sharing. */
export interface TabsLink {
  readonly role: Role;
  /** Which leadership of this browser HELLO speaks for; 0 for solo. */
  readonly term: number;
  /** Names the client to the server: one name for all tabs that share. */
  readonly clientId: string;
  readonly tabs: readonly TabInfo[];
  /** What the leader waits for, while this tab waits for it. */
  readonly waiting: { readonly attempt: number; readonly retryAt: number | null } | null;
  readonly open: OpenTransport;
  /** Gives the connection to another tab, if there is one. */
  resign(): void;
  /** The connection gave up, or shall try again. */
  failed(failed: boolean): void;
  /** Tells the other tabs to close. */
  logout(): void;
}

/** Made by `shareTabs`; called once by `connect`. */
export type Tabs = (host: TabsHost) => TabsLink;

/** A tab with a socket of its own. */
export function alone({ open, clientId }: Pick<TabsHost, "open" | "clientId">): TabsLink {
  const nothing = () => {};
  return { role: "solo", term: 0, clientId, tabs: [], waiting: null, open, resign: nothing, failed: nothing, logout: nothing };
}

import type { Clock } from "./clock.ts";
import type { NetworkSources } from "./network.ts";
import type { OpenStore, OutboxStore } from "./item.ts";
import type { Random } from "./random.ts";
import type { Recorder } from "./recorder.ts";
import type { Tabs } from "./sharing.ts";
import type { OpenTransport, SocketConstructor } from "./transport.ts";

/** Options of the core's `connect`; every one may be left out. */
export interface CoreOptions {
  /**
   * Names this client to the server over all its reconnects; at most 200 characters. A new UUID unless given.
   * Use one value once: the server compares its attempt numbers, which begin at 1 in every new client.
   */
  readonly clientId?: string | undefined;
  /** The backoff's base in milliseconds: 500. */
  readonly baseMs?: number | undefined;
  /** The backoff's cap in milliseconds: 20 000. */
  readonly maxMs?: number | undefined;
  /** For socket and WELCOME together, in milliseconds: 8000. */
  readonly connectTimeoutMs?: number | undefined;
  /** A connection that holds so long resets the backoff, in milliseconds: 5000. */
  readonly stableMs?: number | undefined;
  /** Failed attempts in a row before FAILED: without end. */
  readonly maxAttempts?: number | undefined;
  /** Messages without an answer: 1000. */
  readonly maxQueue?: number | undefined;
  /** Their encoded payloads together, in bytes: 8 MiB. */
  readonly maxQueueBytes?: number | undefined;
  /** Aborting closes the client. */
  readonly signal?: AbortSignal | undefined;
  /** Instead of the global WebSocket: tests, network labs, Node. */
  readonly WebSocket?: SocketConstructor | undefined;
  /** Instead of a WebSocket: another tab that owns one. */
  readonly transport?: OpenTransport | undefined;
  /**
   * The opaque identity key that the server issued (`data-key` of `{% reconnect_client %}`'s script): a server refuses
   * a socket of anybody else, and tabs share and messages persist under it alone.
   */
  readonly key?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  /** React to `online` and to getting visible; the whole client to page life and the like, too: true. Sources may be given instead. */
  readonly networkAware?: boolean | NetworkSources | undefined;
}

/** Options of `connect`; every one may be left out. */
export interface Options extends CoreOptions {
  /** Where unanswered messages survive a reload: `persistOutbox()`. */
  readonly store?: OutboxStore | OpenStore | undefined;
  /** How this client shares one connection with the other tabs: `shareTabs()`. */
  readonly tabs?: Tabs | false | undefined;
  /** Where measurements go. */
  readonly recorder?: Recorder | undefined;
  /** The W3C trace context to send in HELLO. */
  readonly traceparent?: (() => string | undefined) | undefined;
}

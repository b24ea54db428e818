/**
 * reconnect_channels: resumable, deduplicated WebSocket streams.
 *
 * Loading it also sets `globalThis.ReconnectChannels`, for pages without modules. A second copy on the page (a bundle
 * beside the script tag) uses the first one's objects, so that `instanceof` and the list of clients hold.
 */
import { api } from "./api.ts";

const KEY = Symbol.for("reconnect_channels.v1");
const scope = globalThis as { [KEY]?: typeof api; ReconnectChannels?: typeof api };

export const ReconnectChannels: typeof api = (scope[KEY] ??= Object.freeze(api));
scope.ReconnectChannels ??= ReconnectChannels;

export const {
  connect,
  describe,
  calculateBackoff,
  uuid4,
  StateTransitionError,
  QueueOverflowError,
  OutcomeUnknown,
  Rejected,
  ClosedError,
  PayloadError,
  FrameError,
} = ReconnectChannels;
export default ReconnectChannels;

export type { Client, ClientEvents, Subscription } from "./client.ts";
export type { Clock } from "./clock.ts";
export type { Entry, SnapshotReason } from "./frames.ts";
export type { Options } from "./options.ts";
export type { OutboxStore, QueueEntry, Receipt, Sending } from "./item.ts";
export type { Position } from "./position.ts";
export type { Labels, Recorder } from "./recorder.ts";
export type { State, StateChange } from "./state-machine.ts";
export type { EventsInfo, SnapshotInfo, SubscribeOptions } from "./stream.ts";
export type { SyncState } from "./sync.ts";
export type { OpenTransport, Transport, TransportEvents } from "./transport.ts";
export type { Snapshot } from "./view.ts";

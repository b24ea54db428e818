/**
 * The package's types. At run time the same names come from `index.ts`: those of the page's first copy.
 */
export { api as ReconnectChannels, api as default, connect } from "./full.ts";
export { calculateBackoff } from "./backoff.ts";
export {
  ClosedError,
  FrameError,
  OutcomeUnknown,
  PayloadError,
  QueueOverflowError,
  Rejected,
  StateTransitionError,
} from "./errors.ts";
export { pagePositions } from "./page.ts";
export { persistOutbox, wipeOutbox } from "./persistence/index.ts";
export { uuid4 } from "./random.ts";
export { recorders } from "./recorder.ts";
export { describe } from "./sync.ts";
export { shareTabs } from "./tabs/index.ts";
export { telemetryRecorder } from "./telemetry.ts";

export type { Clock } from "./clock.ts";
export type { Entry, SnapshotReason, UnknownFrame } from "./frames.ts";
export type { NetworkSources } from "./network.ts";
export type { CoreApi } from "./api.ts";
export type { CoreOptions, Options } from "./options.ts";
export type {
  OpenStore,
  OutboxStore,
  QueueEntry,
  Receipt,
  Sending,
  StoreClient,
  StoredMessage,
} from "./item.ts";
export type { PersistOptions } from "./persistence/index.ts";
export type { Position } from "./position.ts";
export type {
  Client,
  ClientEvents,
  CoreClient,
  CoreEvents,
  CoreSubscription,
  Snapshot,
  Subscription,
} from "./public.ts";
export type { Random } from "./random.ts";
export type { Lost } from "./receipts.ts";
export type { Labels, Recorder, Report, Transition } from "./recorder.ts";
export type { TelemetryOptions } from "./telemetry.ts";
export type { State, StateChange } from "./state-machine.ts";
export type { CoreSubscribeOptions, EventsInfo, SnapshotInfo, SubscribeOptions } from "./stream.ts";
export type { SyncState } from "./sync.ts";
export type { Ending, OpenTransport, SocketConstructor, SocketLike, Transport, TransportEvents } from "./transport.ts";
export type { Role, TabInfo, Tabs } from "./sharing.ts";
export type { TabsEnvironment, TabsOptions } from "./tabs/index.ts";

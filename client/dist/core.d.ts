/* reconnect_channels, BSD-3-Clause */
import type { CoreApi } from "./index.js";
export declare const ReconnectChannels: CoreApi;
export default ReconnectChannels;
export declare const connect: CoreApi["connect"];
export { ClosedError, FrameError, OutcomeUnknown, PayloadError, QueueOverflowError, Rejected, StateTransitionError } from "./index.js";
export type {
  CoreClient as Client,
  CoreEvents as ClientEvents,
  CoreOptions as Options,
  CoreSubscribeOptions as SubscribeOptions,
  CoreSubscription as Subscription,
} from "./index.js";
export type * from "./index.js";

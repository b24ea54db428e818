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

export type * from "./types.ts";

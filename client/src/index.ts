/**
 * reconnect_channels: resumable, deduplicated WebSocket streams, one connection for all tabs of a browser.
 *
 * Loading it also sets `globalThis.ReconnectChannels`, for pages without modules. A second copy on the page (a bundle
 * beside the script tag) uses the first one's objects, so that `instanceof` and the list of clients hold.
 */
import { api } from "./full.ts";
import { shared } from "./shared.ts";

export const ReconnectChannels: typeof api = shared(api);

export const {
  connect,
  shareTabs,
  persistOutbox,
  wipeOutbox,
  pagePositions,
  recorders,
  telemetryRecorder,
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

/** The client without what several tabs, inspectors and measurements need. See `index.ts` for the whole. */
import { coreApi } from "./api.ts";
import { shared } from "./shared.ts";

export const ReconnectChannels: typeof coreApi = shared(coreApi);

export const {
  connect,
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

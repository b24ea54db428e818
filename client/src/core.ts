/** The client without what several tabs need: one socket a page, and nothing is persisted. See `index.ts` for the whole. */
import { api } from "./api.ts";
import { shared } from "./shared.ts";

export const ReconnectChannels: typeof api = shared(api);

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

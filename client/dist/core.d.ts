/* reconnect_channels, BSD-3-Clause */
import type { ReconnectChannels as Whole } from "./index.js";
export declare const ReconnectChannels: Pick<typeof Whole, "clients" | "ClosedError" | "FrameError" | "OutcomeUnknown" | "PayloadError" | "QueueOverflowError" | "Rejected" | "StateTransitionError" | "calculateBackoff" | "connect" | "describe" | "uuid4">;
export default ReconnectChannels;
export { ClosedError, FrameError, OutcomeUnknown, PayloadError, QueueOverflowError, Rejected, StateTransitionError, calculateBackoff, connect, describe, uuid4 } from "./index.js";
export type * from "./index.js";

import { createClient } from "./client.ts";
import {
  ClosedError,
  FrameError,
  OutcomeUnknown,
  PayloadError,
  QueueOverflowError,
  Rejected,
  StateTransitionError,
} from "./errors.ts";
import type { CoreOptions } from "./options.ts";
import type { CoreClient } from "./public.ts";

/** All that is public in the core. One object for a page, however many copies of this file it loads. */
export const coreApi = {
  /**
   * Connects to a consumer and keeps connected.
   *
   * @param url absolute, or relative to the page ("/ws/board/1/")
   * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
   */
  connect: (url: string | URL, options?: CoreOptions): CoreClient => createClient(url, options),
  StateTransitionError,
  QueueOverflowError,
  OutcomeUnknown,
  Rejected,
  ClosedError,
  PayloadError,
  FrameError,
};

export type CoreApi = typeof coreApi;

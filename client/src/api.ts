import { calculateBackoff } from "./backoff.ts";
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
import type { Options } from "./options.ts";
import type { Client } from "./public.ts";
import { uuid4 } from "./random.ts";
import { describe } from "./sync.ts";

/** The clients of this page that are not closed: for inspectors and bindings. */
const clients = new Set<Client>();

/**
 * Connects to a consumer and keeps connected.
 *
 * @param url absolute, or relative to the page ("/ws/board/1/")
 * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
 */
export function connect(url: string | URL, options?: Options): Client {
  return listed(createClient(url, options));
}

/** Counts it among the page's clients until it closes. */
export function listed(client: Client): Client {
  if (!client.signal.aborted) {
    clients.add(client);
    client.signal.addEventListener("abort", () => clients.delete(client));
  }
  return client;
}

/** All that is public. One object for a page, however many copies of this file it loads. */
export const api = {
  connect,
  clients: clients as ReadonlySet<Client>,
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
};

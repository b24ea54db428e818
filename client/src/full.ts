import { api as core, listed } from "./api.ts";
import { createClient } from "./client.ts";
import { hostOf } from "./host.ts";
import { createKeeper } from "./keeper.ts";
import type { Options } from "./options.ts";
import { pagePositions, pageSettings } from "./page.ts";
import type { Client } from "./public.ts";
import { persistOutbox, wipeOutbox } from "./persistence/index.ts";
import { recorders } from "./recorder.ts";
import { shareTabs } from "./tabs/index.ts";
import { telemetryRecorder } from "./telemetry.ts";

/**
 * Connects to a consumer and keeps connected; tabs of one login share the connection, unless `tabs` is false.
 *
 * @param url absolute, or relative to the page ("/ws/board/1/")
 * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
 */
export function connect(url: string | URL, options: Options = {}): Client {
  const page = pageSettings();
  const { tabs = shareTabs({ deltaUrl: page.deltaUrl }), key = page.key, store } = options;
  const client = createClient(
    url,
    { ...options, key },
    {
      share: tabs && ((link) => tabs(hostOf(link))),
      keep: store && ((given) => createKeeper(typeof store === "function" ? store(given) : store, given)),
    },
  );
  return listed(client);
}

/** All that is public. One object for a page, however many copies of this file it loads. */
export const api = { ...core, connect, shareTabs, persistOutbox, wipeOutbox, pagePositions, recorders, telemetryRecorder };

import { coreApi } from "./api.ts";
import { calculateBackoff } from "./backoff.ts";
import { createClient } from "./client.ts";
import { extend } from "./extend.ts";
import { diagnoseHandshakes } from "./handshake.ts";
import { hostOf } from "./host.ts";
import type { Inner } from "./inner.ts";
import { createKeeper, type Keeper } from "./keeper.ts";
import { recordMetrics } from "./metrics.ts";
import type { Options } from "./options.ts";
import { pagePositions, pageSettings } from "./page.ts";
import { watchPageLife } from "./page-life.ts";
import { persistOutbox, wipeOutbox } from "./persistence/index.ts";
import type { Client } from "./public.ts";
import { uuid4 } from "./random.ts";
import { environment, recorders, safeRecorder, type Report } from "./recorder.ts";
import { alone, type TabsLink } from "./sharing.ts";
import { strict } from "./strict.ts";
import { describe } from "./sync.ts";
import { shareTabs } from "./tabs/index.ts";
import { telemetryRecorder } from "./telemetry.ts";
import { createView } from "./view.ts";

/** The clients of this page that are not closed: for inspectors and bindings. */
const clients = new Set<Client>();

/**
 * Connects to a consumer and keeps connected; tabs of one login share the connection, unless `tabs` is false.
 *
 * @param url absolute, or relative to the page ("/ws/board/1/")
 * @throws TypeError for a URL that can't be used, RangeError for impossible backoff bounds
 */
export function connect(url: string | URL, options: Options = {}): Client {
  const page = pageSettings();
  const { tabs = shareTabs({ deltaUrl: page.deltaUrl }), key = page.key, store, networkAware = true, recorder } = options;
  let inner!: Inner;
  let link!: TabsLink;
  let keeper: Keeper | undefined;

  const client = createClient(
    url,
    { ...options, key },
    {
      share: (given) => (link = tabs ? tabs(hostOf(given, logout)) : alone(given)),
      keep: store && ((given) => (keeper = createKeeper(typeof store === "function" ? store(given) : store, given))),
      checking: strict,
      greeting: () => ({ client_id: link.clientId, term: link.term, traceparent: traceparent() }),
      prepare(made) {
        inner = made;
        const { settings, signal } = made;
        const view = createView(made, link);
        made.on("stateChange", ({ from, to }) => {
          const failed = to === "FAILED";
          if (failed || from === "FAILED") link.failed(failed);
        });
        keeper?.adopt(made);
        recordMetrics(made, safeRecorder(recorder));
        diagnoseHandshakes(made);
        if (networkAware) watchPageLife(networkAware, settings.clock, signal, made.connection);
        extend(made.client, {
          get sync() {
            return view.sync();
          },
          get snapshot() {
            return view.snapshot();
          },
          get role() {
            return link.role;
          },
          resign: link.resign,
          logout() {
            link.logout();
            logout();
          },
        });
      },
    },
  ) as Client;

  function logout(): void {
    inner.client.close(1000, "logout");
    keeper?.wipe().catch(inner.settings.error);
  }

  function traceparent(): string | undefined {
    try {
      return options.traceparent?.();
    } catch (cause) {
      inner.settings.error(cause);
      return undefined;
    }
  }

  try {
    const report: Report = (metrics, transitions) =>
      inner.connection.send(JSON.stringify({ type: "TELEMETRY", environment: environment(), metrics, transitions }));
    recorder?.attach?.(report);
    recorder?.follow?.(client);
  } catch (cause) {
    inner.settings.error(cause);
  }
  if (!client.signal.aborted) {
    clients.add(client);
    client.signal.addEventListener("abort", () => clients.delete(client));
  }
  return client;
}

/** All that is public. One object for a page, however many copies of this file it loads. */
export const api = {
  ...coreApi,
  connect,
  clients: clients as ReadonlySet<Client>,
  describe,
  calculateBackoff,
  uuid4,
  shareTabs,
  persistOutbox,
  wipeOutbox,
  pagePositions,
  recorders,
  telemetryRecorder,
};

import { after, type Clock } from "./clock.ts";

/** Why now may be a good time to try, or to look whether the connection still lives. */
export type WakeCause = "online" | "connection" | "visible" | "pageshow" | "resume" | "clock" | "user" | "tab";

/** What is watched; parts that an environment lacks are left out. */
export interface NetworkSources {
  readonly window?: EventTarget | undefined;
  readonly document?: (EventTarget & { readonly visibilityState?: string | undefined }) | undefined;
  readonly connection?: (EventTarget & { readonly type?: string | undefined }) | undefined;
}

/** The browser's own. */
export function browserSources(): NetworkSources {
  const { window, document, navigator } = globalThis as Partial<typeof globalThis>;
  return { window, document, connection: (navigator as { connection?: EventTarget } | undefined)?.connection };
}

export interface NetworkEvents {
  /** Try now, or probe (design 11.3). */
  wake(cause: WakeCause): void;
  /** The page goes into the back/forward cache or is frozen: its socket would die unseen. */
  suspend(cause: string): void;
}

const TICK_MS = 5_000;
/** A tick that comes later than this: the machine slept. Hidden pages get one tick a minute by design. */
const JUMP_MS = 20_000;
const HIDDEN_JUMP_MS = 90_000;

/**
 * Turns what a browser knows of network and page life into "wake" and "suspend".
 *
 * `navigator.onLine` is never asked: it is wrong behind VPNs in both directions.
 */
export function watchNetwork(
  sources: NetworkSources,
  clock: Clock,
  signal: AbortSignal,
  { wake, suspend }: NetworkEvents,
): void {
  const { window, document, connection } = sources;
  const listen = (target: EventTarget | undefined, type: string, run: (event: Event) => void) =>
    target?.addEventListener(type, run, { signal });

  listen(window, "online", () => wake("online"));
  listen(window, "pageshow", () => wake("pageshow"));
  listen(window, "pagehide", () => suspend("pagehide"));
  listen(document, "visibilitychange", () => {
    if (document?.visibilityState === "visible") wake("visible");
  });
  // These two are dispatched at the document and don't bubble: a listener at the window hears nothing.
  listen(document, "freeze", () => suspend("freeze"));
  listen(document, "resume", () => wake("resume"));

  let type = connection?.type;
  listen(connection, "change", () => {
    // `change` also reports new estimates of speed. Where the type is known, only a new one counts.
    const before = type;
    type = connection?.type;
    if (type === undefined || type !== before) wake("connection");
  });

  let last = clock.wall();
  const tick = () => {
    const gap = clock.wall() - last;
    last += gap;
    const hidden = document?.visibilityState === "hidden";
    if (gap < 0 || gap > (hidden ? HIDDEN_JUMP_MS : JUMP_MS)) wake("clock");
    after(clock, TICK_MS, signal, tick);
  };
  after(clock, TICK_MS, signal, tick);
}

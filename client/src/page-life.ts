import { after, type Clock } from "./clock.ts";
import type { NetworkSources, WakeCause } from "./network.ts";

export interface PageLifeEvents {
  /** Try now, or probe (design 11.3). */
  wake(cause: WakeCause): void;
  /** The page goes into the back/forward cache or is frozen: its socket would die unseen. */
  suspend(cause: string): void;
}

const TICK_MS = 5_000;
/** A tick that comes later than this: the machine slept. Hidden pages get one tick a minute by design. */
const JUMP_MS = 20_000;
const HIDDEN_JUMP_MS = 90_000;

/** The browser's own. */
function browserSources(): NetworkSources {
  const { window, document, navigator } = globalThis as Partial<typeof globalThis>;
  return { window, document, connection: (navigator as { connection?: EventTarget } | undefined)?.connection };
}

/** Turns what a browser knows of page life, of another network and of machines that slept into "wake" and "suspend". */
export function watchPageLife(
  given: true | NetworkSources,
  clock: Clock,
  signal: AbortSignal,
  { wake, suspend }: PageLifeEvents,
): void {
  const { window, document, connection } = given === true ? browserSources() : given;
  const listen = (target: EventTarget | undefined, type: string, run: (event: Event) => void) =>
    target?.addEventListener(type, run, { signal });

  listen(window, "pageshow", () => wake("pageshow"));
  listen(window, "pagehide", () => suspend("pagehide"));
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

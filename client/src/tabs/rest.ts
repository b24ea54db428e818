import { after } from "../clock.ts";
import type { TabsHost, TabsLink } from "../sharing.ts";
import type { TabsEnvironment } from "./environment.ts";

const LOOK_MS = 5_000;

/**
 * Lets the connection rest while nobody looks at any of the tabs.
 *
 * @param afterMs undefined: never
 */
export function watchRest(
  { clock, document }: TabsEnvironment,
  host: TabsHost,
  link: TabsLink,
  afterMs: number | undefined,
): void {
  if (afterMs === undefined) return;
  let seenAt = clock.now();
  let resting = false;

  const seen = () => document?.visibilityState !== "hidden" || link.tabs.some(({ visible, mine }) => visible && !mine);
  const look = () => {
    if (seen()) {
      seenAt = clock.now();
      if (resting) host.wake("visible");
      resting = false;
    } else if (!resting && clock.now() - seenAt >= afterMs && (link.role === "leader" || link.role === "solo")) {
      resting = true;
      host.suspend("nobody looks");
    }
  };
  const tick = () => {
    look();
    after(clock, Math.min(LOOK_MS, afterMs), host.signal, tick);
  };
  tick();
  document?.addEventListener("visibilitychange", look, { signal: host.signal });
}

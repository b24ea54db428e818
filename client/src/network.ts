/** Why now may be a good time to try, or to look whether the connection still lives. */
export type WakeCause = "online" | "connection" | "visible" | "pageshow" | "resume" | "clock" | "user" | "tab";

/** What is watched; parts that an environment lacks are left out. */
export interface NetworkSources {
  readonly window?: EventTarget | undefined;
  readonly document?: (EventTarget & { readonly visibilityState?: string | undefined }) | undefined;
  readonly connection?: (EventTarget & { readonly type?: string | undefined }) | undefined;
}

/**
 * Says when now may be a good time: the network is back, somebody looks.
 *
 * `navigator.onLine` is never asked: it is wrong behind VPNs in both directions.
 */
export function watchNetwork(given: true | NetworkSources, signal: AbortSignal, wake: (cause: WakeCause) => void): void {
  const { window, document }: NetworkSources = given === true ? globalThis : given;
  window?.addEventListener("online", () => wake("online"), { signal });
  document?.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible") wake("visible");
    },
    { signal },
  );
}

import type { WirePosition } from "./position.ts";

/** What Django's template tags wrote on the page: data, never code, so that any content security policy allows it. */
export interface PageSettings {
  /** The opaque identity key of whoever is logged in. */
  readonly key: string | undefined;
  /** Where deltas are served over HTTP, with STREAM for the name. */
  readonly deltaUrl: string | undefined;
}

/** Of `{% reconnect_client %}`. */
export function pageSettings(page = globalThis.document as Document | undefined): PageSettings {
  const data = page?.querySelector<HTMLElement>("script[data-reconnect-channels]")?.dataset;
  return { key: data?.["key"] || undefined, deltaUrl: data?.["delta"] || undefined };
}

/**
 * The positions that `{% reconnect_positions %}` wrote: where the state stands that the page came with. For `subscribe`'s
 * `position`, so that nothing is missed between rendering and connecting, and nothing is fetched twice.
 */
export function pagePositions(page = globalThis.document as Document | undefined): Readonly<Record<string, WirePosition>> {
  const found: Record<string, WirePosition> = {};
  for (const { textContent } of page?.querySelectorAll("script[data-reconnect-positions]") ?? []) {
    try {
      Object.assign(found, JSON.parse(textContent ?? ""));
    } catch {
      // Somebody else's data.
    }
  }
  return found;
}

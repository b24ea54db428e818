import { computed, shallowRef, toValue, watch } from "vue";
import type { ComputedRef, MaybeRefOrGetter } from "vue";
import type { Sending } from "./item.ts";
import { keyOf, lease, NO_CLIENT, viewOf } from "./lease.ts";
import type { ClientView, Lease, SharedOptions } from "./lease.ts";
import type { SubscribeOptions } from "./stream.ts";

export interface ResilientWSOptions extends SharedOptions, Omit<SubscribeOptions, "signal"> {
  /** The stream to follow and to send to. */
  readonly stream?: MaybeRefOrGetter<string | undefined> | undefined;
}

/** What `useResilientWS` returns: every part of the view as a ref. */
export type ResilientWS = { readonly [Name in keyof ClientView]: ComputedRef<ClientView[Name]> } & {
  /** As `client.send`. What was not sent when the scope ends is withdrawn: its promise rejects with an AbortError. */
  readonly send: (payload: unknown, stream?: string) => Sending;
};

/**
 * A connection for as long as the component, or effect scope, lives. Those with the same URL and `key` share one client,
 * made with the options of the first; the last one closes it with 1000 `unmount`. Entries come by `onSnapshot` and
 * `onEvents` and change no ref.
 *
 * @param url as for `connect`; a ref or getter may change
 */
export function useResilientWS(
  url: MaybeRefOrGetter<string>,
  { stream, onSnapshot, onEvents, onSync, ...options }: ResilientWSOptions = {},
): ResilientWS {
  const view = shallowRef(NO_CLIENT);
  const handlers = { onSnapshot, onEvents, onSync } as SubscribeOptions;
  let held: Lease | null = null;
  let heldKey = "";
  const follow = ([address, name]: readonly [string, string | undefined], _: unknown, onCleanup: (run: () => void) => void) => {
    const key = keyOf(address, options);
    if (!held || heldKey !== key || held.signal.aborted) held = lease((heldKey = key), address, options);
    const { client, release } = held;
    held.take();
    const changed = () => (view.value = viewOf(key));
    const ends = [client.on("change", changed), client.on("queueChange", changed), release];
    if (name && !client.signal.aborted) ends.push(client.subscribe(name, handlers).close);
    onCleanup(() => ends.forEach((end) => end()));
    changed();
  };
  // A server renders without a connection.
  if (typeof window !== "undefined") watch(() => [toValue(url), toValue(stream)] as const, follow, { immediate: true });
  const send = (payload: unknown, name = toValue(stream)) =>
    held ? held.client.send(name!, payload, held) : Object.assign(Promise.reject(new Error("not connected")), { id: "" });
  const names = Object.keys(NO_CLIENT) as (keyof ClientView)[];
  const refs = Object.fromEntries(names.map((name) => [name, computed(() => view.value[name])]));
  return { ...refs, send } as unknown as ResilientWS;
}

import { useCallback, useDebugValue, useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Sending } from "./item.ts";
import { keyOf, lease, NO_CLIENT, viewOf } from "./lease.ts";
import type { ClientView, Lease, SharedOptions } from "./lease.ts";
import type { Client } from "./public.ts";
import type { SubscribeOptions } from "./stream.ts";

/** What a component does with a stream. Functions may be new in every render: the newest is called. */
export type StreamHandlers = Omit<SubscribeOptions, "signal">;

/** Options of `useResilientWS`: of the stream, and those of `connect`. */
export interface ResilientWSOptions extends SharedOptions, StreamHandlers {
  /** The stream to follow and to send to. */
  readonly stream?: string | undefined;
  /** False: no client. True by default. */
  readonly enabled?: boolean | undefined;
}


/** What `useResilientWS` returns. */
export interface ResilientWS extends ClientView {
  /**
   * Sends as `client.send` does. The same function while URL, `key` and `stream` are the same. What was not sent when the
   * component unmounts is withdrawn: its promise rejects with an AbortError.
   *
   * @param stream another one than that of the options
   * @throws Error while the hook is not enabled
   */
  readonly send: (payload: unknown, stream?: string) => Sending;
}

/**
 * Follows a stream of a client that the component got from `useResilientWS` or made itself.
 *
 * @param client null or closed: nothing happens
 * @param name undefined: nothing happens
 */
export function useStream(client: Client | null, name: string | undefined, handlers: StreamHandlers): void {
  const latest = useRef(handlers);
  // Before all other effects of the commit, so that none of them meets the handlers of an older render.
  useInsertionEffect(() => {
    latest.current = handlers;
  });
  useEffect(() => {
    if (!client || !name || client.signal.aborted) return;
    return client.subscribe(name, {
      position: latest.current.position,
      onSnapshot: (...args) => latest.current.onSnapshot?.(...args),
      onEvents: (...args) => latest.current.onEvents?.(...args),
      onSync: (...args) => latest.current.onSync?.(...args),
    }).close;
  }, [client, name]);
}

/**
 * A connection for as long as the component is mounted. Components with the same URL and `key` share one client, made with
 * the options of the first; when the last one unmounts, it closes with 1000 `unmount`.
 *
 * Entries come by `onSnapshot` and `onEvents` and render nothing; the component renders when the connection's state, its
 * freshness or its queue change.
 *
 * @param url as for `connect`
 */
export function useResilientWS(url: string, options: ResilientWSOptions = {}): ResilientWS {
  const { stream, enabled = true, ...connecting } = options;
  const key = enabled ? keyOf(url, connecting) : "";
  const [subscribe, sendTo] = useMemo(() => {
    let held: Lease | undefined;
    const hold = () => (held = lease(key, url, connecting));
    return [
      (changed: () => void) => {
        if (!key) return () => {};
        const { client, take, release } = !held || held.signal.aborted ? hold() : held;
        take();
        client.on("change", changed, held);
        client.on("queueChange", changed, held);
        return release;
      },
      // A child's effect may send before this component's own effect takes the lease.
      (payload: unknown, name: string) => (held ?? hold()).client.send(name, payload, held),
    ] as const;
  }, [key]);
  const view = useSyncExternalStore(subscribe, () => viewOf(key), () => NO_CLIENT);
  useStream(view.client, stream, options);
  const send = useCallback((payload: unknown, name = stream) => sendTo(payload, name!), [sendTo, stream]);
  useDebugValue(view, (shown) => ({ ...shown, streams: shown.client?.snapshot.streams }));
  return { ...view, send };
}

export type { ClientView, SharedOptions };

import { onAbort } from "./signals.ts";

/** Unsubscribes. Calling it again does nothing. */
export type Off = () => void;

/** Typed events. A listener that throws hurts neither the others nor the emitter. */
export interface Emitter<Events extends object> {
  on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void, signal?: AbortSignal): Off;
  /** @returns whether anybody listened */
  emit<K extends keyof Events>(event: K, value: Events[K]): boolean;
  clear(): void;
}

export function createEmitter<Events extends object>(onThrow: (error: unknown) => void): Emitter<Events> {
  const listeners = new Map<Off, { readonly event: keyof Events; readonly listener: (value: never) => void }>();

  return {
    on(event, listener, signal) {
      const off = () => {
        listeners.delete(off);
        detach();
      };
      const detach = onAbort(signal, off);
      if (!signal?.aborted) listeners.set(off, { event, listener });
      return off;
    },

    emit(event, value) {
      let heard = false;
      for (const entry of [...listeners.values()]) {
        if (entry.event !== event) continue;
        heard = true;
        try {
          entry.listener(value as never);
        } catch (error) {
          onThrow(error);
        }
      }
      return heard;
    },

    clear() {
      for (const off of [...listeners.keys()]) off();
    },
  };
}

/** Unsubscribes. Calling it again does nothing. */
export type Off = () => void;

/** Typed events. A listener that throws hurts neither the others nor the emitter. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>();
  readonly #offs = new Set<Off>();
  readonly #onThrow: (error: unknown) => void;

  constructor(onThrow: (error: unknown) => void) {
    this.#onThrow = onThrow;
  }

  on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void, signal?: AbortSignal): Off {
    if (signal?.aborted) return () => {};
    // Wrapped, so that a function registered twice is called twice and removed once.
    const entry = (value: Events[K]) => listener(value);
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(entry));
    const off = () => {
      listeners.delete(entry);
      this.#offs.delete(off);
      signal?.removeEventListener("abort", off);
    };
    signal?.addEventListener("abort", off);
    this.#offs.add(off);
    return off;
  }

  /** @returns whether anybody listened */
  emit<K extends keyof Events>(event: K, value: Events[K]): boolean {
    const listeners = this.#listeners.get(event);
    if (!listeners?.size) return false;
    for (const listener of [...listeners]) {
      try {
        (listener as (value: Events[K]) => void)(value);
      } catch (error) {
        this.#onThrow(error);
      }
    }
    return true;
  }

  clear(): void {
    for (const off of [...this.#offs]) off();
  }
}

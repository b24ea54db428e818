import type { OutboxStore } from "./item.ts";

type Method<K extends keyof OutboxStore> = NonNullable<OutboxStore[K]>;
type Answer<T> = T extends Promise<infer V> ? Promise<V | void> : T;

/** Calls a method that a store may have; @returns its answer, undefined where it has none. */
export type AskStore = <K extends keyof OutboxStore>(
  name: K,
  ...given: Parameters<Method<K>>
) => Answer<ReturnType<Method<K>>> | undefined;

/** A store whose faults are reported, and hurt nothing else. */
export function safeStore(store: OutboxStore | undefined, error: (cause: unknown) => void): AskStore {
  return (name, ...given) => {
    try {
      const answer = (store?.[name] as ((...given: unknown[]) => unknown) | undefined)?.apply(store, given);
      return (answer instanceof Promise ? answer.catch(error) : answer) as never;
    } catch (cause) {
      error(cause);
      return undefined;
    }
  };
}

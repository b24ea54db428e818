import type { PersistenceEvents, StoredMessage } from "./item.ts";
import { unsent, view, type Item } from "./lane.ts";
import type { Queue } from "./queue.ts";
import { uuid4 } from "./random.ts";
import type { SafeStore } from "./safe-store.ts";

/** How the application hears of it. */
export interface Told {
  emit<K extends keyof PersistenceEvents>(event: K, value: PersistenceEvents[K]): boolean;
  error(cause: unknown): void;
}

/**
 * Brings messages of pages that are gone from the store into the queue. They go out as they would have there: the same
 * id, and the same producer and number where they have them.
 *
 * @param changed called when some came
 * @returns looks for them; several calls at a time are one
 */
export function createAdopting(
  queue: Queue,
  store: SafeStore,
  { emit, error }: Told,
  changed: () => void,
): { adopt(): void; stop(): void } {
  let looking = false;
  let over = false;

  function restorable(message: StoredMessage): Omit<Item, "lane"> {
    const refuse = (cause: unknown) => {
      emit("undelivered", { entry: view(item), reason: cause instanceof Error ? cause.message : String(cause) });
    };
    const item = { ...message, value: JSON.parse(message.text), restored: true, resolve() {}, reject: refuse, ...unsent() };
    return item;
  }

  /** @returns whether it was not here already: a page that slept finds its own messages in the store */
  function restore(message: StoredMessage): boolean {
    if (queue.items.has(message.id)) return false;
    // Whoever numbered the older ones may live, and go on: what was never numbered gets another producer's numbers.
    const lane = queue.lane(`${message.origin} ${message.stream}`, message.stream, uuid4());
    queue.restore({ ...restorable(message), lane });
    return true;
  }

  async function look(): Promise<void> {
    const adoption = await store.adopt();
    // After the end they are orphans again.
    if (!adoption || over) return;
    const count = adoption.messages.filter(restore).length;
    for (const { message, reason } of adoption.refused) emit("undelivered", { entry: view(restorable(message)), reason });
    if (!count) return;
    emit("restored", { count });
    changed();
  }

  return {
    adopt() {
      if (looking || over) return;
      looking = true;
      look()
        .catch(error)
        .then(() => {
          looking = false;
        });
    },
    stop() {
      over = true;
    },
  };
}

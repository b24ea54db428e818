import type { StoreClient, StoredMessage } from "./item.ts";
import { unsent, view, type Item } from "./lane.ts";
import type { Queue } from "./queue.ts";
import { uuid4 } from "./random.ts";
import type { AskStore } from "./safe-store.ts";

/**
 * Brings messages of pages that are gone from the store into the queue. They go out as they would have there: the same
 * id, and the same producer and number where they have them.
 *
 * @param came called when some did, unless the outbox ended meanwhile: then they are orphans again
 * @returns looks for them; several calls at a time are one
 */
export function createAdopting(
  queue: Queue,
  ask: AskStore,
  { emit }: Pick<StoreClient, "emit">,
  { over, came }: { over(): boolean; came(): void },
): () => void {
  let looking = false;

  /** @returns whether it was not here already: a page that slept finds its own messages in the store */
  function restore(message: StoredMessage): boolean {
    if (queue.items.has(message.id)) return false;
    // Whoever numbered the older ones may live, and go on: what was never numbered gets another producer's numbers.
    const lane = queue.lane(`${message.origin} ${message.stream}`, message.stream, uuid4());
    const reject = (cause: unknown) => {
      emit("undelivered", { entry: view(item), reason: (cause as Error).message });
    };
    const item: Item = {
      ...message,
      lane,
      value: JSON.parse(message.text),
      restored: true,
      resolve() {},
      reject,
      ...unsent(),
    };
    queue.restore(item);
    return true;
  }

  return async () => {
    if (looking || over()) return;
    looking = true;
    const messages = await ask("adopt");
    looking = false;
    if (!messages || over()) return;
    const count = messages.filter(restore).length;
    if (!count) return;
    emit("restored", { count });
    came();
  };
}

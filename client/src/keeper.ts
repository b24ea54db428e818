import { createAdopting } from "./adopting.ts";
import { after } from "./clock.ts";
import type { Inner } from "./inner.ts";
import type { OutboxStore, StoreClient, StoredMessage } from "./item.ts";
import type { Item } from "./lane.ts";
import { safeStore } from "./safe-store.ts";

/** How often is looked for messages of pages that are gone, while connected. */
const ADOPT_EVERY_MS = 30_000;

/** Keeps what waits in an outbox where it survives the page. What it can't keep is reported, and sent all the same. */
export interface Keeper {
  /** @returns a promise, if the message must not go out before it settles */
  save(item: Item): Promise<void> | void;
  remove(id: string): void;
  /** Whether the message would survive this page. */
  holds(id: string): boolean;
  /** Whether another page may have taken it over. */
  exposed(id: string): boolean;
  /** This page gives up what is left. */
  release(): void;
  close(): void;
  /** Deletes all of the user. */
  wipe(): Promise<void>;
  /** Looks for messages of pages that are gone: at once, with every connection, and now and then while it stands. */
  adopt(inner: Inner): void;
}

/** Keeps messages in a store. */
export function createKeeper(store: OutboxStore, { clock, emit, error }: StoreClient): Keeper {
  const ask = safeStore(store, error);
  return {
    save: (item) => ask("save", stored(item)),
    remove: (id) => ask("remove", id),
    holds: (id) => ask("holds", id) === true,
    exposed: (id) => ask("exposed", id) === true,
    release: () => ask("release"),
    close: () => ask("close"),
    wipe: async () => ask("wipe"),

    adopt({ outbox, roster, signal, on }) {
      const look = createAdopting(outbox.messages, ask, { emit }, { over: () => signal.aborted, came: outbox.changed });
      const lookOften = (link: AbortSignal) => {
        look();
        if (store.adopt) after(clock, ADOPT_EVERY_MS, link, () => lookOften(link));
      };
      look();
      on("flush", () => lookOften(roster.link!));
    },
  };
}

/** What a store keeps of an item. */
function stored({ id, stream, text, bytes, createdAt, origin, order, producer, n }: Item): StoredMessage {
  return { id, stream, text, bytes, createdAt, origin, order, producer, n };
}

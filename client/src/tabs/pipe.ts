/** What tabs of one name say to each other: in order, to all others, kept for nobody. */
export interface Pipe {
  post(data: unknown): void;
  close(): void;
}

/** A BroadcastChannel, or storage events where that is missing; undefined where both are. */
export function openPipe(
  name: string,
  received: (data: unknown) => void,
  storage: Storage | undefined,
): Pipe | undefined {
  if (typeof BroadcastChannel === "function") {
    try {
      const channel = new BroadcastChannel(name);
      channel.onmessage = ({ data }) => received(data);
      return {
        post: (data) => channel.postMessage(data),
        close() {
          channel.onmessage = null;
          channel.close();
        },
      };
    } catch {
      // An opaque origin has the class and not the right.
    }
  }
  return storage && storagePipe(`${name}:pipe`, received, storage);
}

function storagePipe(key: string, received: (data: unknown) => void, storage: Storage): Pipe {
  const listen = (event: StorageEvent) => {
    if (event.key !== key || !event.newValue) return;
    try {
      received(JSON.parse(event.newValue).data);
    } catch {
      // Not ours.
    }
  };
  addEventListener("storage", listen);
  let count = 0;
  return {
    post(data) {
      // The same value twice would be no event.
      storage.setItem(key, JSON.stringify({ data, count: ++count, at: performance.now() }));
      storage.removeItem(key);
    },
    close: () => removeEventListener("storage", listen),
  };
}

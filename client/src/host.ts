import type { Link } from "./client.ts";
import { isStream } from "./payload.ts";
import type { TabsHost } from "./sharing.ts";

/** What tab sharing sees of a client. */
export function hostOf({ connection, roster, ...client }: Link, logout: () => void): TabsHost {
  const { streams } = roster;
  return {
    ...client,
    logout,
    restart: (reason) => connection().restart(reason),
    retry: () => connection().retry(),
    wake: (cause) => connection().wake(cause),
    suspend: (cause) => connection().suspend(cause),
    waiting() {
      const { attempt, retryAt } = connection();
      return { attempt, retryAt };
    },
    at(name) {
      const stream = streams.get(name);
      return stream && { position: stream.cursor.position, live: stream.live };
    },
    hold(name, claim, anew) {
      let stream = streams.get(name);
      if (!stream) {
        stream = isStream(name) ? roster.enter(name, claim) : undefined;
        if (!stream) return false;
      } else if (anew) {
        stream.wantsSnapshot = true;
        roster.want(stream);
      }
      return (stream.held = true);
    },
    release(name) {
      const stream = streams.get(name);
      if (!stream) return;
      stream.held = false;
      roster.unused(stream);
    },
  };
}

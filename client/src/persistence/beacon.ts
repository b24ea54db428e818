import { holdLock } from "../held-lock.ts";
import { uuid4 } from "../random.ts";
import type { Channel, PersistenceEnvironment } from "./environment.ts";

/** How long pages are waited for that say that they live, where there are no locks. */
const ANSWER_MS = 300;

/** Shows other pages that this one lives, and tells which of them do. */
export interface Beacon {
  /** This page's name among the owners of stored messages. */
  readonly id: string;
  /** Resolves once others can see it. */
  lit(): Promise<unknown>;
  /**
   * Which of these live. One that doesn't may still be frozen, or in the back/forward cache: it puts its beacon out
   * when it goes there, and lights it again when it comes back.
   */
  living(owners: readonly string[]): Promise<ReadonlySet<string>>;
  stop(): void;
}

/** @param putOut called when the page goes to sleep: from then on others may take what it owns */
export function lightBeacon(environment: PersistenceEnvironment, scope: string, putOut: () => void): Beacon {
  const { locks, window, document } = environment;
  const id = uuid4();
  const life = new AbortController();
  const { signal } = life;
  const light = locks ? byLock(locks, scope, id) : byChannel(environment, scope, id);
  let lit: Promise<unknown> = light.on();

  const out = () => {
    light.off();
    putOut();
  };
  const relight = () => {
    light.off();
    lit = light.on();
  };
  window?.addEventListener("pagehide", out, { signal });
  window?.addEventListener("pageshow", (event) => (event as PageTransitionEvent).persisted && relight(), { signal });
  // These don't bubble up to the window.
  document?.addEventListener("freeze", out, { signal });
  document?.addEventListener("resume", relight, { signal });

  return {
    id,
    lit: () => lit,
    living: light.living,
    stop() {
      life.abort();
      light.off();
    },
  };
}

interface Light {
  on(): Promise<unknown>;
  off(): void;
  living: Beacon["living"];
}

/** The browser releases a lock when its page is gone, however it went. */
function byLock(locks: Pick<LockManager, "request" | "query">, scope: string, id: string): Light {
  const name = (owner: string) => `${scope}:outbox:${owner}`;
  let release = () => {};
  return {
    // Refused or stolen: then others take what is stored here, and the server keeps out what comes twice.
    on: () => new Promise<void>((lit) => (release = holdLock(locks, name(id), lit))),
    off: () => release(),
    async living(owners) {
      const { held = [] } = await locks.query();
      const names = new Set(held.map((lock) => lock.name));
      return new Set(owners.filter((owner) => names.has(name(owner))));
    },
  };
}

/** Without locks pages are asked. Who can't be asked counts as gone: sent twice is answered twice, and done once. */
function byChannel({ openChannel, clock }: PersistenceEnvironment, scope: string, id: string): Light {
  let channel: Channel | undefined;
  /** While this page asks. */
  let heard: Set<string> | null = null;
  return {
    async on() {
      try {
        channel = openChannel(`${scope}:outbox`);
      } catch {
        // Forbidden here: nobody can be asked.
      }
      if (!channel) return;
      channel.onmessage = ({ data }: MessageEvent) => {
        if (typeof data === "string") heard?.add(data);
        else channel?.postMessage(id);
      };
    },
    off() {
      channel?.close();
      channel = undefined;
    },
    async living() {
      if (!channel) return new Set();
      const answers = (heard = new Set<string>());
      channel.postMessage(null);
      await new Promise<void>((resolve) => clock.setTimeout(resolve, ANSWER_MS));
      heard = null;
      return answers;
    },
  };
}

import { after } from "./clock.ts";
import type { End } from "./comeback.ts";
import type { AttemptEnd } from "./inner.ts";
import type { Settings } from "./settings.ts";
import type { Ending, OpenTransport, Transport } from "./transport.ts";

export interface AttemptEvents {
  /** The HELLO, encoded. */
  hello(): string;
  received(data: unknown): void;
  ended(ending: Ending): void;
}

/** One socket, from the attempt to open it to its end. Nothing is told of one that was let go. */
export interface Attempt {
  readonly opened: boolean;
  /** Milliseconds. */
  age(): number;
  start(open: OpenTransport, events: AttemptEvents): void;
  send(text: string): boolean;
  /** How the attempt to connect came out, and which end it had; it has no time limit any more. */
  settle(outcome: AttemptEnd["outcome"], end?: End): void;
  letGo(code: number, reason: string): void;
}

export function createAttempt({ clock, connectTimeoutMs, emit, error }: Settings): Attempt {
  const startedAt = clock.now();
  /** Ends the wait for WELCOME. */
  const opening = new AbortController();
  let transport: Transport | null = null;
  let opened = false;
  let over = false;

  const age = () => clock.now() - startedAt;
  const send = (text: string) => transport?.send(text) ?? false;

  return {
    get opened() {
      return opened;
    },
    age,
    send,

    start(open, { hello, received, ended }) {
      const end = (ending: Ending) => {
        if (!over) ended(ending);
      };
      after(clock, connectTimeoutMs, opening.signal, () => {
        if (!transport?.patient) end({ code: 1006, reason: "connect timeout" });
      });
      try {
        transport = open({
          opened() {
            if (over) return;
            opened = true;
            send(hello());
          },
          received(data) {
            if (!over) received(data);
          },
          ended: end,
        });
      } catch (cause) {
        // Mixed content, a blocked port, a content security policy: thrown, not evented.
        error(cause);
        end({ code: 1006, reason: String(cause) });
      }
    },

    settle(outcome, end) {
      opening.abort();
      emit("attempt", { outcome, ms: age(), opened, end });
    },

    letGo(code, reason) {
      over = true;
      opening.abort();
      transport?.close(code, reason);
    },
  };
}

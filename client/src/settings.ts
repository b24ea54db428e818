import type { Clock } from "./clock.ts";
import type { Keeper } from "./keeper.ts";
import type { LamportClock } from "./lamport.ts";
import type { PayloadCheck } from "./payload.ts";
import type { Random } from "./random.ts";
import type { InnerEvents } from "./inner.ts";

/** What the parts of a client work with: its options, completed. None of the functions throws. */
export interface Settings {
  readonly clientId: string;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly connectTimeoutMs: number;
  readonly stableMs: number;
  readonly maxAttempts: number;
  readonly maxQueue: number;
  readonly maxQueueBytes: number;
  readonly keeper: Keeper | undefined;
  readonly checking: (() => PayloadCheck) | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly lamport: LamportClock;
  /** Tells the application and what extends the client; @returns whether anybody listens. */
  emit<K extends keyof InnerEvents>(event: K, value: InnerEvents[K]): boolean;
  /** Emits an error, or logs it where nobody listens. */
  error(error: unknown): void;
  /** Something that people may see changed. */
  changed(): void;
}

import { StateTransitionError } from "./errors.ts";
import type { Settings } from "./settings.ts";

/** The states of a connection, the blueprint's. CONNECTED means that WELCOME came. */
export type State = "DISCONNECTED" | "RECONNECTING" | "CONNECTED" | "FAILED";

/** What `stateChange` tells. */
export interface StateChange {
  readonly from: State;
  readonly to: State;
  /** Why, for people and logs. */
  readonly reason: string;
}

/** The legal transitions (design 11.1); everything else throws. */
export const TRANSITIONS: Readonly<Record<State, readonly State[]>> = {
  DISCONNECTED: ["RECONNECTING"],
  RECONNECTING: ["CONNECTED", "FAILED", "DISCONNECTED"],
  CONNECTED: ["DISCONNECTED"],
  FAILED: ["DISCONNECTED"],
};

/**
 * The connection's state. Each state owns a scope, an AbortSignal that is aborted when the state is left:
 * timers and listeners that belong to a state can't outlive it.
 */
export class StateMachine {
  state: State = "DISCONNECTED";
  #scope = new AbortController();
  readonly #emit: Settings["emit"];
  readonly #onChange: (change: StateChange) => void;

  constructor(emit: Settings["emit"], onChange: (change: StateChange) => void) {
    this.#emit = emit;
    this.#onChange = onChange;
  }

  /** Aborted when the present state is left. */
  get signal(): AbortSignal {
    return this.#scope.signal;
  }

  /**
   * Goes to `to`; staying is a no-op.
   *
   * @throws StateTransitionError when the table doesn't list it; the state stays.
   */
  transition(to: State, reason: string): void {
    const from = this.state;
    if (from === to) return;
    if (!TRANSITIONS[from].includes(to)) {
      this.#emit("illegal", { from, to });
      throw new StateTransitionError(from, to);
    }
    const left = this.#scope;
    // The new scope stands before the old one ends: what the abort wakes up sees the new state.
    this.#scope = new AbortController();
    this.state = to;
    try {
      left.abort(reason);
    } catch {
      // A listener that throws must not stop the transition half-way.
    }
    this.#onChange({ from, to, reason });
  }
}

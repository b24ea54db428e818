import { seededRandom } from "./loop.ts";

/** How often each kind of command comes, and how long the simulation goes on after it, in milliseconds at most. */
const KINDS = {
  open: [6, 2_000],
  /** One more client in a page that has one. */
  twin: [0.5, 1_000],
  close: [3, 1_500],
  reload: [2, 1_500],
  crash: [2, 1_500],
  freeze: [3, 3_000],
  resume: [5, 1_500],
  cache: [3, 3_000],
  restore: [4, 1_500],
  /** The main thread is busy for as long as the next command takes, and longer. */
  block: [2, 4_000],
  hide: [3, 500],
  show: [3, 500],
  send: [30, 300],
  /** Several at once. */
  burst: [4, 300],
  publish: [12, 300],
  /** An entry that the server doesn't push: a PING will tell of it. */
  unpushed: [0.5, 300],
  /** The log was restored from a backup: another epoch. */
  epoch: [0.3, 1_000],
  subscribe: [4, 300],
  unsubscribe: [2, 300],
  /** The leader gives the connection away. */
  resign: [2, 1_000],
  /** The network comes and goes; "mute" is the cable pulled. */
  down: [1, 4_000],
  mute: [1, 9_000],
  up: [3, 1_000],
  /** A proxy ends one connection. */
  drop: [3, 1_000],
  online: [1, 500],
  logout: [0.5, 1_500],
  login: [1, 1_500],
  /** The application, or the user, empties the storage. */
  clear: [0.3, 500],
  wait: [4, 20_000],
} as const;

export type Kind = keyof typeof KINDS;

/** One step of a walk. `pick` chooses the tab among those that it applies to. */
export interface Command {
  readonly do: Kind;
  readonly pick: number;
  /** How long the simulation goes on afterwards, in milliseconds. */
  readonly ms: number;
}

/** The walk of a seed. Each has its own mixture of commands, some of them left out: extremes find more than averages. */
export function commandsOf(seed: number): Command[] {
  const random = seededRandom(seed * 7919 + 1);
  const kinds = Object.keys(KINDS) as Kind[];
  const weights = kinds.map((kind) => KINDS[kind][0] * (random() < 0.2 ? 0 : 0.3 + 2 * random() ** 2));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const haste = random();
  const next = (): Command => {
    let at = random() * total;
    const kind = kinds[weights.findIndex((weight) => (at -= weight) < 0)] ?? "wait";
    // Often at once, so that things cross; now and then long.
    const ms = random() < haste ? Math.floor(random() * 20) : Math.floor(random() ** 2 * KINDS[kind][1]);
    return { do: kind, pick: Math.floor(random() * 60), ms };
  };
  const length = random() < 0.1 ? 150 : 15 + Math.floor(random() * 50);
  const first = [1, 2, 3].map((pick): Command => ({ do: "open", pick, ms: Math.floor(random() * 600) }));
  return [...first, ...Array.from({ length }, next)];
}

/** The shortest list, found within `budgetMs`, with which `fails` still holds. */
export async function shrink(
  commands: readonly Command[],
  fails: (commands: readonly Command[]) => Promise<boolean>,
  budgetMs: number,
): Promise<readonly Command[]> {
  const until = performance.now() + budgetMs;
  let best = commands;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < best.length; ) {
      if (performance.now() > until) return best;
      const shorter = [...best.slice(0, from), ...best.slice(from + size)];
      if (await fails(shorter)) best = shorter;
      else from += size;
    }
  }
  return best;
}

export const print = ({ do: kind, pick, ms }: Command) => `${kind} ${pick} ${ms}`;

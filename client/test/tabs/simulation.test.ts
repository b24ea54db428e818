import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { shareTabs } from "../../src/tabs/index.ts";
import { commandsOf, shrink, type Command } from "./commands.ts";
import { report, walk, type Outcome, type WalkOptions } from "./walk.ts";

// A client's signal has more listeners than Node thinks likely.
EventEmitter.defaultMaxListeners = 100;

// WALK_SEED=7 runs one and prints all that happened; WALKS and WALK_FROM set how many, and from which seed on.
const { WALK_SEED, WALKS = "500", WALK_FROM = "1" } = process.env;
const SHRINK_MS = 15_000;

async function walks(from: number, count: number, options: WalkOptions): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (let seed = from; seed < from + count; seed++) {
    const commands = commandsOf(seed);
    const outcome = await walk(seed, commands, { ...options, trace: WALK_SEED !== undefined });
    if (WALK_SEED !== undefined) console.log(outcome.trace.join("\n"));
    if (outcome.problems.length) {
      // The same fault, whatever the names, numbers and times in it.
      const fault = ({ problems }: Outcome) => problems[0]?.replace(/\d+|[0-9a-f-]{36}/g, "");
      const fails = async (shorter: readonly Command[]) => fault(await walk(seed, shorter, options)) === fault(outcome);
      const short = await shrink(commands, fails, SHRINK_MS);
      expect.fail(report(seed, commands, outcome, short, await walk(seed, short, { ...options, trace: true })));
    }
    for (const [name, value] of Object.entries(outcome.stats)) {
      sums[name] = name === "healMs" ? Math.max(sums[name] ?? 0, value) : (sums[name] ?? 0) + value;
    }
  }
  return sums;
}

const seeds = WALK_SEED === undefined ? ([Number(WALK_FROM), Number(WALKS)] as const) : ([Number(WALK_SEED), 1] as const);

test("the same seed gives the same walk", async () => {
  const run = () => walk(7, commandsOf(7), { share: shareTabs, trace: true });
  const [first, second] = [await run(), await run()];
  expect(first.trace.length).toBeGreaterThan(100);
  expect(second).toEqual(first);
});

test("a walk notices tabs that don't hear each other, and what is printed of it is short and fails alike", async () => {
  const share: WalkOptions["share"] = (how) => {
    const deaf = { ...how.environment, openPipe: () => ({ post() {}, close() {} }) };
    return shareTabs({ ...how, environment: deaf });
  };
  const commands = commandsOf(3);
  const { problems } = await walk(3, commands, { share });
  expect(problems.join()).toContain("candidate RECONNECTING");
  const short = await shrink(commands, async (some) => (await walk(3, some, { share })).problems.length > 0, 5_000);
  expect(short.map((command) => command.do)).toEqual(["open", "open"]);
});

test("tabs that share nothing keep every promise, whatever happens to them", async () => {
  const sums = await walks(seeds[0], WALK_SEED === undefined ? 100 : 1, {});
  console.log(`solo: ${JSON.stringify(sums)}`);
}, 60_000);

test(`${seeds[1]} walks of tabs that share one connection`, async () => {
  const sums = await walks(...seeds, { share: shareTabs });
  console.log(`shared: ${JSON.stringify(sums)}`);
}, 60_000 + 200 * seeds[1]);

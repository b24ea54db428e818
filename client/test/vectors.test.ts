/** The JSON vectors that every implementation of the protocol must agree with. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { calculateBackoff } from "../src/backoff.ts";
import { Cursor } from "../src/cursor.ts";
import { isKnown, isTerminal, readFrame, type SyncDelta, type SyncSnapshot } from "../src/frames.ts";
import { PayloadError } from "../src/errors.ts";
import { encodePayload } from "../src/payload.ts";
import { strict } from "../src/strict.ts";
import { advance, fold, fromWire, toWire, type WirePosition } from "../src/position.ts";

const load = <Case>(name: string): Case[] =>
  (JSON.parse(readFileSync(new URL(`../../tests/vectors/${name}.json`, import.meta.url), "utf8")) as { cases: Case[] })
    .cases;

describe("checksums.json", () => {
  interface Case {
    name: string;
    start: number;
    ids: string[];
    checksums: number[];
  }
  test.each(load<Case>("checksums"))("$name", ({ start, ids, checksums }) => {
    let checksum = start;
    expect(ids.map((id) => (checksum = advance(checksum, id)))).toEqual(checksums);
    expect(fold(start, ids)).toBe(checksums.at(-1) ?? start);
  });
});

describe("backoff.json", () => {
  interface Case {
    attempt: number;
    base: number | string;
    max: number | string;
    u: number;
    delay?: number;
    throws?: boolean;
  }
  test.each(load<Case>("backoff"))("attempt $attempt of $base..$max at $u", ({ attempt, base, max, u, delay, throws }) => {
    const run = () => calculateBackoff(Number(attempt), Number(base), Number(max), () => u);
    if (throws) expect(run).toThrow(RangeError);
    else expect(run()).toBeCloseTo(delay!, 6);
  });
});

describe("codes.json", () => {
  test.each(load<{ name: string; code: number; reconnects: boolean }>("codes"))("$name", ({ code, reconnects }) => {
    expect(isTerminal(code)).toBe(!reconnects);
  });
});

describe("frames.json", () => {
  interface Case {
    name: string;
    from: string;
    text?: string;
  }
  const server = load<Case>("frames").filter(({ from, text }) => from === "server" && text);
  test("holds frames of the server", () => expect(server.length).toBeGreaterThan(10));
  test.each(server)("$name", ({ text }) => {
    const frame = readFrame(text);
    expect(typeof frame.type).toBe("string");
    if (!/new|unknown|later/i.test(String(frame.type))) expect(isKnown(frame)).toBe(true);
  });
});

describe("frames.json: what a server refuses in a MESSAGE, this client refuses to send", () => {
  interface Case {
    name: string;
    from: string;
    text?: string;
    valid?: boolean;
    reason?: string;
  }
  const payload = ({ text }: Case): unknown => {
    try {
      const frame = JSON.parse(text!) as { type?: unknown; payload?: unknown };
      return frame.type === "MESSAGE" ? frame.payload : undefined;
    } catch {
      return undefined; // NaN and the like: not even JavaScript reads it
    }
  };
  const messages = load<Case>("frames").filter((vector) => vector.from === "client" && vector.text && payload(vector) !== undefined);
  test.each(messages.filter(({ valid }) => valid))("takes $name", (vector) => {
    encodePayload(payload(vector), undefined, strict);
  });
  test.each(messages.filter(({ valid, reason }) => !valid && reason === "JSON"))("refuses $name", (vector) => {
    expect(() => encodePayload(payload(vector), undefined, strict)).toThrow(PayloadError);
  });
});

describe("apply.json", () => {
  interface Step {
    frame: SyncDelta | SyncSnapshot;
    result: "applied" | "ignored" | "hole" | "part" | "discarded";
    position: WirePosition | null;
    entries?: number[];
    state?: unknown;
    ack?: { parts?: Record<string, number> };
  }
  test.each(load<{ name: string; start: WirePosition | null; steps: Step[] }>("apply"))("$name", ({ start, steps }) => {
    const cursor = new Cursor();
    cursor.position = fromWire(start);
    for (const { frame: raw, result, position, entries, state, ack } of steps) {
      const frame = readFrame(JSON.stringify(raw)) as SyncDelta | SyncSnapshot;
      if (frame.type === "SYNC_DELTA") {
        const outcome = cursor.delta(frame);
        const kind = typeof outcome !== "string" ? "applied" : outcome === "repeat" ? "ignored" : "hole";
        expect(kind).toBe(result);
        if (typeof outcome !== "string") expect(outcome.map(({ seq }) => seq)).toEqual(entries);
      } else {
        const outcome = cursor.snapshot(frame);
        expect(outcome.kind).toBe({ applied: "applied", part: "part", discarded: "refused" }[result as string]);
        if (outcome.kind === "applied") expect(outcome.state).toEqual(state);
        if (outcome.kind === "part") expect({ s: outcome.part }).toEqual(ack?.parts);
        if (outcome.kind === "refused") expect(cursor.collecting).toBe(false);
      }
      expect(toWire(cursor.position)).toEqual(position);
    }
  });
});

import { describe, expect, test } from "vitest";
import { useFakeTime } from "./harness.ts";
import { Browser, pass, quiet } from "./persistence-pages.ts";
import { FakeServer } from "../src/testing.ts";

useFakeTime();

function offline() {
  const server = new FakeServer();
  server.accepts = false;
  return new Browser(server);
}

describe("a reload", () => {
  test("300 unsent messages and a crash between: all arrive once, in order", async () => {
    const browser = offline();
    const first = browser.open();
    for (let i = 0; i < 300; i++) void first.client.send("s", i);
    await quiet();
    first.crash();
    const second = browser.open();
    await quiet();
    expect(second.restored).toEqual([300]);
    expect(second.client.waiting).toBe(300);
    browser.server.accepts = true;
    await pass(1_000);
    second.crash();
    const third = browser.open();
    await pass(10_000);
    expect(browser.server.applied.map(({ payload }) => payload)).toEqual(Array.from({ length: 300 }, (_, i) => i));
    expect(await browser.rows()).toEqual([]);
    expect(third.client.waiting).toBe(0);
  });
});

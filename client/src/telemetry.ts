import { after, systemClock, type Clock } from "./clock.ts";
import { outages, recordOutage } from "./outage.ts";
import type { Labels, Recorder, Report, Transition } from "./recorder.ts";

/** Options of `telemetryRecorder`. */
export interface TelemetryOptions {
  readonly clock?: Clock | undefined;
  /** Between two reports at least, in milliseconds: 11 000. A server ignores what comes within 10 s of the last. */
  readonly everyMs?: number | undefined;
}

/** What belongs together (an attempt, its transitions, the flush) goes in one report. */
const GATHER_MS = 1_000;
/** Transitions in one report; the server looks at no more. */
const MAX_TRANSITIONS = 32;
const ATTEMPTS = "reconnect_attempt_duration_seconds";
const FAILED_ATTEMPTS = "reconnect_failed_attempt_duration_seconds";
const GOOD = ["connected", "live"];
const BAD = ["failed", "timeout"];

/**
 * Sends what a client records to the server, for its own metrics: without labels, as what was added since the last
 * report. A report that the link didn't take merges into the next. One recorder serves one client.
 *
 * - a counter: its increase
 * - a histogram: `<name>` the largest value, `<name>_count` and `<name>_sum`; of attempts and outages only those that
 *   ended well, the others are counted in `reconnect_attempts_failed_total` and `reconnect_outages_failed_total`, and
 *   such attempts timed as `reconnect_failed_attempt_duration_seconds`
 * - a gauge: its value
 * - transitions of the connection's state: the latest 32, one by one
 */
export function telemetryRecorder(options: TelemetryOptions = {}): Required<Recorder> {
  const { clock = systemClock, everyMs = 11_000 } = options;
  let report: Report | null = null;
  let pending: Record<string, number> = {};
  let transitions: Transition[] = [];
  let notBefore = 0;
  let stop: (() => void) | null = null;
  /** Never aborted: the timer ends with the client that is followed, or reports to nobody. */
  const { signal } = new AbortController();

  const send = () => {
    stop = null;
    const now = clock.now();
    notBefore = now + everyMs;
    const aged = transitions.map(([at, from, to]): Transition => [Math.round(now - at), from, to]);
    if (!report?.(pending, aged)) return;
    pending = {};
    transitions = [];
  };

  const put = (name: string, value: number) => {
    if (!Number.isFinite(value)) return;
    pending[name] = value;
    stop ??= after(clock, Math.max(notBefore - clock.now(), GATHER_MS), signal, send);
  };

  const add = (name: string, value: number) => {
    if (value) put(name, (pending[name] ?? 0) + value);
  };

  const recorder: Required<Recorder> = {
    count(name, value = 1, { from, to }: Labels = {}) {
      add(name, value);
      if (name !== "reconnect_fsm_transitions_total") return;
      transitions = [...transitions, [clock.now(), String(from), String(to)] as const].slice(-MAX_TRANSITIONS);
    },
    gauge: put,

    observe(name, value, labels) {
      const outcome = String(labels?.["outcome"] ?? GOOD[0]);
      const bad = BAD.includes(outcome);
      if (bad) add(name.replace("_duration_seconds", "s_failed_total"), 1);
      if (bad ? name !== ATTEMPTS : !GOOD.includes(outcome)) return;
      const kept = bad ? FAILED_ATTEMPTS : name;
      put(kept, Math.max(pending[kept] ?? 0, value));
      add(`${kept}_count`, 1);
      add(`${kept}_sum`, value);
    },

    attach(given) {
      report = given;
    },

    follow(client) {
      watch(client);
      client.signal.addEventListener("abort", () => {
        stop?.();
        stop = null;
      });
    },
  };
  const watch = outages((outage) => (end) => recordOutage(recorder, outage, end), clock.now);
  return recorder;
}

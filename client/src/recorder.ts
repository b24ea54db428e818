import type { Client } from "./public.ts";

/** Labels of a measurement: enums only, never a user, session or stream name (design 12). */
export type Labels = Readonly<Record<string, string | number>>;

/** Where measurements go. Adapters (OpenTelemetry, RUM, TELEMETRY frames) implement it. */
export interface Recorder {
  /** Adds to a counter. */
  count(name: string, value?: number, labels?: Labels): void;
  /** Records one value of a histogram. */
  observe(name: string, value: number, labels?: Labels): void;
  /** Sets a gauge. */
  gauge(name: string, value: number, labels?: Labels): void;
  /**
   * Called once by `connect`.
   *
   * @param report sends one TELEMETRY frame; @returns whether the link took it
   */
  attach?(report: Report): void;
  /** Measures what only the client's events tell, until it closes. Following a client again does nothing. */
  follow?(client: Client): void;
}

/** A transition of the connection's state: how many milliseconds ago, from and to. */
export type Transition = readonly [age: number, from: string, to: string];

/** Sends measurements to the server. @returns whether the link took them */
export type Report = (metrics: Readonly<Record<string, number>>, transitions?: readonly Transition[]) => boolean;

/** A recorder that follows a client and forgets none of its methods. */
export type Following = Recorder & Required<Pick<Recorder, "follow">>;

/** A recorder that never breaks the client; without one nothing is recorded. */
export function safeRecorder(recorder?: Recorder): Recorder {
  const guard =
    (kind: "count" | "observe" | "gauge") =>
    (name: string, value?: number, labels?: Labels): void => {
      try {
        recorder?.[kind](name, value as number, labels);
      } catch {
        // A measurement that is lost costs less than a stream that stops.
      }
    };
  return { count: guard("count"), observe: guard("observe"), gauge: guard("gauge") };
}

/** One recorder out of several. One that throws takes nothing from the others. */
export function recorders(...list: readonly Recorder[]): Required<Recorder> {
  const all = (run: (recorder: Recorder) => void) => {
    for (const recorder of list) {
      try {
        run(recorder);
      } catch (error) {
        console.error(error);
      }
    }
  };
  return {
    count: (name, value, labels) => all((recorder) => recorder.count(name, value, labels)),
    observe: (name, value, labels) => all((recorder) => recorder.observe(name, value, labels)),
    gauge: (name, value, labels) => all((recorder) => recorder.gauge(name, value, labels)),
    attach: (report) => all((recorder) => recorder.attach?.(report)),
    follow: (client) => all((recorder) => recorder.follow?.(client)),
  };
}

/** The browser family, the `environment` label of design 12. */
export function environment(userAgent = globalThis.navigator?.userAgent ?? ""): string {
  // Chromium says Safari, too, but later.
  const [family] = /chrom|firefox|safari/.exec(userAgent.toLowerCase()) ?? ["other"];
  return family === "chrom" ? "chromium" : family;
}

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
  attach?(report: (metrics: Readonly<Record<string, number>>) => boolean): void;
}

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

/** The browser family, the `environment` label of design 12. */
export function environment(userAgent = globalThis.navigator?.userAgent ?? ""): string {
  // Chromium says Safari, too, but later.
  const [family] = /chrom|firefox|safari/.exec(userAgent.toLowerCase()) ?? ["other"];
  return family === "chrom" ? "chromium" : family;
}

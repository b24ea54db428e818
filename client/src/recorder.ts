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
}

/** Records nothing. */
export const noRecorder: Recorder = { count() {}, observe() {}, gauge() {} };

/** A recorder must never break the client. */
export function safeRecorder(recorder: Recorder): Recorder {
  const guard =
    <Args extends unknown[]>(record: (...args: Args) => void) =>
    (...args: Args) => {
      try {
        record(...args);
      } catch {
        // A measurement that is lost costs less than a stream that stops.
      }
    };
  return {
    count: guard((name: string, value?: number, labels?: Labels) => recorder.count(name, value, labels)),
    observe: guard((name: string, value: number, labels?: Labels) => recorder.observe(name, value, labels)),
    gauge: guard((name: string, value: number, labels?: Labels) => recorder.gauge(name, value, labels)),
  };
}

/** The browser family, the `environment` label of design 12. */
export function environment(userAgent = globalThis.navigator?.userAgent ?? ""): string {
  if (/chrom(e|ium)\//i.test(userAgent)) return "chromium";
  if (/firefox\//i.test(userAgent)) return "firefox";
  return /safari\//i.test(userAgent) ? "safari" : "other";
}

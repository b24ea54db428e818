import type { Inner } from "./inner.ts";
import { environment, type Recorder } from "./recorder.ts";

/** Records what happens in a client, under the names of design 12. */
export function recordMetrics({ on, outbox, settings }: Pick<Inner, "on" | "outbox" | "settings">, { count, observe, gauge }: Recorder): void {
  /** Waited when the connection came. */
  let flushing = new Set<string>();
  let attempted = 0;
  let succeeded = 0;

  on("stateChange", ({ from, to }) => count("reconnect_fsm_transitions_total", 1, { from, to }));
  on("illegal", (transition) => count("reconnect_fsm_invalid_transitions_total", 1, { ...transition }));
  on("attempt", ({ outcome, ms, end }) => {
    const labels = { outcome: end?.reason === "connect timeout" ? "timeout" : outcome, environment: environment() };
    observe("reconnect_attempt_duration_seconds", ms / 1000, labels);
  });
  on("backoff", (ms) => observe("reconnect_backoff_delay_seconds", ms / 1000));
  on("capped", () => count("reconnect_backoff_capped_total"));

  on("refused", (why) => count("reconnect_frames_refused_total", 1, { why }));
  on("heal", () => count("reconnect_holes_healed_total"));
  on("lost", () => count("reconnect_messages_lost_total"));

  const observeAge = () => {
    for (const { createdAt } of outbox.messages.items.values()) {
      return observe("reconnect_outbox_age_seconds", Math.max(0, settings.clock.wall() - createdAt) / 1000);
    }
  };
  on("queueChange", ({ waiting }) => {
    observe("ws_queue_depth", waiting);
    observeAge();
  });
  on("overflow", () => count("reconnect_outbox_refused_total"));
  on("evict", ({ reason }) => count("reconnect_outbox_evicted_total", 1, { reason }));
  on("flush", () => {
    observeAge();
    flushing = new Set(outbox.queue.map(({ id }) => id));
    attempted += flushing.size;
    count("reconnect_flush_attempted_total", flushing.size);
  });
  on("acked", (id) => {
    if (!flushing.delete(id)) return;
    count("reconnect_flush_succeeded_total");
    gauge("reconnect_flush_success_rate", ++succeeded / attempted);
  });
}

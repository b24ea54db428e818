import type { Client, Snapshot } from "./public.ts";
import type { Recorder } from "./recorder.ts";

/** A time in which a client has no connection and wants one. */
export interface Outage {
  /** The client was never live before: a page that loads. */
  readonly first: boolean;
  /** Why it began, for people: `1006`, `4012 going away`, `pageshow`. */
  readonly reason: string;
}

/** How an outage ended. */
export interface OutageEnd {
  /** Every stream is live again; it gave up or was refused; the client was closed or the page sleeps. */
  readonly outcome: "live" | "failed" | "closed";
  /** How long it lasted, in milliseconds. */
  readonly ms: number;
  /** Another tab leads than before. */
  readonly handover: boolean;
  /** What this tab is now: a constant, see `Client.role`. */
  readonly role: string;
}

/** Is told of an outage when it begins; @returns what is told of its end */
export type OutageWatch = (outage: Outage) => (end: OutageEnd) => void;

/**
 * Outages of a client: each lasts from the drop to the moment when every stream is live again, however many attempts
 * and further drops lie between.
 *
 * @param now milliseconds, monotonic
 * @returns watches a client until it closes; the same client again: does nothing
 */
export function outages(watch: OutageWatch, now = () => performance.now()): (client: Client) => void {
  const watched = new WeakSet<Client>();
  return (client) => {
    if (watched.has(client)) return;
    watched.add(client);
    /** As it was when all was well. */
    let well: Snapshot | null = null;
    let ended: ((end: OutageEnd) => void) | null = null;
    let beganAt = 0;

    const begin = (reason: string) => {
      if (ended) return;
      beganAt = now();
      ended = watch({ first: !well, reason });
    };

    const look = (is: Snapshot) => {
      const { state, role } = is;
      const live = state === "CONNECTED" && is.sync.kind === "live";
      const outcome = live ? "live" : state === "FAILED" ? "failed" : state === "DISCONNECTED" && "closed";
      const tell = ended;
      if (tell && outcome) {
        ended = null;
        const handover = live && well !== null && leader(well) !== leader(is);
        tell({ outcome, ms: now() - beganAt, handover, role });
      }
      if (live) well = is;
    };

    // A drop leads to RECONNECTING at once; a page that sleeps gets there when it wakes up.
    client.on("stateChange", ({ to, reason }) => {
      if (to === "RECONNECTING") begin(reason);
    });
    client.on("change", look);
    if (client.state === "RECONNECTING") begin("connect");
    else look(client.snapshot);
  };
}

/** The metrics of an outage that is over. */
export function recordOutage(recorder: Pick<Recorder, "count" | "observe">, { first }: Outage, end: OutageEnd): void {
  const { outcome, ms, handover, role } = end;
  if (first) return;
  recorder.observe("reconnect_outage_duration_seconds", ms / 1000, { outcome, handover: String(handover), role });
  // Once a browser: its other tabs see the same change.
  if (handover && role === "leader") recorder.count("reconnect_leader_changes_total");
}

const leader = ({ tabs }: Snapshot) => tabs.find((tab) => tab.leader)?.id;

"""The metrics, for Prometheus (design 12). `measuring` fills them.

Imported only where prometheus_client is installed. Labels are enums and stream prefixes: whatever clients
say, and however they are called, there are no more series.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30
WAITS = 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800
MILLISECONDS = tuple(1_000 * seconds for seconds in WAITS)
AMOUNTS = 0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000
BYTES = tuple(1 << power for power in range(8, 25, 2))

# -- what clients report of themselves -------------------------------------------------------------

_REPORTED = {
    "reconnect_fsm_invalid_transitions_total": "State changes that a client's state machine refused.",
    "reconnect_attempts_failed_total": "Attempts to connect that failed.",
    "reconnect_backoff_capped_total": "Waits that had reached the longest.",
    "reconnect_outages_failed_total": "Outages that ended with giving up.",
    "reconnect_flush_attempted_total": "Messages that waited when a connection came.",
    "reconnect_flush_succeeded_total": "Those of them that were acknowledged.",
    "reconnect_outbox_evicted_total": "Messages that a full outbox dropped, never sent.",
    "reconnect_outbox_refused_total": "Messages that a full outbox refused.",
    "reconnect_messages_lost_total": "Acknowledged messages whose entry wasn't where it should be.",
    "reconnect_frames_refused_total": "Frames that a client couldn't apply.",
    "reconnect_holes_healed_total": "Times that a client asked for what it missed.",
    "reconnect_leader_changes_total": "Outages after which another tab leads.",
}
REPORTED_COUNTERS = {name: Counter(name, text, ["environment"]) for name, text in _REPORTED.items()}
FSM_TRANSITIONS = Counter(
    "reconnect_fsm_transitions_total",
    "State changes of clients; from and to are empty where a client only counted them.",
    ["from", "to", "environment"],
)
ATTEMPT_DURATION = Histogram(
    "reconnect_attempt_duration_seconds",
    "From opening a socket to WELCOME, or to its failure.",
    ["outcome", "environment"],
    buckets=WAITS,
)
REPORTED_HISTOGRAMS: dict[str, tuple[Histogram, *tuple[str, ...]]] = {
    "reconnect_attempt_duration_seconds": (ATTEMPT_DURATION, "connected"),
    "reconnect_failed_attempt_duration_seconds": (ATTEMPT_DURATION, "failed"),
    **{
        name: (Histogram(name, text, ["environment"], buckets=buckets),)
        for name, text, buckets in (
            ("reconnect_backoff_delay_seconds", "Waits before an attempt.", WAITS),
            ("reconnect_outage_duration_seconds", "From a drop until every stream is live again.", WAITS),
            ("reconnect_outbox_age_seconds", "Age of the oldest message without an answer.", WAITS),
            ("ws_queue_depth", "Messages that wait in a client's outbox.", AMOUNTS),
        )
    },
}
"""By their names in reports; with the labels that come before the environment."""
FLUSH_SUCCESS_RATE = Gauge(
    "reconnect_flush_success_rate",
    "Share of the messages that waited for a connection and were acknowledged on it; since the start.",
    ["environment"],
    multiprocess_mode="livemostrecent",
)
CLIENT_REPORTS = Counter(
    "reconnect_client_reports_total",
    "Reports of clients: too frequent or empty ones are ignored.",
    ["outcome"],
)

# -- recovery --------------------------------------------------------------------------------------

WELCOME_SECONDS = Histogram(
    "reconnect_welcome_seconds", "From HELLO to WELCOME, admission included.", buckets=SECONDS
)
RECOVERIES = Counter(
    "reconnect_recoveries_total", "Positions of clients, by how they were judged.", ["answer", "reason"]
)
GAP_SIZE = Histogram(
    "delta_sync_gap_size",
    "Entries between a client and the head: answered by a delta, or for this reason by a snapshot.",
    ["answer"],
    buckets=AMOUNTS,
)
CAUGHT_UP_SECONDS = Histogram(
    "reconnect_caught_up_seconds",
    "From asking for a stream, or falling behind, until it is live.",
    ["prefix"],
    buckets=SECONDS,
)
HANDOFF_LATENCY = Histogram(
    "cross_node_handoff_latency_ms",
    "From the end of a socket on one node until its client is current on another.",
    buckets=MILLISECONDS,
)
RETURNS = Counter("reconnect_returns_total", "Clients that came back; moved = to another node.", ["moved"])
FELL_BEHIND = Counter(
    "reconnect_fell_behind_total", "Streams that went from live to page by page.", ["prefix"]
)
RESYNCS = Counter("reconnect_resyncs_total", "Snapshots that the server sent by itself.", ["reason"])
HISTORY_REPLACED = Counter("reconnect_history_replaced_total", "Streams that got a new epoch.", ["reason"])
SNAPSHOT_SIZE = Histogram(
    "reconnect_snapshot_size_bytes", "Sizes of snapshots, in characters of JSON.", ["prefix"], buckets=BYTES
)
SNAPSHOT_BUILD = Histogram(
    "reconnect_snapshot_build_seconds", "Builds of snapshots that succeeded.", ["prefix"], buckets=SECONDS
)
SNAPSHOT_FAILURES = Counter("reconnect_snapshot_failures_total", "Builds that failed.", ["prefix"])
PAGE_READ = Histogram(
    "reconnect_page_read_seconds", "Reads of one page of the log.", ["prefix"], buckets=SECONDS
)

# -- live traffic ----------------------------------------------------------------------------------

PUBLISHED_ENTRIES = Counter("reconnect_published_entries_total", "Entries that were appended.", ["prefix"])
ROW_HOLD = Histogram(
    "reconnect_row_hold_seconds", "How long writers held a stream's row.", ["prefix"], buckets=SECONDS
)
FAN_OUT_ENTRIES = Histogram(
    "reconnect_fan_out_entries", "Entries in one live frame.", ["prefix"], buckets=AMOUNTS[1:-2]
)
FAN_OUT_SOCKETS = Histogram(
    "reconnect_fan_out_sockets", "Sockets that one live frame went to.", ["prefix"], buckets=AMOUNTS
)
DELIVERIES = Counter("reconnect_deliveries_total", "Live entries times sockets.", ["prefix"])
LAYER_HOLES = Counter(
    "reconnect_layer_holes_total", "Holes in the layer's traffic, filled from the log.", ["prefix"]
)
LAYER_FAILURES = Counter("reconnect_layer_failures_total", "Announcements that the layer didn't take.")
MESSAGES = Counter("reconnect_messages_total", "Messages by their answer.", ["outcome", "prefix"])
MESSAGE_SECONDS = Histogram(
    "reconnect_message_seconds", "Messages from their turn to their answer.", ["prefix"], buckets=SECONDS
)
DUPLICATES = Counter(
    "duplicate_msg_rejected_total", "Copies of messages that were answered and not run again.", ["prefix"]
)

# -- health ----------------------------------------------------------------------------------------

LIVE = Gauge("reconnect_live_sessions", "Sessions that have a socket.", multiprocess_mode="livesum")
DIVERGED = Gauge(
    "reconnect_diverged_sessions", "Those whose history isn't the log's.", multiprocess_mode="livesum"
)
LAGGING = Gauge(
    "reconnect_lagging_sessions", "Those that don't acknowledge what was sent.", multiprocess_mode="livesum"
)
DRIFTED = Gauge(
    "reconnect_drifted_sessions",
    "Distinct identities whose sessions diverged or lag.",
    multiprocess_mode="livesum",
)
DRIFT_PERCENTAGE = Gauge(
    "state_drift_percentage",
    "Drifted of live sessions, in percent; one identity alone counts as none.",
    multiprocess_mode="livemax",
)
DRIFT_REPORTS = Counter(
    "reconnect_drift_reports_total", "Positions of clients that prove another history.", ["prefix"]
)
BREAKER_OPEN = Gauge(
    "reconnect_breaker_open", "1 while a circuit breaker is open.", ["breaker"], multiprocess_mode="livemax"
)
SOCKETS_CLOSED = Counter("reconnect_sockets_closed_total", "Sockets that ended, by close code.", ["code"])
CLEANUP_ERRORS = Counter(
    "stale_socket_cleanup_errors_total", "Failed attempts to clear up after a node that died."
)
NODES_REAPED = Counter("reconnect_nodes_reaped_total", "Nodes that died and were cleared up after.")
DRAINS = Counter("reconnect_drains_total", "Times that a process sent its sockets away.")

"""Each event moves its metrics, by what it says; streams and clients make no series of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from reconnect_channels.protocol.position import Position
from reconnect_channels.telemetry import events, measuring
from reconnect_channels.telemetry.events import emit
from tests.app.consumers import NotesConsumer
from tests.servers import ROOT, django_environment

from .conftest import Gained
from .scrape import Page

A = f"{NotesConsumer.stream_prefix}a"
AT = Position("e", 3, 0)
NOTES = {"prefix": "notes:"}

Moves = list[tuple[str, dict[str, str], float]]

MOVES: dict[str, tuple[NamedTuple, Moves]] = {
    "a WELCOME": (
        events.Welcomed("s", "n", 0, 1, 0.25, None),
        [("reconnect_welcome_seconds_count", {}, 1), ("reconnect_welcome_seconds_sum", {}, 0.25)],
    ),
    "a position that is answered by a delta": (
        events.Resumed("s", A, "delta", "", AT, 10),
        [
            ("reconnect_recoveries_total", {"answer": "delta", "reason": ""}, 1),
            ("delta_sync_gap_size_sum", {"answer": "delta"}, 7),
            ("delta_sync_gap_size_count", {"answer": "delta"}, 1),
        ],
    ),
    "a position that is answered by a snapshot": (
        events.Resumed("s", A, "snapshot", "trimmed", AT, 10),
        [
            ("reconnect_recoveries_total", {"answer": "snapshot", "reason": "trimmed"}, 1),
            ("delta_sync_gap_size_sum", {"answer": "trimmed"}, 7),
        ],
    ),
    "an impossible position": (
        events.Resumed("s", A, "invalid", "", AT, 2),
        [("reconnect_recoveries_total", {"answer": "invalid"}, 1), ("delta_sync_gap_size_count", {}, 0)],
    ),
    "a stream that is live": (
        events.CaughtUp("s", A, 0.5, 3),
        [("reconnect_caught_up_seconds_sum", NOTES, 0.5), ("reconnect_caught_up_seconds_count", NOTES, 1)],
    ),
    "a client that comes back to its node": (
        events.Returned(500, False),
        [("reconnect_returns_total", {"moved": "no"}, 1), ("cross_node_handoff_latency_ms_count", {}, 0)],
    ),
    "a client that comes from another node": (
        events.Returned(500, True),
        [("reconnect_returns_total", {"moved": "yes"}, 1)],
    ),
    "a client that is current on another node": (
        events.HandedOver(750),
        [("cross_node_handoff_latency_ms_count", {}, 1), ("cross_node_handoff_latency_ms_sum", {}, 750)],
    ),
    "a stream that falls behind": (events.FellBehind("s", A, 3), [("reconnect_fell_behind_total", NOTES, 1)]),
    "a resync": (
        events.Resynced("s", A, "diverged"),
        [("reconnect_resyncs_total", {"reason": "diverged"}, 1)],
    ),
    "a new epoch": (
        events.HistoryReplaced(A, "rewound"),
        [("reconnect_history_replaced_total", {"reason": "rewound"}, 1)],
    ),
    "a snapshot": (
        events.Built(A, 2_048, 0.125, True),
        [
            ("reconnect_snapshot_size_bytes_sum", NOTES, 2_048),
            ("reconnect_snapshot_build_seconds_sum", NOTES, 0.125),
            ("reconnect_snapshot_failures_total", NOTES, 0),
        ],
    ),
    "a snapshot that failed": (
        events.Built(A, -1, 0.125, False),
        [("reconnect_snapshot_failures_total", NOTES, 1), ("reconnect_snapshot_size_bytes_count", NOTES, 0)],
    ),
    "a page": (events.PageRead(A, 500, 0.125), [("reconnect_page_read_seconds_sum", NOTES, 0.125)]),
    "a publication": (
        events.Published(A, 3, 0.25),
        [("reconnect_published_entries_total", NOTES, 3), ("reconnect_row_hold_seconds_sum", NOTES, 0.25)],
    ),
    "a publication in a log without rows": (
        events.Published(A, 3, 0.0),
        [("reconnect_published_entries_total", NOTES, 3), ("reconnect_row_hold_seconds_count", NOTES, 0)],
    ),
    "a live frame": (
        events.FannedOut(A, 3, 500),
        [
            ("reconnect_fan_out_entries_sum", NOTES, 3),
            ("reconnect_fan_out_sockets_sum", NOTES, 500),
            ("reconnect_deliveries_total", NOTES, 1_500),
        ],
    ),
    "a hole in the layer's traffic": (events.HoleHealed(A), [("reconnect_layer_holes_total", NOTES, 1)]),
    "a layer that fails": (events.LayerFailed("OSError"), [("reconnect_layer_failures_total", {}, 1)]),
    "a message": (
        events.Answered("s", A, 0, "", False, 0.5),
        [
            ("reconnect_messages_total", {"outcome": "acked", **NOTES}, 1),
            ("reconnect_message_seconds_sum", NOTES, 0.5),
            ("duplicate_msg_rejected_total", NOTES, 0),
        ],
    ),
    "a message that is refused": (
        events.Answered("s", A, 422, "no", False, 0.5),
        [("reconnect_messages_total", {"outcome": "rejected", **NOTES}, 1)],
    ),
    "a message that is to come again": (
        events.Answered("s", A, 503, "no", False, 0.5, retry=True),
        [("reconnect_messages_total", {"outcome": "retried", **NOTES}, 1)],
    ),
    "a copy of a message": (
        events.Answered("s", A, 0, "", True, 0.5),
        [
            ("reconnect_messages_total", {"outcome": "duplicate", **NOTES}, 1),
            ("duplicate_msg_rejected_total", NOTES, 1),
        ],
    ),
    "a drift report": (events.Drifted("s", A, AT, None), [("reconnect_drift_reports_total", NOTES, 1)]),
    "a socket closed by us": (
        events.Ended("s", 4010, "resync", 5.0),
        [("reconnect_sockets_closed_total", {"code": "4010"}, 1)],
    ),
    "a socket without a close": (
        events.Ended("s", None, "", 5.0),
        [("reconnect_sockets_closed_total", {"code": "none"}, 1)],
    ),
    "a socket closed with a code of the client's": (
        events.Ended("s", 3333, "", 5.0),
        [("reconnect_sockets_closed_total", {"code": "other"}, 1)],
    ),
    "a failed clean-up": (events.CleanupFailed("OSError"), [("stale_socket_cleanup_errors_total", {}, 1)]),
    "a dead node": (events.Reaped("n"), [("reconnect_nodes_reaped_total", {}, 1)]),
    "a drain": (events.Draining(5, 15.0), [("reconnect_drains_total", {}, 1)]),
    "an ignored report": (
        events.ReportIgnored("s"),
        [("reconnect_client_reports_total", {"outcome": "ignored"}, 1)],
    ),
}


@pytest.mark.parametrize("what", MOVES)
def test_an_event_moves_its_metrics_by_what_it_says(what: str, gained: Gained):
    event, moves = MOVES[what]
    emit(event)
    assert [(name, labels, gained(name, **labels)) for name, labels, _ in moves] == moves


def test_a_stream_that_no_consumer_serves_is_other(gained: Gained):
    emit(events.FellBehind("s", "nobody:serves:this", 3))
    assert gained("reconnect_fell_behind_total", prefix="other") == 1


def test_a_consumer_that_is_imported_later_is_known_from_then_on(gained: Gained):
    prefixes = {"late:1": ""}
    measuring.connect(lambda stream: prefixes[stream])
    try:
        emit(events.FellBehind("s", "late:1", 3))
        prefixes["late:1"] = "late:"
        emit(events.FellBehind("s", "late:1", 3))
    finally:
        reconnect()
    assert gained("reconnect_fell_behind_total", prefix="other") == 1
    assert gained("reconnect_fell_behind_total", prefix="late:") == 1


def reconnect() -> None:
    from reconnect_channels.registry import prefix_of

    measuring.connect(prefix_of)


def test_what_alerts_are_about_is_there_before_it_happens_since_a_first_value_is_no_increase(
    page: Callable[[], Page],
):
    measuring._find, find = (lambda stream: "seldom:"), measuring._find
    try:
        emit(events.PageRead("seldom:1", 3, 0.1))
    finally:
        measuring._find = find
        measuring._prefixes.clear()
    names = {sample.name for sample in page().samples if sample.labels.get("prefix") == "seldom:"}
    assert names >= {
        "reconnect_snapshot_failures_total",
        "reconnect_drift_reports_total",
        "reconnect_messages_total",
    }


def test_names_of_streams_make_no_series_and_take_no_memory(page: Callable[[], Page]):
    def happens(stream: str) -> None:
        for event, _ in MOVES.values():
            if "stream" in event._fields:
                emit(event._replace(stream=stream))  # type: ignore[call-arg]

    happens("notes:a")
    happens("elsewhere:a")
    before = {(sample.name, *sample.labels.items()) for sample in page().samples}
    for n in range(measuring.STREAMS + 1):
        emit(events.HoleHealed(f"notes:{n}"))
    happens("notes:b")
    happens("elsewhere:b")
    assert {(sample.name, *sample.labels.items()) for sample in page().samples} == before
    assert len(measuring._prefixes) <= measuring.STREAMS


@pytest.mark.parametrize(
    ("sampled", "percentage"),
    [
        (events.Sampled(2_000, 1, 1, 2), 0.1),
        (events.Sampled(4, 2, 0, 2), 50.0),
        (events.Sampled(4, 3, 0, 1), 0.0),  # one client can claim what it likes
        (events.Sampled(0, 0, 0, 0), 0.0),
    ],
    ids=str,
)
def test_drift_is_the_share_of_drifted_sessions_unless_they_are_one_client_s(
    sampled: events.Sampled, percentage: float, page: Callable[[], Page]
):
    emit(sampled)
    now = page()
    assert now.value("state_drift_percentage") == percentage
    names = "live", "diverged", "lagging", "drifted"
    assert tuple(now.value(f"reconnect_{name}_sessions") for name in names) == sampled


def test_breakers_are_open_until_the_last_log_answers_again(page: Callable[[], Page]):
    for moved, shown in ((True, 1), (True, 1), (False, 1), (False, 0)):  # of two logs
        emit(events.BreakerMoved("log", moved))
        assert page().value("reconnect_breaker_open", breaker="log") == shown


def without_prometheus(script: str) -> str:
    """Runs it where prometheus_client can't be imported."""
    lines = "import sys", "sys.modules['prometheus_client'] = None", "import django", "django.setup()", script
    command: list[Any] = [sys.executable, "-W", "error", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, env=django_environment(), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def test_without_prometheus_client_nothing_is_measured_and_the_page_is_not_found():
    told = without_prometheus(
        "from django.test import RequestFactory\n"
        "from django.http import Http404\n"
        "from reconnect_channels import views\n"
        "print([name for name in sys.modules if name.endswith(('.measuring', 'telemetry.metrics'))])\n"
        "try: views.metrics(RequestFactory().get('/'))\n"
        "except Http404 as error: print(error)\n"
    )
    assert told.splitlines() == [
        "[]",
        "Metrics need prometheus_client: install reconnect-channels[prometheus]",
    ]

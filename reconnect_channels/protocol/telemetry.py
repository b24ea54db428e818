"""What a client may report of itself: a fixed list of names, each within its range (design 12).

Whoever can open a socket can report anything: nothing passes that could make a new series, or move an
old one further than a real client could.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SECONDS = (0.0, 3_600.0)
COUNTED = (0.0, 10_000.0)  # since the last report

RANGES: Mapping[str, tuple[float, float]] = {
    # Counters: what was added since the client's last report.
    "reconnect_fsm_invalid_transitions_total": COUNTED,
    "reconnect_fsm_transitions_total": COUNTED,
    "reconnect_backoff_capped_total": COUNTED,
    "reconnect_flush_attempted_total": COUNTED,
    "reconnect_flush_succeeded_total": COUNTED,
    "reconnect_outbox_evicted_total": COUNTED,
    "reconnect_outbox_refused_total": COUNTED,
    "reconnect_messages_lost_total": COUNTED,
    "reconnect_frames_refused_total": COUNTED,
    "reconnect_holes_healed_total": COUNTED,
    "reconnect_leader_changes_total": COUNTED,
    # Histograms: the largest value since the client's last report.
    "reconnect_attempt_duration_seconds": SECONDS,
    "reconnect_backoff_delay_seconds": SECONDS,
    "reconnect_outage_duration_seconds": SECONDS,
    "ws_queue_depth": (0.0, 100_000.0),
    # Gauges: the value now.
    "reconnect_flush_success_rate": (0.0, 1.0),
}

ENVIRONMENTS = frozenset({"chromium", "firefox", "safari", "python", "other"})


def sane(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that have a known name and are finite numbers, moved into their ranges."""
    kept: dict[str, float] = {}
    for name, (low, high) in RANGES.items():
        value = metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if isinstance(value, int) or math.isfinite(value):
            kept[name] = float(min(max(value, low), high))
    return kept


def environment(value: Any) -> str | None:
    """The label `environment`: one of five, or None where the client didn't say."""
    if value is None:
        return None
    return value if isinstance(value, str) and value in ENVIRONMENTS else "other"

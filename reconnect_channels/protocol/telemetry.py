"""What a client may report of itself: a fixed list of names, each within its range (design 12).

Whoever can open a socket can report anything: nothing passes that could make a new series, or move an
old one further than a real client could.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Range = tuple[float, float]
COUNTED: Range = (0.0, 10_000.0)
MAX_OBSERVATIONS = 100  # that one report may add to a histogram

# What was added since the client's last report.
COUNTERS = (
    "reconnect_fsm_invalid_transitions_total",
    "reconnect_fsm_transitions_total",
    "reconnect_backoff_capped_total",
    "reconnect_flush_attempted_total",
    "reconnect_flush_succeeded_total",
    "reconnect_outbox_evicted_total",
    "reconnect_outbox_refused_total",
    "reconnect_messages_lost_total",
    "reconnect_frames_refused_total",
    "reconnect_holes_healed_total",
    "reconnect_leader_changes_total",
    "reconnect_attempts_failed_total",
    "reconnect_outages_failed_total",
)

# The largest value since the last report; with `_count` and `_sum` how many there were and what they make.
HISTOGRAMS: Mapping[str, Range] = {
    "reconnect_attempt_duration_seconds": (0.0, 3_600.0),
    "reconnect_failed_attempt_duration_seconds": (0.0, 3_600.0),
    "reconnect_backoff_delay_seconds": (0.0, 3_600.0),
    "reconnect_outage_duration_seconds": (0.0, 3_600.0),
    "reconnect_outbox_age_seconds": (0.0, 86_400.0),
    "ws_queue_depth": (0.0, 100_000.0),
}

# The value now.
GAUGES: Mapping[str, Range] = {"reconnect_flush_success_rate": (0.0, 1.0)}

RANGES: Mapping[str, Range] = {
    **dict.fromkeys(COUNTERS, COUNTED),
    **HISTOGRAMS,
    **{f"{name}_count": COUNTED for name in HISTOGRAMS},
    **{f"{name}_sum": (low, 100 * high) for name, (low, high) in HISTOGRAMS.items()},
    **GAUGES,
}

# The legal transitions of a client's connection (design 11.1).
TRANSITIONS = frozenset(
    {
        ("DISCONNECTED", "RECONNECTING"),
        ("RECONNECTING", "CONNECTED"),
        ("RECONNECTING", "FAILED"),
        ("RECONNECTING", "DISCONNECTED"),
        ("CONNECTED", "DISCONNECTED"),
        ("FAILED", "DISCONNECTED"),
    }
)
MAX_TRANSITIONS = 32
MAX_AGE_MS = 3_600_000

Transition = tuple[int, str, str]
"""Milliseconds from the transition to the report, and the states that it led from and to."""

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


def observations(metrics: Mapping[str, float], name: str) -> list[float]:
    """The values of a histogram that a report stands for: the largest, and for each other one their mean.

    :param metrics: what `sane` let through.
    """
    if name not in metrics:
        return []
    largest, count = metrics[name], int(metrics.get(f"{name}_count", 1))
    others = min(count, MAX_OBSERVATIONS) - 1
    if others < 1:
        return [largest]
    mean = (metrics.get(f"{name}_sum", largest * count) - largest) / (count - 1)
    return [largest] + [min(max(mean, 0.0), largest)] * others


def transitions(value: Any) -> tuple[Transition, ...]:
    """The first 32 of a report's `[age_ms, from, to]`, without what no client's state machine does."""
    kept: list[Transition] = []
    for each in value[:MAX_TRANSITIONS] if isinstance(value, list) else ():
        match each:
            case [int() | float() as age, str() as left, str() as entered] if (left, entered) in TRANSITIONS:
                if not isinstance(age, bool) and (isinstance(age, int) or math.isfinite(age)):
                    kept.append((int(min(max(age, 0), MAX_AGE_MS)), left, entered))
    return tuple(kept)


def environment(value: Any) -> str | None:
    """The label `environment`: one of five, or None where the client didn't say."""
    if value is None:
        return None
    return value if isinstance(value, str) and value in ENVIRONMENTS else "other"

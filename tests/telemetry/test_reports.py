"""What clients report of themselves is measured, within bounds that no client can leave."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol import actions
from reconnect_channels.protocol.exchange import Exchange
from reconnect_channels.protocol.telemetry import (
    COUNTED,
    COUNTERS,
    ENVIRONMENTS,
    HISTOGRAMS,
    MAX_OBSERVATIONS,
    RANGES,
    TRANSITIONS,
    observations,
    sane,
)
from reconnect_channels.telemetry import measuring, metrics
from reconnect_channels.telemetry.events import Reported, ReportIgnored, emit

from .conftest import Gained
from .scrape import Page

CHROMIUM = {"environment": "chromium"}
MEASURED = {name.removesuffix("_total") for name in (*COUNTERS, *HISTOGRAMS)} | {"reconnect_client_reports"}


def report(told: dict[str, Any], *transitions: tuple[int, str, str], environment: str | None = "chromium"):
    emit(Reported("s", sane(told), environment, transitions))


def test_every_name_that_a_client_may_report_has_a_metric():
    counted = {*metrics.REPORTED_COUNTERS, "reconnect_fsm_transitions_total"}
    assert counted == set(COUNTERS)
    assert set(metrics.REPORTED_HISTOGRAMS) == set(HISTOGRAMS)


@pytest.mark.parametrize("name", sorted(metrics.REPORTED_COUNTERS))
def test_a_counter_grows_by_what_was_added(name: str, gained: Gained):
    report({name: 3})
    report({name: 2}, environment="firefox")
    assert gained(name, **CHROMIUM) == 3
    assert gained(name) == 5


@pytest.mark.parametrize("name", [name for name in HISTOGRAMS if "attempt" not in name])
def test_a_histogram_gets_the_largest_and_the_mean_of_the_others(name: str, gained: Gained):
    report({name: 8, f"{name}_count": 5, f"{name}_sum": 12})
    assert gained(f"{name}_count", **CHROMIUM) == 5
    assert gained(f"{name}_sum", **CHROMIUM) == 12
    assert gained(f"{name}_bucket", le="1.0", **CHROMIUM) == 4


def test_attempts_that_failed_are_told_apart(gained: Gained):
    report({"reconnect_attempt_duration_seconds": 1, "reconnect_failed_attempt_duration_seconds": 8})
    for outcome, seconds in (("connected", 1), ("failed", 8)):
        assert gained("reconnect_attempt_duration_seconds_sum", outcome=outcome, **CHROMIUM) == seconds


def test_transitions_are_told_by_name_and_those_only_counted_without(gained: Gained):
    steps = (900, "CONNECTED", "DISCONNECTED"), (900, "DISCONNECTED", "RECONNECTING")
    report({"reconnect_fsm_transitions_total": 5}, *steps)
    for _, left, entered in steps:
        assert gained("reconnect_fsm_transitions_total", **{"from": left, "to": entered}, **CHROMIUM) == 1
    assert gained("reconnect_fsm_transitions_total", **{"from": "", "to": ""}, **CHROMIUM) == 3


def test_the_rate_of_flushes_is_that_of_all_reports(
    page: Callable[[], Page], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(measuring, "_flushed", {})
    report({"reconnect_flush_attempted_total": 3, "reconnect_flush_succeeded_total": 1})
    report({"reconnect_flush_attempted_total": 1, "reconnect_flush_succeeded_total": 2})
    assert page().value("reconnect_flush_success_rate", **CHROMIUM) == 0.75
    report({"reconnect_flush_succeeded_total": 50})  # of flushes that it didn't tell of
    assert page().value("reconnect_flush_success_rate", **CHROMIUM) == 1


def test_a_client_that_does_not_say_what_it_is_is_other(gained: Gained):
    report({"reconnect_backoff_capped_total": 1}, environment=None)
    assert gained("reconnect_backoff_capped_total", environment="other") == 1


numbers = st.floats(0, 1e6)


@given(st.sampled_from(sorted(HISTOGRAMS)), numbers, st.none() | numbers, st.none() | numbers)
def test_whatever_is_reported_of_a_histogram_is_bounded(name, largest, count, total):
    told = sane({name: largest, f"{name}_count": count, f"{name}_sum": total})
    values = observations(told, name)
    assert 1 <= len(values) <= MAX_OBSERVATIONS
    assert all(0 <= value <= told[name] for value in values)
    assert values[0] == told[name]


@given(st.sampled_from(sorted(HISTOGRAMS)), st.lists(st.integers(0, 1_000), min_size=1, max_size=100))
def test_what_is_measured_has_the_count_sum_and_maximum_of_what_happened(name, happened):
    told = {name: max(happened), f"{name}_count": len(happened), f"{name}_sum": sum(happened)}
    values = observations(sane(told), name)
    assert (len(values), max(values)) == (len(happened), max(happened))
    assert math.isclose(sum(values), sum(happened), abs_tol=1e-6)


def test_nothing_is_measured_of_a_histogram_that_was_not_reported():
    assert observations({"ws_queue_depth_count": 5, "ws_queue_depth_sum": 5}, "ws_queue_depth") == []


# -- hostile clients -------------------------------------------------------------------------------


def hostile(random_: random.Random) -> str:
    """A report that means no good."""
    names = [*RANGES, "up", "ws_queue_depth{a='b'}", "x" * 200, "\u202e", "ws_queue_depth\n"]
    values: list[Any] = [
        math.nan,
        math.inf,
        -math.inf,
        -1,
        1e300,
        10**30,
        True,
        None,
        "9",
        [9],
        {"a": {"b": 9}},
    ]
    told = {random_.choice(names): random_.choice(values) for _ in range(random_.randrange(20))}
    told[f"mine_{random_.random()}_total"] = 1
    states = ["CONNECTED", "DISCONNECTED", "RECONNECTING", "FAILED", "MINE", f"{random_.random()}", None, 4]
    steps: list[Any] = [
        [random_.choice([-1, 0, 2**53 - 1, "9", None]), random_.choice(states), random_.choice(states)]
        for _ in range(random_.randrange(50))
    ]
    environment = random_.choice([*ENVIRONMENTS, f"mine {random_.random()}", "", None])
    frame = {"type": "TELEMETRY", "metrics": told, "environment": environment, "transitions": steps}
    return json.dumps(frame)


def hear(session: Exchange, text: str, now: float) -> None:
    """What a connection makes of it."""
    for action in session.receive(text, now):
        match action:
            case actions.Report(told, environment, transitions):
                emit(Reported("s", told, environment, transitions))
            case actions.Ignore():
                emit(ReportIgnored("s"))


@pytest.mark.parametrize("interval", [0.0, 10.0], ids=["at once", "ten seconds apart"])
def test_ten_thousand_hostile_reports_make_no_series_and_move_nothing_beyond_the_clamp(
    interval: float, page: Callable[[], Page], gained: Gained
):
    for environment in ENVIRONMENTS:
        report(dict.fromkeys(RANGES, 100), *((0, *step) for step in TRANSITIONS), environment=environment)
    emit(ReportIgnored("s"))
    before, random_, session = page(), random.Random(5), Exchange(0.0)
    session.receive('{"type": "HELLO", "protocol": "reconnect.v1", "client_id": "c", "streams": {}}', 0.0)
    for n in range(10_000):
        hear(session, hostile(random_), n * interval)
    after = page()
    for family in MEASURED:
        assert after.series(family) == before.series(family)
    taken = gained("reconnect_client_reports_total", outcome="taken") - len(ENVIRONMENTS)
    assert taken > 1_000 if interval else taken <= 1
    assert gained("reconnect_client_reports_total", outcome="ignored") > 100
    for name in COUNTERS:
        assert after.value(name) - before.value(name) <= taken * COUNTED[1]
    for name in HISTOGRAMS.keys() - {"reconnect_failed_attempt_duration_seconds"}:
        histograms = 2 if "attempt" in name else 1
        moved = after.value(f"{name}_count") - before.value(f"{name}_count")
        assert moved <= taken * histograms * MAX_OBSERVATIONS

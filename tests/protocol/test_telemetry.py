"""What a client may report of itself (design 12): hostile input makes no series and moves none too far."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.telemetry import (
    ENVIRONMENTS,
    MAX_AGE_MS,
    MAX_TRANSITIONS,
    RANGES,
    TRANSITIONS,
    environment,
    sane,
    transitions,
)

from .strategies import json_values, texts

numbers = st.integers() | st.floats()
reports = st.dictionaries(st.sampled_from(sorted(RANGES)) | texts, json_values | numbers)


@given(reports)
def test_whatever_is_reported_only_known_names_come_through_and_lie_in_their_ranges(metrics):
    for name, value in sane(metrics).items():
        low, high = RANGES[name]
        assert type(value) is float
        assert low <= value <= high


@given(reports)
def test_what_came_through_comes_through_unchanged(metrics):
    assert sane(sane(metrics)) == sane(metrics)


@given(st.sampled_from(sorted(RANGES)), st.floats(0, 1))
def test_a_value_in_its_range_is_itself(name, share):
    value = RANGES[name][1] * share
    assert sane({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (3, 3.0),
        (2.5, 2.5),
        (-1, 0.0),
        (-0.5, 0.0),
        (10**400, 100_000.0),
        (1e300, 100_000.0),
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
        (True, None),
        ("3", None),
        (None, None),
        ([3], None),
        ({"value": 3}, None),
    ],
    ids=str,
)
def test_numbers_are_clamped_and_all_else_is_dropped(value, kept):
    assert sane({"ws_queue_depth": value}) == ({} if kept is None else {"ws_queue_depth": kept})


def test_names_that_only_look_known_are_dropped():
    near = ["WS_QUEUE_DEPTH", "ws_queue_depth ", "ws_queue_depth\n", "ws_queue_depth{a=1}", "", "__proto__"]
    assert sane(dict.fromkeys(near, 1)) == {}


states = st.sampled_from(["DISCONNECTED", "RECONNECTING", "CONNECTED", "FAILED", "Connected", ""])


@given(json_values | st.lists(st.lists(numbers | states | json_values, max_size=4) | json_values))
def test_of_transitions_only_few_legal_ones_come_through(value):
    kept = transitions(value)
    assert len(kept) <= MAX_TRANSITIONS
    for age, left, entered in kept:
        assert type(age) is int
        assert 0 <= age <= MAX_AGE_MS
        assert (left, entered) in TRANSITIONS


@given(st.lists(st.tuples(st.integers(0, MAX_AGE_MS), st.sampled_from(sorted(TRANSITIONS))), max_size=32))
def test_legal_transitions_come_through_unchanged(steps):
    value = [[age, *states] for age, states in steps]
    assert transitions(value) == tuple(map(tuple, value))


@pytest.mark.parametrize(
    ("age", "kept"),
    [(-1, 0), (2.9, 2), (10**400, MAX_AGE_MS), (math.nan, None), (math.inf, None), (True, None), ("1", None)],
    ids=str,
)
def test_the_age_of_a_transition_is_moved_into_its_range(age, kept):
    step = "CONNECTED", "DISCONNECTED"
    assert transitions([[age, *step]]) == (() if kept is None else ((kept, *step),))


@given(json_values)
def test_an_environment_is_one_of_few_or_not_said(value):
    assert environment(value) in {*ENVIRONMENTS, None}


@pytest.mark.parametrize(
    ("given_", "label"),
    [("chromium", "chromium"), ("python", "python"), ("Chromium", "other"), ("", "other"), (None, None)],
)
def test_an_environment_that_is_not_known_is_other(given_, label):
    assert environment(given_) == label


def test_the_reference_lists_every_name_and_its_range():
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    section = text[text.index("## 10. ") :]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if "`" in line and "|" in line
    ]
    listed = {
        name: tuple(float(end.replace(" ", "")) for end in limits.split(" to "))
        for names, _, limits in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == dict(RANGES)

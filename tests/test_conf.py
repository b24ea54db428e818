"""The RECONNECT_CHANNELS setting."""

import dataclasses

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.conf import Settings, problems
from reconnect_channels.conf import settings as current
from reconnect_channels.log import log_for

DATABASE_LOG = "reconnect_channels.log.database.DatabaseLog"


def test_without_the_setting_the_defaults_hold():
    assert current() == Settings()


def test_what_is_given_replaces_defaults_and_nothing_else(settings):
    settings.RECONNECT_CHANNELS = {"MAX_DELTA": 7, "ALLOWED_ORIGINS": ("https://a.example",)}
    assert current() == dataclasses.replace(Settings(), MAX_DELTA=7, ALLOWED_ORIGINS=("https://a.example",))


def test_an_override_ends_with_its_block():
    with override_settings(RECONNECT_CHANNELS={"MAX_DELTA": 1}):
        assert current().MAX_DELTA == 1
        with override_settings(RECONNECT_CHANNELS={"MAX_DELTA": 2}):
            assert current().MAX_DELTA == 2
        assert current().MAX_DELTA == 1
    assert current() == Settings()


def test_an_override_replaces_the_logs_too():
    before = log_for("far:1")
    logs = {"default": {"BACKEND": DATABASE_LOG}, "far": {"BACKEND": DATABASE_LOG, "PREFIXES": ["far:"]}}
    with override_settings(RECONNECT_CHANNELS={"STREAM_LOGS": logs}):
        assert log_for("far:1") is not log_for("near:1")
        assert log_for("far:1") is log_for("far:2") is not before
    assert log_for("far:1") is log_for("near:1")


@pytest.mark.parametrize("given", [{"MAX_DETLA": 1}, {"B": 1, "A": 2}], ids=str)
def test_an_unknown_key_is_named(settings, given):
    settings.RECONNECT_CHANNELS = given
    with pytest.raises(ImproperlyConfigured, match=f"unknown keys: {', '.join(sorted(given))}"):
        current()


@pytest.mark.parametrize("given", [None, [1], "text", 5], ids=repr)
def test_what_is_no_mapping_is_refused(settings, given):
    settings.RECONNECT_CHANNELS = given
    with pytest.raises(ImproperlyConfigured, match="RECONNECT_CHANNELS"):
        current()


def test_a_misspelt_key_is_told_the_right_one(settings):
    settings.RECONNECT_CHANNELS = {"max_delta": 1, "HEADCHECK": 1, "COLOR": 1}
    with pytest.raises(
        ImproperlyConfigured, match=r"COLOR, HEADCHECK \(HEAD_CHECK\?\), max_delta \(MAX_DELTA\?\)"
    ):
        current()


LOG = {"BACKEND": DATABASE_LOG}
WRONG_VALUES = [
    ("MAX_DELTA", "5000", "a whole number above 0, not a str"),
    ("MAX_DELTA", 0, "a whole number above 0, not 0"),
    ("MAX_DELTA", 5.5, "a whole number above 0, not 5.5"),
    ("MAX_DELTA", True, "a whole number above 0, not True"),
    ("HEARTBEAT", None, "a number above 0, not None"),
    ("HEARTBEAT", float("nan"), "a number above 0, not nan"),
    ("HEARTBEAT", float("inf"), "a number above 0, not inf"),
    ("GRACE", -1, "a number of 0 or more, not -1"),
    ("DEDUP_SECONDS", "1d", "a number above 0, not a str"),
    ("CHANNEL_LAYER", "", "a name, not a str"),
    ("CHANNEL_LAYER", 5, "a name, not 5"),
    ("PUBLIC_URL", None, "a string, not None"),
    ("ALLOWED_ORIGINS", "https://a.example", "a list of strings, not a str"),
    ("ALLOWED_ORIGINS", [1], "a list of strings, not a list"),
    ("DEDUP", "redis://:secret@host", "a dict, not a str"),
    ("RETENTION", [], "a dict, not a list"),
    ("RETENTION", {"a:": 7}, "a dict with ENTRIES and SECONDS, not 7, at 'a:'"),
    ("RETENTION", {"a:": {"DAYS": 7}}, "a dict with ENTRIES and SECONDS, not a dict, at 'a:'"),
    ("RETENTION", {"a:": {"SECONDS": "7"}}, "a number above 0, not a str, at 'a:'"),
    ("STREAM_LOGS", {"default": "redis"}, "a dict, not a str, at 'default'"),
    ("STREAM_LOGS", {"default": {**LOG, "PREFIXES": "a:"}}, "a list of strings, not a str, for the PREFIXES"),
    ("STREAM_LOGS", {"default": {**LOG, "RETENTION": {"DAYS": 1}}}, "a dict with ENTRIES and SECONDS"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_VALUES, ids=lambda value: str(value)[:30])
def test_a_value_that_does_not_fit_is_told_what_would(settings, name, value, expected):
    settings.RECONNECT_CHANNELS = {name: value}
    with pytest.raises(ImproperlyConfigured) as raised:
        current()
    assert f'RECONNECT_CHANNELS["{name}"] must be {expected}' in str(raised.value)
    assert "secret" not in str(raised.value)


def test_everything_that_is_wrong_is_told_at_once(settings):
    settings.RECONNECT_CHANNELS = {"COLOR": 1, "RATE": "fast", "THREADS": -1}
    with pytest.raises(ImproperlyConfigured) as raised:
        current()
    assert [line.split()[0] for line in str(raised.value).splitlines()] == [
        "RECONNECT_CHANNELS",
        'RECONNECT_CHANNELS["THREADS"]',
        'RECONNECT_CHANNELS["RATE"]',
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"GRACE": 0, "SNAPSHOT_REUSE": 0, "PUBLIC_URL": ""},
        {"HEARTBEAT": 5, "DEDUP_SECONDS": 0.5},
        {"RETENTION": {"a:": {"ENTRIES": None, "SECONDS": 3600}, "b:": {}}},
        {"DEDUP": {}, "STREAM_LOGS": {"default": LOG}},
    ],
    ids=str,
)
def test_what_can_be_meant_is_taken(settings, given):
    settings.RECONNECT_CHANNELS = given
    for name, value in given.items():
        assert getattr(current(), name) == value


def test_origins_may_be_a_list(settings):
    settings.RECONNECT_CHANNELS = {"ALLOWED_ORIGINS": ["https://a.example"]}
    assert current().ALLOWED_ORIGINS == ("https://a.example",)


@given(
    st.dictionaries(
        st.sampled_from(sorted(vars(Settings()))) | st.text(max_size=5),
        st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
        max_size=5,
    )
)
def test_whatever_is_given_is_taken_or_told_and_nothing_else_happens(given):
    known = given.keys() <= vars(Settings()).keys()
    told = list(problems(given))
    assert told or known
    if not told:
        assert Settings(**given)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        current().MAX_DELTA = 1

"""The RECONNECT_CHANNELS setting."""

import dataclasses

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from reconnect_channels.conf import Settings
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


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        current().MAX_DELTA = 1

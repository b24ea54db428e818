"""Each system check fires, and is silent on a good configuration."""

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import BaseChannelLayer
from django.core.checks import run_checks
from django.db import connections

from reconnect_channels import registry
from reconnect_channels.consumers import DeltaSyncMixin

DATABASE_LOG = "reconnect_channels.log.database.DatabaseLog"

pytestmark = [pytest.mark.django_db, pytest.mark.database]  # JSONField's check asks the database


def found():
    """The ids of our checks' messages."""
    messages = run_checks(databases=list(connections))
    ours = [message for message in messages if message.id.startswith("reconnect_channels.")]
    for message in ours:
        assert message.msg
    return {message.id.removeprefix("reconnect_channels."): message for message in ours}


class NoGroups(BaseChannelLayer):
    extensions = ["flush"]


class Raising(BaseChannelLayer):
    def __init__(self, **config):
        raise ValueError("hosts are needed")


def use_layer(settings, backend):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}


def test_a_good_configuration_is_met_with_silence(settings):
    assert found() == {}
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": DATABASE_LOG},
            "other": {"BACKEND": DATABASE_LOG, "USING": "default", "PREFIXES": ["other:"]},
        },
        "RATE": 10.0,
    }
    assert found() == {}


BAD_SETTINGS = {
    "an unknown key": ({"MAX_DETLA": 1}, "MAX_DETLA"),
    "several unknown keys": ({"B": 1, "A": 1}, "A, B"),
    "not a mapping": (None, "RECONNECT_CHANNELS"),
    "a list": ([1], "RECONNECT_CHANNELS"),
    "no default log": ({"STREAM_LOGS": {"other": {"BACKEND": DATABASE_LOG}}}, "default"),
    "no logs": ({"STREAM_LOGS": {}}, "default"),
    "a log without a backend": ({"STREAM_LOGS": {"default": {}}}, "BACKEND"),
    "a backend that isn't there": ({"STREAM_LOGS": {"default": {"BACKEND": "nowhere.Log"}}}, "nowhere"),
    "an unknown option": ({"STREAM_LOGS": {"default": {"BACKEND": DATABASE_LOG, "COLOR": 1}}}, "color"),
}


@pytest.mark.parametrize(("given", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_settings_that_cannot_be_read(settings, given, said):
    settings.RECONNECT_CHANNELS = given
    messages = found()
    assert set(messages) == {"E001"}
    assert said in messages["E001"].msg


@pytest.mark.parametrize("module", ["core", "pubsub"])
def test_a_layer_on_redis_needs_no_event_loop_to_be_checked(settings, module):
    name = {"core": "RedisChannelLayer", "pubsub": "RedisPubSubChannelLayer"}[module]
    use_layer(settings, f"channels_redis.{module}.{name}")
    assert found() == {}


def test_no_channel_layer(settings):
    settings.CHANNEL_LAYERS = {}
    messages = found()
    assert set(messages) == {"W001"}
    assert messages["W001"].hint


def test_another_alias_than_the_layers_have(settings):
    settings.RECONNECT_CHANNELS = {"CHANNEL_LAYER": "far"}
    assert set(found()) == {"W001"}


def test_a_layer_without_groups(settings):
    use_layer(settings, "tests.test_checks.NoGroups")
    assert set(found()) == {"E002"}


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("nowhere.Layer", "nowhere"),
        ("tests.test_checks.Missing", "Missing"),
        ("tests.test_checks.Raising", "hosts"),
    ],
)
def test_a_layer_that_cannot_be_built(settings, backend, said):
    use_layer(settings, backend)
    messages = found()
    assert set(messages) == {"E002"}
    assert said in messages["E002"].msg


@pytest.mark.parametrize(("one", "other"), [("board:", "board:"), ("board:", "board:1:"), ("b", "board:")])
def test_consumers_that_claim_the_same_streams(monkeypatch, one, other):
    bases = (DeltaSyncMixin, AsyncJsonWebsocketConsumer)
    classes = [type("Consumer", bases, {"stream_prefix": prefix}) for prefix in ("elsewhere:", one, other)]
    for consumer_class in classes:
        registry.consumers.remove(consumer_class)
    monkeypatch.setattr(registry, "consumers", classes)
    messages = found()
    assert set(messages) == {"E003"}
    for text in ("Consumer", one, other):
        assert text in messages["E003"].msg
    assert "elsewhere:" not in messages["E003"].msg


@pytest.mark.skipif("connections['default'].vendor != 'sqlite'", reason="about SQLite")
@pytest.mark.parametrize(
    "options", [{}, {"transaction_mode": None}, {"transaction_mode": "DEFERRED"}], ids=str
)
def test_sqlite_that_fails_at_once_when_another_one_writes(monkeypatch, options):
    monkeypatch.setitem(connections.databases["default"], "OPTIONS", options)
    messages = found()
    assert set(messages) == {"W002"}
    assert "IMMEDIATE" in messages["W002"].hint


def test_databases_that_are_not_asked_about_are_not_judged(monkeypatch):
    monkeypatch.setitem(connections.databases["default"], "OPTIONS", {})
    assert [m for m in run_checks() if m.id.startswith("reconnect_channels.")] == []

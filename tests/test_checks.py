"""Each system check fires, and is silent on a good configuration."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import BaseChannelLayer
from django.core.checks import run_checks
from django.db import connections

from reconnect_channels import checks, registry
from reconnect_channels.checks.database import check_databases
from reconnect_channels.checks.settings import OUTBOX_AGE
from reconnect_channels.checks.site import check_daphne
from reconnect_channels.consumers import DeltaSyncMixin
from tests.servers import ROOT

DATABASE_LOG = "reconnect_channels.log.database.DatabaseLog"

pytestmark = [pytest.mark.django_db, pytest.mark.database]  # JSONField's check asks the database


def found(*, deploy=False):
    """The ids of our checks' messages."""
    messages = run_checks(databases=list(connections), include_deployment_checks=deploy)
    ours = [message for message in messages if message.id.startswith("reconnect_channels.")]
    for message in ours:
        assert message.msg
    return {message.id.removeprefix("reconnect_channels."): message for message in ours}


class NoGroups(BaseChannelLayer):
    extensions = ["flush"]


class Raising(BaseChannelLayer):
    def __init__(self, **config):
        raise ValueError("hosts are needed")


def use_layer(settings, backend, **config):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}


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


def test_each_wrong_setting_is_a_message_of_its_own(settings):
    settings.RECONNECT_CHANNELS = {"COLOR": 1, "RATE": "fast", "THREADS": -1}
    wrong = [message.msg for message in run_checks() if message.id == "reconnect_channels.E001"]
    assert len(wrong) == 3
    for name in ("COLOR", "RATE", "THREADS"):
        assert any(name in text for text in wrong)


@pytest.mark.parametrize(
    "given",
    [
        {"HEARTBEAT": 30.0},
        {"DEAD_AFTER": 15},
        {"DEDUP_SECONDS": 40 * 86400},
        {"SESSION_REFRESH": 100, "SESSION_SECONDS": 60},
    ],
    ids=str,
)
def test_times_that_contradict_each_other(settings, given):
    settings.RECONNECT_CHANNELS = given
    messages = found()
    assert set(messages) == {"E005"}
    assert all(name in messages["E005"].msg for name in given)


def test_answers_that_are_forgotten_before_an_outbox_comes_back(settings):
    settings.RECONNECT_CHANNELS = {"DEDUP_SECONDS": 600}
    messages = found()
    assert set(messages) == {"W008"}
    assert "600 s" in messages["W008"].msg
    client = (ROOT / "client/src/persistence/index.ts").read_text()
    assert f"maxAgeMs: {OUTBOX_AGE // 3600} * 3_600_000" in client, "what the client keeps by default"


@pytest.mark.parametrize(("given", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_settings_that_cannot_be_read(settings, given, said):
    settings.RECONNECT_CHANNELS = given
    messages = found()
    assert set(messages) == {"E001"}
    assert said in messages["E001"].msg


CORE, PUBSUB = "channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"


@pytest.mark.parametrize(("backend", "config"), [(CORE, {"capacity": 1000}), (PUBSUB, {})])
def test_a_layer_on_redis_needs_no_event_loop_to_be_checked(settings, backend, config):
    use_layer(settings, backend, **config)
    assert found() == {}


def test_a_core_layer_that_holds_too_little(settings):
    use_layer(settings, CORE)
    messages = found()
    assert set(messages) == {"W004"}
    assert "holds 100 messages" in messages["W004"].msg


def test_a_core_layer_that_forgets_groups_before_they_are_renewed(settings):
    use_layer(settings, CORE, capacity=1000, group_expiry=3600)
    assert set(found()) == {"W006"}


@pytest.mark.parametrize(
    ("host", "ids"),
    [
        ("redis://r:6379", ["E006", "W009"]),
        (("r", 6379), ["E006", "W009"]),
        ({"address": "redis://r:6379", "socket_timeout": None}, ["W009"]),
        ({"address": "redis://r:6379?socket_timeout=30", "max_connections": 500}, []),
        ("redis://r:6379?max_connections=500", ["E006"]),
    ],
    ids=str,
)
def test_redis_py_8_under_a_core_layer(settings, monkeypatch, host, ids):
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"redis": "8.1.0"}.get(name, "9"))
    use_layer(settings, CORE, capacity=1000, hosts=[host])
    assert sorted(found()) == ids
    use_layer(settings, PUBSUB, hosts=[host])
    assert found() == {}


@pytest.mark.parametrize(
    ("workers", "deploy", "said"),
    [
        (None, False, False),
        (None, True, True),
        ("1", False, False),
        ("4", False, True),
        ("4", True, True),
        ("x", False, False),
    ],
)
def test_a_layer_in_memory_where_there_may_be_several_processes(settings, monkeypatch, workers, deploy, said):
    use_layer(settings, "channels.layers.InMemoryChannelLayer")
    if workers is None:
        monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    else:
        monkeypatch.setenv("WEB_CONCURRENCY", workers)
    messages = run_checks(include_deployment_checks=deploy)
    assert [m.id for m in messages].count("reconnect_channels.W005") == said


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


@pytest.mark.parametrize(("journal", "said"), [("DELETE", True), ("WAL", False)])
def test_sqlite_whose_writers_wait_for_its_readers(tmp_path, journal, said):
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    code = (
        "import tests.settings as s; s.DATABASES['default']['OPTIONS']['init_command'] = "
        f"'PRAGMA journal_mode={journal}'; import django; django.setup(); "
        "from reconnect_channels.checks.database import check_databases; "
        "print([message.id for message in check_databases(['default'])])"
    )
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    out = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True)
    assert out == ("['reconnect_channels.W003']\n" if said else "[]\n")


@pytest.mark.parametrize(("level", "said"), [(None, False), (2, False), (3, True), (4, True)])
def test_postgresql_that_isolates_more_than_streams_can_take(monkeypatch, level, said):
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    monkeypatch.setitem(connections.databases["default"], "OPTIONS", {"isolation_level": level})
    found = [message.id for message in check_databases(databases=["default"])]
    assert found == ["reconnect_channels.W007"] * said


# -- around the sockets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "fits"),
    [
        ("https://app.example.com", True),
        ("https://app.example.com:8443", True),
        ("http://[::1]:8000", False),  # browsers send it; Django's own list can't have it either
        ("*", False),
        ("https://*.example.com", False),
        ("https://app.example.com/", False),
        ("https://app.example.com/path", False),
        ("https://App.example.com", False),
        ("app.example.com", False),
        ("https://app.example.com:port", False),
        ("", False),
    ],
)
def test_origins_that_fit_no_page(settings, origin, fits):
    settings.RECONNECT_CHANNELS = {"ALLOWED_ORIGINS": [origin]}
    assert set(found()) == (set() if fits else {"E007"})


def test_urls_that_are_not_included(settings):
    settings.ROOT_URLCONF = "tests.test_checks"
    assert set(found()) == {"W019"}


urlpatterns: list = []


def test_templates_that_do_not_know_the_request(settings):
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "OPTIONS": {"context_processors": []}}]
    messages = run_checks()
    assert "reconnect_channels.W020" in [message.id for message in messages]


@pytest.mark.parametrize(
    ("version", "safe"), [("4.2.1", False), ("4.1.0", False), ("4.2.2", True), ("4.10.0", True)]
)
def test_a_daphne_with_known_holes(settings, monkeypatch, version, safe):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    settings.INSTALLED_APPS = ["daphne", *settings.INSTALLED_APPS]
    ids = [message.id for message in check_daphne()]
    assert ids == ([] if safe else ["reconnect_channels.W013"])
    settings.INSTALLED_APPS = settings.INSTALLED_APPS[1:]
    assert check_daphne() == []


def test_a_deployment_that_is_open_to_other_sites(settings):
    use_layer(settings, PUBSUB)
    assert found(deploy=True) == {}
    settings.ALLOWED_HOSTS = ["*"]
    assert set(found(deploy=True)) == {"W015"}
    assert found() == {}
    settings.ALLOWED_HOSTS = [".example.com"]
    settings.RECONNECT_CHANNELS = {"ALLOWED_ORIGINS": ["http://old.example.com", "https://app.example.com"]}
    assert found(deploy=True) == {}
    settings.SESSION_COOKIE_SECURE = True
    messages = found(deploy=True)
    assert set(messages) == {"W017"}
    assert "http://old.example.com" in messages["W017"].msg
    assert "https://app" not in messages["W017"].msg


@pytest.mark.parametrize(
    ("limit", "said"), [("65536", True), ("131072", False), ("16777216", False), ("", False)]
)
def test_a_server_that_cuts_frames_before_they_are_answered(settings, monkeypatch, limit, said):
    use_layer(settings, PUBSUB)
    monkeypatch.setenv("UVICORN_WS_MAX_SIZE", limit)
    assert set(found(deploy=True)) == ({"W014"} if said else set())


def test_prefixes_in_the_settings_that_no_consumer_serves(settings):
    use_layer(settings, PUBSUB)
    settings.RECONNECT_CHANNELS = {
        "RETENTION": {"notes:": {"ENTRIES": 5}, "notes:old:": {}, "nots:": {"ENTRIES": 5}},
        "STREAM_LOGS": {"default": {"BACKEND": DATABASE_LOG, "PREFIXES": ["cursr:"]}},
    }
    wrong = [m for m in run_checks(include_deployment_checks=True) if m.id == "reconnect_channels.W018"]
    assert [m.msg.split()[0] for m in wrong] == ['RETENTION["nots:"]', '"cursr:"']
    assert "notes:" in wrong[0].hint


def test_every_check_has_an_id_of_its_own_and_most_say_what_to_do():
    ids = []
    for file in Path(checks.__file__).parent.glob("*.py"):
        ids += re.findall(r'id="reconnect_channels\.([EW]\d{3})"', file.read_text())
    assert len(ids) >= 20
    assert {id_ for id_ in ids if ids.count(id_) > 1} == {"E002"}, "a layer that is none, in two ways"

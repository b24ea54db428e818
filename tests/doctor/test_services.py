"""Databases and Redis servers that are well, and such that are not: each fault is named."""

import json
from typing import Any

import pytest

from reconnect_channels.doctor.finding import Plan
from reconnect_channels.doctor.layer import probe
from tests import services
from tests.servers import HOST, free_port

from .conftest import Doctor, examine, manage

pytestmark = [pytest.mark.servers]


def fast_log(url: str, **others: Any) -> str:
    """The setting of a log in Redis that the doctor's own stream lies in, too."""
    fast = {
        "BACKEND": "reconnect_channels.log.redis.RedisLog",
        "LOCATION": url,
        "PREFIXES": ["reconnect.doctor:", "cursor:"],
    }
    default = {"BACKEND": "reconnect_channels.log.database.DatabaseLog"}
    return json.dumps({"STREAM_LOGS": {"default": default, "fast": fast}, **others})


def migrate(url: str) -> dict[str, str]:
    """The environment of a database with tables."""
    environment = {"DATABASE_URL": url}
    manage(environment, "migrate", "--verbosity=0").check_returncode()
    return environment


@pytest.mark.redis
def test_good_services_pass():
    with services.postgres(fsync="on") as postgres, services.redis(appendonly="everysec") as redis:
        environment = migrate(services.postgres_url(postgres))
        report = examine(
            {
                **environment,
                "CHANNELS_REDIS_URL": services.redis_url(redis),
                "RECONNECT_CHANNELS": fast_log(services.redis_url(redis)),
            }
        )
    # The core layer's capacity is Channels' default, and this machine may be busy.
    assert report.bad() <= {("checks", "W004"), ("redis", "latency"), ("layer", "round_trip")}
    assert report.code == 0
    assert {"fsync", "isolation", "deadline", "clock", "migrations"} <= names(report.findings, "database")
    assert {"version", "eviction", "persistence", "latency", "scripts"} <= names(report.findings, "redis")
    assert {"round_trip"} == names(report.findings, "layer")
    assert {"publish", "connect", "receive", "message", "resume", "cleanup"} == names(report.findings, "trip")


def names(findings: list[dict[str, str]], probe: str) -> set[str]:
    return {each["name"] for each in findings if each["probe"] == probe}


@pytest.mark.redis
@pytest.mark.faults
@pytest.mark.slow
def test_services_that_forget_what_they_were_told_are_named():
    changed = {"synchronous_commit": "off", "full_page_writes": "off", "idle_session_timeout": "5s"}
    evicting = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]
    with services.postgres(**changed) as postgres, services.redis(*evicting) as redis:
        environment = migrate(services.postgres_url(postgres))
        environment["RECONNECT_CHANNELS"] = fast_log(services.redis_url(redis))
        report = examine(environment, "--only=database", "--only=redis")
    assert report.code == 1
    assert report.level("database", "fsync") == "failure"
    assert report.level("database", "synchronous_commit") == "failure"
    assert report.level("database", "full_page_writes") == "warning"
    assert report.level("database", "idle_session_timeout") == "warning"
    assert report.level("redis", "eviction") == "failure"
    assert report.level("redis", "persistence") == "warning"


@pytest.mark.faults
def test_a_database_that_takes_no_writes_is_named():
    with services.postgres(
        default_transaction_read_only="on", default_transaction_isolation="serializable"
    ) as postgres:
        report = examine({"DATABASE_URL": services.postgres_url(postgres)}, "--only=database")
    assert report.level("database", "primary") == "failure"
    assert report.level("database", "isolation") == "failure"
    assert report.level("database", "migrations") == "failure"


def test_tables_that_are_missing_are_named(tmp_path):
    report = examine({"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}, "--only=database")
    assert report.code == 1
    (missing,) = report.of("database", "migrations")
    assert "0001_initial" in missing["text"]
    assert "manage.py migrate" in missing["advice"]


def test_a_dead_database_stops_no_other_probe():
    report = examine({"DATABASE_URL": f"postgresql://nobody@{HOST}:{free_port()}/none"})
    assert report.code == 1
    (dead,) = report.of("database", "connection")
    assert "doesn't answer, so nothing can be written" in dead["text"]
    assert report.level("redis", "configured") == "ok"
    assert {each["probe"] for each in report.findings} >= {"layer", "nodes", "proxy", "trip"}


@pytest.mark.slow
@pytest.mark.faults
def test_a_frozen_database_keeps_nobody_waiting(postgres_server):
    environment = {"DATABASE_URL": services.postgres_url(postgres_server)}
    postgres_server.freeze()
    try:
        report = examine(environment, "--only=database", "--only=trip")
    finally:
        postgres_server.thaw()
    assert report.code == 1
    assert report.level("database", "connection") == "failure"
    assert report.level("trip", "publish") == "failure"


@pytest.mark.redis
@pytest.mark.faults
@pytest.mark.slow
def test_clusters_and_sentinels_are_asked_through_their_clients(doctor, redis_cluster_urls, db):
    log = json.loads(fast_log(redis_cluster_urls[0]))
    report = doctor("--only=redis", RECONNECT_CHANNELS=json.dumps(log))
    assert report.level("redis", "cluster") == "failure"
    log["STREAM_LOGS"]["fast"] |= {"LOCATION": redis_cluster_urls, "CLUSTER": True}
    report = doctor("--only=redis", RECONNECT_CHANNELS=json.dumps(log))
    assert len(report.of("redis", "version")) == len(redis_cluster_urls)
    assert report.level("redis", "scripts") == "ok"
    with services.sentinel() as watched:
        log["STREAM_LOGS"]["fast"] |= {"LOCATION": watched.location, "CLUSTER": False}
        report = doctor("--only=redis", RECONNECT_CHANNELS=json.dumps(log))
    assert report.of("redis", "role") == []
    assert report.level("redis", "scripts") == "ok"


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_dead_redis_is_named_for_each_use_of_it(doctor: Doctor):
    url = f"redis://{HOST}:{free_port()}/0"
    given = fast_log(url, DEDUP={"LOCATION": url})
    report = doctor("--only=redis", "--only=layer", RECONNECT_CHANNELS=given, CHANNELS_REDIS_URL=url)
    assert report.code == 1
    dead = [each["text"] for each in report.of("redis", "connection")]
    assert [text.partition(",")[0] for text in dead] == [
        f"The Redis of {use} doesn't answer" for use in ("the log", "dedup", "the channel layer")
    ]
    assert report.level("layer", "round_trip") == "failure"


@pytest.mark.redis
@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_redis_that_is_a_replica_or_runs_no_scripts_is_named(doctor: Doctor, redis_server):
    from redis import Redis

    with Redis(port=redis_server.port) as client:
        client.execute_command("ACL SETUSER default -eval -evalsha")
        client.replicaof(HOST, free_port())
    given = fast_log(services.redis_url(redis_server))
    report = doctor("--only=redis", RECONNECT_CHANNELS=given)
    assert report.level("redis", "role") == "failure"
    assert report.level("redis", "scripts") == "failure"


@pytest.mark.redis
@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("backend", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
def test_what_one_loop_says_reaches_another_through_the_layer(backend, settings, redis_url):
    layer: dict[str, Any] = {"BACKEND": f"channels_redis.{backend}", "CONFIG": {"hosts": [redis_url]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    (found,) = probe(Plan())
    assert found.name == "round_trip"
    assert found.level != "failure", found

"""RedisLog on one server: what the state machine doesn't reach (design 7.5)."""

import re
import time
import uuid
from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.utils import timezone
from redis import Redis

from reconnect_channels.log import redis as redis_log
from reconnect_channels.log.base import Mismatch
from reconnect_channels.log.redis import PER_CALL, RedisLog
from reconnect_channels.models import Stream
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import Position, advance, fold
from tests.servers import free_port
from tests.services import redis_url as url_of

from .conftest import drafts

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.redis]


@pytest.fixture
def log(redis_url):
    log = RedisLog(redis_url, key_prefix=f"{uuid.uuid4()}:")
    yield log
    log.endpoint.close()


@pytest.fixture
def server(log):
    """Redis, as an operator sees it."""
    return log.endpoint.client


def seqs(entries):
    return [entry.seq for entry in entries]


# -- settings ----------------------------------------------------------------------------------------------

SENTINEL = {"sentinels": [("127.0.0.1", 26379)], "master_name": "fast"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "LOCATION is a URL"),
        ({"location": 6379}, "LOCATION is a URL"),
        ({"location": []}, "LOCATION is a URL"),
        ({"location": "localhost:6379"}, "is not a URL of Redis"),
        ({"location": "http://localhost"}, "is not a URL of Redis"),
        ({"location": "redis://localhost:port"}, "is not a URL of Redis"),
        ({"location": ["redis://a", "redis://b"]}, "set CLUSTER to True"),
        ({"location": ["redis://a", "nothing"], "cluster": True}, "'nothing' is not a URL"),
        ({"location": "redis://a/1", "cluster": True}, "a cluster has only database 0"),
        ({"location": SENTINEL, "cluster": True}, "CLUSTER can't be True"),
        ({"location": {"sentinels": [("a", 1)]}}, "lacks master_name"),
        ({"location": {"hosts": ["a"]}}, "lacks master_name, sentinels"),
        ({"location": {**SENTINEL, "sentinels": []}}, r"a list of \(host, port\)"),
        ({"location": {**SENTINEL, "sentinels": [26379]}}, r"a list of \(host, port\)"),
        ({"location": "redis://a", "key_prefix": "{a}"}, "KEY_PREFIX"),
        ({"location": "redis://a", "key_prefix": "*"}, "KEY_PREFIX"),
    ],
)
def test_what_cannot_be_a_location_is_said_clearly(options, complaint):
    with pytest.raises(ImproperlyConfigured, match=complaint):
        RedisLog(**options)


@pytest.mark.parametrize("location", ["redis://", "rediss://u:p@host:1/2", "unix:///run/redis", SENTINEL])
def test_a_log_is_made_without_a_connection(location):
    RedisLog(location)


def configured(settings, **options):
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
            "fast": {
                "BACKEND": "reconnect_channels.log.redis.RedisLog",
                "PREFIXES": ["fast:"],
                **options,
            },
        }
    }


def test_the_system_check_names_a_bad_location_and_connects_nowhere(settings):
    configured(settings, LOCATION=f"redis://127.0.0.1:{free_port()}", TIMEOUT=1)
    call_command("check")
    configured(settings, LOCATION=["redis://a", "redis://b"])
    with pytest.raises(SystemCheckError, match=r"E001.*set CLUSTER to True"):
        call_command("check")
    configured(settings, LOCATION="redis://a", PORT=1)
    with pytest.raises(SystemCheckError, match=r"E001.*port"):
        call_command("check")


# -- appending ---------------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_appended(log):
    texts = ['{"a":[1,2.50,null]}', '"\\u00e9 é 😀"', '"x\'%s%%"', '"' + "x" * 65_000 + '"', '""']
    batch = [draft._replace(text=text) for draft, text in zip(drafts(5, key="k"), texts, strict=True)]
    batch[1] = batch[1]._replace(key=None)
    appended = log.append("s", batch, 7)
    assert [(entry.text, entry.key) for entry in appended] == [(draft.text, draft.key) for draft in batch]
    start = Position(appended[0].epoch, 0, 0)
    assert log.read("s", start, 10).entries == appended
    assert log.existing("s", [batch[3].id]) == {batch[3].id: appended[3]}


def test_numbers_stay_exact_up_to_what_javascript_can_count(log):
    top = 2**53 - 3
    log.append("s", drafts(1), 0)
    log.endpoint.client.hset(log.keys("s")[0], mapping={"seq": top, "clock": top})
    entries = log.append("s", drafts(2), 0)
    assert [(entry.seq, entry.clock) for entry in entries] == [(top + 1, top + 1), (top + 2, top + 2)]
    assert log.read("s", entries[0].position, 9).entries == entries[1:]
    assert log.append("s", [drafts(1)[0]._replace(id=entries[0].id)], 0) == entries[:1]


def test_a_batch_may_be_larger_than_one_call(log):
    batch = drafts(2 * PER_CALL + 1)
    entries = log.append("s", batch, 0)
    assert seqs(entries) == list(range(1, len(batch) + 1))
    assert entries[-1].checksum == fold(0, [draft.id for draft in batch])
    run = log.read("s", Position(entries[0].epoch, 0, 0), len(batch))
    assert run.entries == entries
    assert log.append("s", batch, 0) == entries
    assert len(log.existing("s", [draft.id for draft in batch])) == len(batch)


def test_nothing_appended_takes_no_seq(log):
    log.append("s", drafts(2), 0)
    assert log.append("s", [], 50) == []
    assert log.existing("s", []) == {}
    assert log.heads(["s"])["s"].seq == 2


def test_the_clock_of_the_log_is_at_most_a_thousand_behind(log, redis_url):
    assert log.clock() == 0
    log.append("a", drafts(1), 5_000)
    assert log.clock() == 5_001
    for _ in range(5):
        latest = log.append("b", drafts(300), log.clock())[-1].clock
        assert latest - 1_000 <= log.clock() <= latest
    behind = RedisLog(redis_url, key_prefix=log._prefix)  # another process, that has seen less
    behind.append("c", drafts(1), 0)
    assert log.clock() >= latest - 1_000
    behind.endpoint.close()


# -- names and keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{a}:s", "a:{b}", "}{", "*", "s" * 100])
def test_a_name_chooses_neither_slot_nor_keys(log, name):
    for key in log.keys(name):
        assert re.fullmatch(re.escape(log._prefix) + r"\{[0-9a-f]{32}\}:[a-z]+", key)
    log.append(name, drafts(1), 0)
    log.append("other", drafts(2), 0)
    assert (log.heads([name])[name].seq, log.heads(["other"])["other"].seq) == (1, 2)
    assert sorted(log.names()) == sorted([name, "other"])


def test_two_logs_on_one_server_have_nothing_in_common(log, redis_url):
    other = RedisLog(redis_url, key_prefix=f"{log._prefix}other:")
    other.append("s", drafts(3), 0)
    assert log.heads(["s"])["s"].seq == 0
    assert list(other.names()) == ["s"]
    other.endpoint.close()


def test_heads_of_many_streams_cost_few_round_trips(log, monkeypatch):
    names = [f"s{n}" for n in range(700)]
    for name in names[:3]:
        log.append(name, drafts(2), 0)
    assert len(log.heads(names)) == 700
    sent = []
    send = Redis.execute_command
    monkeypatch.setattr(Redis, "execute_command", lambda *args: sent.append(args) or send(*args))
    heads = log.heads([*names, "s0"])
    assert sent == []  # pipelines only
    assert [heads[name].seq for name in names[:4]] == [2, 2, 2, 0]
    assert len({head.epoch for head in heads.values()}) == 700
    assert log.heads([]) == {}


# -- retention -----------------------------------------------------------------------------------------------


def test_appending_forgets_old_entries_and_what_is_left_can_be_proven(log, server):
    log.retention = {"ENTRIES": 100}
    history = [Position("", 0, 0)]
    for _ in range(50):
        history += [entry.position for entry in log.append("s", drafts(10), 0)]
    head = log.heads(["s"])["s"]
    floor = head.floor
    assert 1 < floor <= 500 - 100 + 1
    assert head.seq - floor + 1 == server.xlen(log.keys("s")[1]) <= 300, "Redis trims whole nodes"
    assert head.floor_checksum == history[floor - 1].checksum
    assert seqs(log.read("s", history[floor - 1], 1000).entries) == list(range(floor, 501))
    with pytest.raises(Mismatch, match="trimmed"):
        log.read("s", history[floor - 2], 10)
    with pytest.raises(Mismatch, match="diverged"):
        log.read("s", history[floor - 1]._replace(checksum=1), 10)
    assert server.zcard(log.keys("s")[2]) == server.xlen(log.keys("s")[1])


def test_a_floor_that_somebody_else_moved_is_seen(log, server):
    entries = log.append("s", drafts(10), 0)
    server.xtrim(log.keys("s")[1], minid=6, approximate=False)
    head = log.heads(["s"])["s"]
    assert (head.floor, head.floor_checksum) == (6, entries[4].checksum)
    server.delete(log.keys("s")[1])  # evicted
    head = log.heads(["s"])["s"]
    assert (head.floor, head.floor_checksum) == (11, entries[-1].checksum)
    again = log.append("s", drafts(1), 0)[0]
    assert again.position == entries[-1].position.then(again.id)


def test_an_entry_in_the_middle_that_somebody_deleted_proves_nothing(log, server):
    entries = log.append("s", drafts(3), 0)
    server.xdel(log.keys("s")[1], 2)
    with pytest.raises(Mismatch, match="diverged"):
        log.read("s", entries[1].position, 10)
    assert log.checksum_at("s", entries[0].epoch, 2) is None


def test_trimming_goes_on_in_steps(log, server, monkeypatch):
    monkeypatch.setattr(redis_log, "TRIM_STEP", 3)
    log.append("s", drafts(10), 0)
    assert log.trim("s", 9) == 8
    assert log.heads(["s"])["s"].floor == 9
    assert server.zcard(log.keys("s")[2]) == 2
    assert log.trim("unknown", 9) == 0


def test_a_stream_that_is_silent_for_longer_than_entries_are_kept_is_forgotten_but_for_its_position(
    log, server
):
    log.retention = {"SECONDS": 60}
    entries = log.append("s", drafts(3), 0)
    meta, stream, ids = log.keys("s")
    assert 59_000 < server.pttl(stream) <= 60_000
    assert server.pttl(meta) > server.pttl(stream) + 1_000_000
    server.pexpire(stream, 1)
    server.pexpire(ids, 1)
    while server.exists(stream, ids):
        time.sleep(0.002)
    assert log.read("s", entries[-1].position, 10).entries == []
    with pytest.raises(Mismatch, match="trimmed"):
        log.read("s", entries[0].position, 10)
    assert log.append("s", drafts(1), 0)[0].seq == 4


def test_streams_without_an_age_are_kept_for_ever(log, server):
    log.append("s", drafts(1), 0)
    assert [server.pttl(key) for key in log.keys("s")] == [-1, -1, -1]


def test_the_newest_entry_of_before_a_moment_is_found(log, monkeypatch):
    monkeypatch.setattr(redis_log, "PER_CALL", 4)
    assert log.newest_before("s", timezone.now()) is None
    start = timezone.now()
    for hours in range(9):
        moment = int((start + timedelta(hours=hours)).timestamp() * 1e9)
        monkeypatch.setattr(redis_log.time, "time_ns", lambda moment=moment: moment)
        log.append("s", drafts(1), 0)
    for hours in range(1, 10):
        assert log.newest_before("s", start + timedelta(hours=hours - 0.5)) == hours
    assert log.newest_before("s", start - timedelta(hours=1)) is None
    log.trim("s", 5)
    assert log.newest_before("s", start + timedelta(hours=2)) is None
    assert log.newest_before("s", start + timedelta(hours=6.5)) == 7


# -- losses --------------------------------------------------------------------------------------------------


def refused(log, position, reason):
    with pytest.raises(Mismatch) as mismatch:
        log.read("s", position, 10)
    assert mismatch.value.reason is reason


def test_a_life_that_is_gone_gets_another_epoch(log, server):
    entries = log.append("s", drafts(3), 0)
    server.delete(*log.keys("s"))
    refused(log, entries[-1].position, Resync.EPOCH)
    assert log.heads(["s"])["s"][1:] == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("first", ["read", "heads", "append"])
def test_entries_whose_life_is_gone_are_deleted(log, server, first):
    entries = log.append("s", drafts(3), 0)
    server.delete(log.keys("s")[0])
    if first == "append":
        [entry] = log.append("s", [drafts(1)[0]._replace(id=entries[0].id)], 0)
        assert entry.position == Position(entry.epoch, 1, advance(0, entry.id))
    elif first == "heads":
        log.heads(["s"])
    else:
        refused(log, entries[-1].position, Resync.EPOCH)
    refused(log, entries[-1].position, Resync.EPOCH)
    assert server.xlen(log.keys("s")[1]) == log.heads(["s"])["s"].seq == (first == "append")


def test_a_tail_that_was_lost_and_filled_again_is_found_at_every_position_of_it(log, server):
    entries = log.append("s", drafts(2), 0)
    kept = {key: server.dump(key) for key in log.keys("s")}
    lost = log.append("s", drafts(3), 0)
    for key, value in kept.items():
        server.delete(key)
        server.restore(key, 0, value)
    refused(log, lost[0].position, Resync.REWOUND)
    refilled = log.append("s", drafts(4), 0)
    assert seqs(log.read("s", entries[-1].position, 10).entries) == seqs(refilled) == [3, 4, 5, 6]
    for entry in lost:
        refused(log, entry.position, Resync.DIVERGED)


def test_after_a_total_loss_a_stream_goes_on_above_what_the_archive_knows(log, server):
    Stream.objects.create(name="s", epoch="old", head=70, floor=50, checksum=1, clock=900)
    Stream.objects.create(name="unread", epoch="old", head=7, clock=9)
    [entry] = log.append("s", drafts(1), 0)
    assert (entry.seq, entry.clock) == (71, 901)
    assert entry.epoch != "old"
    heads = log.heads(["s", "unread", "new"])
    assert [heads[name][1:] for name in ("s", "unread", "new")] == [
        (71, advance(0, entry.id), 71, 0, 901),
        (7, 0, 8, 0, 9),
        (0, 0, 1, 0, 0),
    ]
    assert log.read("s", Position(entry.epoch, 70, 0), 10).entries == [entry]


def test_scripts_that_the_server_forgot_are_sent_again(log, server):
    for name in "abc":
        log.append(name, drafts(1), 0)
    server.script_flush()
    assert {head.seq for head in log.heads(["a", "b", "c"]).values()} == {1}
    server.script_flush()
    assert log.append("a", drafts(1), 0)[0].seq == 2


# -- how the server is set up --------------------------------------------------------------------------------


OF_SERVERS = {"reconnect_channels.W010", "reconnect_channels.W011", "reconnect_channels.W012"}


def complaints():
    messages = run_checks(include_deployment_checks=True)
    return [message.id for message in messages if message.id in OF_SERVERS]


def test_a_server_that_forgets_is_complained_of_when_a_deployment_is_checked(settings, redis_server):
    configured(settings, LOCATION=url_of(redis_server))
    with Redis(port=redis_server.port) as server:
        assert complaints() == ["reconnect_channels.W012"]
        server.config_set("maxmemory", "100mb")
        server.config_set("maxmemory-policy", "allkeys-lru")
        assert complaints() == ["reconnect_channels.W011", "reconnect_channels.W012"]
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("appendonly", "yes")
        assert complaints() == []
    redis_server.kill()
    assert complaints() == ["reconnect_channels.W010"]


def test_each_node_of_a_cluster_is_asked(settings, redis_cluster_urls):
    configured(settings, LOCATION=redis_cluster_urls, CLUSTER=True)
    assert complaints() == ["reconnect_channels.W012"] * 3


def test_without_a_log_in_redis_nothing_is_asked():
    assert complaints() == []

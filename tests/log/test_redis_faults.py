"""RedisLog while its servers are cut off, frozen, killed and replaced (faults F12 to F16)."""

import socket
import threading
import time
import uuid
from functools import partial

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from reconnect_channels.log.base import Mismatch
from reconnect_channels.log.redis import RedisLog
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import Position
from tests import services
from tests.proxy import FaultProxy
from tests.services import redis_url as url_of

from .conftest import drafts
from .threads import at_once, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.redis,
    pytest.mark.faults,
]

WRITERS, EACH = 8, 40


@pytest.fixture
def make():
    logs = []

    def make(location, **options):
        log = RedisLog(location, key_prefix=f"{uuid.uuid4()}:", **options)
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.endpoint.close()


def history(log, stream="s"):
    """All entries of a stream, each proven to follow the one before it."""
    head = log.heads([stream])[stream]
    position = Position(head.epoch, head.floor - 1, head.floor_checksum)
    entries = log.read(stream, position, 100_000).entries
    for entry in entries:
        position = position.then(entry.id)
        assert entry.position == position
    assert position == head.position
    return entries


# -- many writers ------------------------------------------------------------------------------------------


def test_writers_at_once_leave_no_gap_and_a_tailing_reader_misses_nothing(make, redis_url):
    log = make(redis_url)
    failed = threading.Event()

    def write(writer):
        try:
            return [log.append("s", drafts(1 + n % 3), 0) for n in range(EACH)]
        except BaseException:
            failed.set()
            raise

    def tail():
        position = log.heads(["s"])["s"].position._replace(seq=0, checksum=0)
        seen = []
        while len(seen) < WRITERS * sum(1 + n % 3 for n in range(EACH)) and not failed.is_set():
            run = log.read("s", position, 7)
            seen += run.entries
            if run.entries:
                position = run.entries[-1].position
        return seen

    seen, *written = at_once(tail, *(partial(write, writer) for writer in range(WRITERS)))
    assert seen == history(log)
    placed = sorted((e for writer in written for batch in writer for e in batch), key=lambda e: e.seq)
    assert placed == seen
    clocks = [entry.clock for entry in seen]
    assert clocks == sorted(set(clocks))


def test_two_who_begin_a_stream_begin_one(make, redis_url):
    log = make(redis_url)
    for n in range(20):
        name = f"s{n}"
        results = at_once(
            *[lambda name=name: log.append(name, drafts(1), 0)[0]] * 3, lambda name=name: log.heads([name])
        )
        assert len({entry.epoch for entry in results[:3]}) == 1
        assert sorted(entry.seq for entry in results[:3]) == [1, 2, 3]


def test_no_more_connections_are_opened_than_allowed(make, redis_server):
    log = make(url_of(redis_server), connections=2)
    at_once(*[lambda: [log.append("s", drafts(1), 0) for _ in range(20)]] * 6)
    assert len(history(log)) == 120
    with Redis(port=redis_server.port) as client:
        assert len([c for c in client.client_list() if c["lib-name"] == "redis-py"]) <= 2 + 1


# -- connections ---------------------------------------------------------------------------------------------


def test_an_append_whose_answer_is_cut_off_is_there_once(make, redis_server):
    with FaultProxy(redis_server.port) as proxy:
        log = make(f"redis://127.0.0.1:{proxy.port}")
        first = log.append("s", drafts(2), 0)
        for n in range(10):
            batch = drafts(3)
            proxy.cut_at(batch[1].id.encode())
            entries = log.append("s", batch, 0)
            assert [entry.id for entry in entries] == [draft.id for draft in batch]
            assert entries[0].seq == first[-1].seq + 1 + 3 * n
        assert proxy.counters.cut == 10
        assert len(history(log)) == 2 + 30


def test_an_append_whose_answer_comes_too_late_is_there_once(make, redis_server):
    with FaultProxy(redis_server.port) as proxy:
        log = make(f"redis://127.0.0.1:{proxy.port}", timeout=1.0)
        log.append("s", drafts(1), 0)
        batch = drafts(2)
        direct = make(url_of(redis_server))
        direct._prefix = log._prefix
        log.endpoint.client.client_pause(1_500, all=True)  # over in the middle of the second try
        entries = log.append("s", batch, 0)
        assert [entry.seq for entry in entries] == [2, 3]
        assert history(direct)[1:] == entries


def test_a_frozen_server_costs_a_caller_two_timeouts_at_most(make, redis_server):
    log = make(url_of(redis_server), timeout=0.5)
    entries = log.append("s", drafts(1), 0)
    batch = drafts(1)
    redis_server.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(RedisTimeout):
            log.read("s", entries[0].position, 10)
        assert time.monotonic() - started < 1.5
        with pytest.raises(RedisTimeout):
            log.append("s", batch, 0)
        assert time.monotonic() - started < 4.5
    finally:
        redis_server.thaw()
    until(lambda: Redis(port=redis_server.port).ping())
    assert log.append("s", batch, 0) == history(log)[1:], "whoever tries again finds what arrived"


def test_a_connection_that_an_idle_firewall_cut_costs_nothing(make, redis_server):
    with FaultProxy(redis_server.port) as proxy:
        log = make(f"redis://127.0.0.1:{proxy.port}")
        entries = log.append("s", drafts(1), 0)
        for _ in range(5):
            proxy.cut()
            assert log.read("s", entries[0].position, 10).entries == []
            proxy.cut()
            assert len(log.heads(["s", "t"])) == 2


def test_a_refused_connection_raises_at_once(make):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        log = make(f"redis://127.0.0.1:{closed.getsockname()[1]}")
        started = time.monotonic()
        for call in (
            lambda: log.heads(["s"]),
            lambda: log.read("s", Position("e", 0, 0), 1),
            lambda: log.append("s", drafts(1), 0),
            lambda: log.existing("s", ["x"]),
            lambda: log.trim("s", 2),
            log.clock,
        ):
            with pytest.raises(RedisAway):
                call()
        assert time.monotonic() - started < 1


# -- servers -------------------------------------------------------------------------------------------------


def test_a_restart_without_a_file_is_a_new_life(make, redis_server):
    log = make(url_of(redis_server))
    entries = log.append("s", drafts(2), 0)
    redis_server.restart()
    with pytest.raises(Mismatch) as mismatch:
        log.read("s", entries[-1].position, 10)
    assert mismatch.value.reason is Resync.EPOCH
    assert log.append("s", drafts(1), 0)[0].seq == 1


def test_a_server_that_writes_every_command_loses_nothing_when_it_is_killed(make):
    with services.redis(appendonly="always") as server:
        log = make(url_of(server))
        entries = log.append("s", drafts(20), 0)
        log.trim("s", 5)
        server.restart()
        assert history(log) == entries[4:]
        assert log.append("s", [drafts(1)[0]._replace(id=entries[-1].id)], 0) == entries[-1:]
        assert log.append("s", drafts(1), 0)[0].seq == 21


def test_a_replica_that_is_promoted_without_the_tail_is_found_out(make):
    """The master is killed; what it hadn't sent is gone, and perhaps written again (F14)."""
    with services.sentinel() as redis:
        log = make(redis.location)
        kept = log.append("s", drafts(3), 0)
        replica = Redis(port=redis.replica.port)
        until(lambda: replica.xlen(log.keys("s")[1]) == 3)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            replica.replicaof("127.0.0.1", nobody.getsockname()[1])
            lost = log.append("s", drafts(2), 0)
            redis.master.kill()
            until(redis.promoted)
        until(lambda: _answers(log))
        assert log.heads(["s"])["s"].position == kept[-1].position, "the same epoch: only checksums tell"
        for refilled in (0, 2, 5):
            if refilled:
                log.append("s", drafts(refilled - (log.heads(["s"])["s"].seq - 3)), 0)
            for entry in lost:
                with pytest.raises(Mismatch) as mismatch:
                    log.read("s", entry.position, 10)
                above = entry.seq > 3 + refilled
                assert mismatch.value.reason is (Resync.REWOUND if above else Resync.DIVERGED)
            seen = log.read("s", kept[0].position, 10).entries
            assert [entry.seq for entry in seen] == [*range(2, 4 + refilled)]
        replica.close()


def _answers(log):
    try:
        return log.heads(["s"])
    except RedisError:
        return None


def test_streams_of_a_cluster_lie_on_all_its_nodes(make, redis_cluster, redis_cluster_urls):
    log = make(redis_cluster_urls, cluster=True)
    names = [f"s{n}" for n in range(60)]
    at_once(*[lambda part=names[i::6]: [log.append(name, drafts(2), 0) for name in part] for i in range(6)])
    assert {head.seq for head in log.heads(names).values()} == {2}
    assert sorted(log.names()) == sorted(names)
    for node in redis_cluster:
        with Redis(port=node.port) as client:
            assert len(list(client.scan_iter(match=f"{log._prefix}*:meta", count=1000))) > 5
            client.script_flush()
    assert {head.seq for head in log.heads(names).values()} == {2}
    assert {log.append(name, drafts(1), 0)[0].seq for name in names} == {3}


def test_a_node_of_a_cluster_that_forgot_everything_costs_only_its_own_streams(
    make, redis_cluster, redis_cluster_urls
):
    log = make(redis_cluster_urls, cluster=True)
    names = [f"s{n}" for n in range(60)]
    before = {name: log.append(name, drafts(2), 0)[-1] for name in names}
    redis_cluster[1].restart()
    until(lambda: _answers(log))
    until(lambda: Redis(port=redis_cluster[1].port).cluster("info")["cluster_state"] == "ok")
    after = log.heads(names)
    lost = [name for name in names if after[name].position != before[name].position]
    assert 5 < len(lost) < 35
    for name in lost:
        assert after[name].epoch != before[name].epoch
        assert log.append(name, drafts(1), 0)[0].seq == 1

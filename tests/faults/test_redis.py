"""Redis dies, forgets, fails over and can't be reached (F12 to F15).

Where the log is in PostgreSQL, Redis only wakes: that costs time, and no socket. Where the log is in Redis
itself, what Redis forgets is lost, and whoever holds it is told.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
from redis import Redis

from reconnect_channels.log.base import Draft
from reconnect_channels.log.redis import RedisLog
from tests import services
from tests.proxy import FaultProxy
from tests.servers import HOST, Server

from .cluster import Cluster
from .stage import Stage, ticks

AWAY = 3.0  # seconds that a killed server is down
TAIL = 5.0  # seconds that a replica is behind

both_layers = pytest.mark.parametrize("layer", ["pubsub", pytest.param("core", marks=pytest.mark.slow)])


def ask(server: Server) -> Redis:
    return Redis(host=HOST, port=server.port)


def kill_again_and_again(stage: Stage, redis: Server) -> float:
    repaired = 0.0
    for _ in ticks(stage.seconds, stage.every(20)):
        redis.kill()
        time.sleep(min(AWAY, stage.every(20) / 2))
        redis.start()
        repaired = time.monotonic()
    return repaired


def flush_again_and_again(stage: Stage, redis: Server, every: float) -> float:
    flushed = 0.0
    for _ in ticks(stage.seconds, stage.every(every)):
        ask(redis).flushall()
        ask(redis).script_flush()
        flushed = time.monotonic()
    return flushed


@both_layers
async def test_nothing_is_lost_and_no_socket_dropped_when_redis_is_killed(durable: Stage, layer: str):
    with durable.cluster(layer=layer) as cluster:
        report = await durable.storm(cluster, lambda: kill_again_and_again(durable, cluster.redis))
        assert report.counters["reconnects"] == 0


async def test_clients_are_told_what_a_killed_redis_lost(redis_only: Stage):
    with redis_only.cluster() as cluster:
        report = await redis_only.losing_storm(
            cluster, lambda: kill_again_and_again(redis_only, cluster.redis)
        )
        assert report.counters["reconnects"] == 0


@pytest.mark.slow
@both_layers
async def test_nothing_is_lost_when_redis_is_flushed(durable: Stage, layer: str):
    with durable.cluster(layer=layer) as cluster:
        report = await durable.storm(cluster, lambda: flush_again_and_again(durable, cluster.redis, 5))
        assert report.counters["reconnects"] == 0


@pytest.mark.slow
async def test_clients_are_told_what_a_flushed_redis_lost(redis_only: Stage):
    with redis_only.cluster() as cluster:
        report = await redis_only.losing_storm(
            cluster, lambda: flush_again_and_again(redis_only, cluster.redis, 15)
        )
        assert report.counters["reconnects"] == 0


@contextmanager
def replica_of(master: Server) -> Iterator[tuple[Server, FaultProxy]]:
    """A replica in step, and the way by which it is kept so. A master that was killed runs again after."""
    with (
        FaultProxy(master.port) as way,
        services.redis("--replicaof", f"{HOST} {way.port}", "--repl-diskless-sync-delay", "0") as replica,
    ):
        services.until(lambda: ask(replica).info("replication")["master_link_status"] == "up")
        try:
            yield replica, way
        finally:
            if master.process is None:
                master.start()


def promote(cluster: Cluster, replica: Server) -> None:
    """The master dies, and all ways lead to the replica."""
    cluster.redis.kill()
    ask(replica).replicaof("NO", "ONE")
    cluster.redis = replica
    for node in cluster.nodes:
        assert node.redis is not None
        node.redis.move(replica.port)


def heads(server: Server) -> dict[str, int]:
    log = RedisLog(f"redis://{HOST}:{server.port}/0")
    return {name: log.heads([name])[name].seq for name in log.names()}


def refill(server: Server, lost: dict[str, int]) -> None:
    """Appends to every stream until it is longer than it was."""
    log = RedisLog(f"redis://{HOST}:{server.port}/0")
    for name, seq in heads(server).items():
        log.append(name, [Draft(str(uuid4()), None, "0") for _ in range(lost[name] - seq + 5)], 0)


@pytest.mark.slow
@both_layers
async def test_nothing_is_lost_when_a_replica_without_the_tail_is_promoted(durable: Stage, layer: str):
    """The layer moves; no node is told but by its connections' end."""
    with (
        replica_of(durable.redis) as (replica, way),
        durable.cluster(layer=layer, proxied=("redis",)) as cluster,
    ):

        def fail_over() -> None:
            time.sleep(durable.seconds / 3)
            way.pause()
            time.sleep(TAIL)
            promote(cluster, replica)
            time.sleep(durable.seconds * 2 / 3 - TAIL)

        report = await durable.storm(cluster, fail_over)
        assert report.counters["reconnects"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("nodes", ["live", "restarted"])
async def test_clients_are_told_of_a_lost_tail_that_was_refilled_before_they_return(
    redis_only: Stage, nodes: str
):
    """The promoted replica has the same epoch and goes on counting where the lost tail began: only checksums
    tell. Restarted nodes remember nothing of it."""
    with (
        replica_of(redis_only.redis) as (replica, way),
        redis_only.cluster(proxied=("redis",)) as cluster,
    ):

        def fail_over() -> float:
            time.sleep(redis_only.seconds / 3)
            way.pause()
            time.sleep(min(TAIL, redis_only.seconds / 3))
            cluster.envoy.stop()
            lost = heads(cluster.redis)
            promote(cluster, replica)
            refill(replica, lost)
            if nodes == "restarted":
                with ThreadPoolExecutor() as pool:
                    list(pool.map(lambda node: node.server.restart(), cluster.nodes))
            cluster.envoy.start()
            repaired = time.monotonic()
            time.sleep(redis_only.seconds / 3)
            return repaired

        await redis_only.losing_storm(cluster, fail_over)


@pytest.mark.slow
async def test_nothing_is_lost_when_one_node_cannot_reach_redis(stage: Stage):
    with stage.cluster(proxied=("redis",)) as cluster:
        way = cluster.nodes[0].redis
        assert way is not None

        def part() -> None:
            for _ in ticks(stage.seconds, stage.every(30)):
                way.pause()
                time.sleep(stage.every(30) / 2)
                way.resume()

        report = await stage.storm(cluster, part)
        assert report.counters["reconnects"] == 0


@pytest.mark.slow
async def test_messages_take_effect_once_when_answers_of_redis_are_cut(redis_only: Stage):
    """What was said ran: appends, claims, their ends. Whoever doesn't hear it says it again."""
    with redis_only.cluster(proxied=("redis",)) as cluster:
        ways = [node.redis for node in cluster.nodes if node.redis is not None]

        def cut() -> None:
            for number in ticks(redis_only.seconds, 0.1):
                ways[number % len(ways)].cut_at(b"\r\n")

        report = await redis_only.storm(cluster, cut)
        assert sum(way.counters.cut for way in ways) > redis_only.seconds
        assert report.verdict.acked == report.verdict.sent
        assert report.counters["reconnects"] == 0

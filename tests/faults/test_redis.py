"""Redis dies, forgets, fails over and can't be reached, while the log is in the database (F12 to F15)."""

import time

import pytest
from redis import Redis

from tests import services
from tests.proxy import FaultProxy
from tests.servers import HOST, Server

from .stage import Stage, ticks

AWAY = 3.0  # seconds that a killed server is down


def ask(server: Server) -> Redis:
    return Redis(host=HOST, port=server.port)


@pytest.mark.parametrize("layer", ["pubsub", "core"])
async def test_nothing_is_lost_and_no_socket_dropped_when_redis_is_killed(stage: Stage, layer: str):
    with stage.cluster(layer=layer) as cluster:

        def kill() -> None:
            for _ in ticks(stage.seconds, stage.every(20)):
                cluster.redis.kill()
                time.sleep(min(AWAY, stage.every(20) / 2))
                cluster.redis.start()

        report = await stage.storm(cluster, kill)
        assert report.counters["reconnects"] == 0


@pytest.mark.parametrize("layer", ["pubsub", pytest.param("core", marks=pytest.mark.slow)])
async def test_nothing_is_lost_when_redis_is_flushed(stage: Stage, layer: str):
    with stage.cluster(layer=layer) as cluster:

        def flush() -> None:
            for _ in ticks(stage.seconds, stage.every(5)):
                ask(cluster.redis).flushall()
                ask(cluster.redis).script_flush()

        report = await stage.storm(cluster, flush)
        assert report.counters["reconnects"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["pubsub", "core"])
async def test_nothing_is_lost_when_a_replica_without_the_tail_is_promoted(stage: Stage, layer: str):
    """The layer moves; no node is told but by its connections' end."""
    with (
        FaultProxy(stage.redis.port) as replication,
        services.redis("--replicaof", f"{HOST} {replication.port}") as replica,
        stage.cluster(layer=layer, proxied=("redis",)) as cluster,
    ):

        def promote() -> None:
            time.sleep(stage.seconds / 3)
            replication.pause()
            time.sleep(5)
            cluster.redis.kill()
            ask(replica).replicaof("NO", "ONE")
            for node in cluster.nodes:
                assert node.redis is not None
                node.redis.move(replica.port)
            time.sleep(stage.seconds * 2 / 3 - 5)

        try:
            report = await stage.storm(cluster, promote)
        finally:
            cluster.redis.start()
        assert report.counters["reconnects"] == 0


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

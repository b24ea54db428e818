"""PostgreSQL dies, and answers are cut off (faults F17, F18)."""

import time

import psycopg
import pytest

from .stage import Stage, ticks

AWAY = 2.0  # seconds that a killed server is down
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"  # PostgreSQL's answer to COMMIT


async def test_nothing_is_lost_when_postgresql_is_killed(durable: Stage):
    with durable.cluster() as cluster:

        def kill() -> None:
            for _ in ticks(durable.seconds, durable.every(20)):
                cluster.database.kill()
                time.sleep(AWAY)
                cluster.database.start()

        await durable.storm(cluster, kill)


@pytest.mark.slow
async def test_messages_take_effect_once_when_the_answer_to_commit_is_cut(durable: Stage):
    with durable.cluster(proxied=("database",)) as cluster:
        ways = [node.database for node in cluster.nodes if node.database is not None]

        def cut() -> None:
            for number in ticks(durable.seconds, 0.2):
                ways[number % len(ways)].cut_at(COMMITTED)

        report = await durable.storm(cluster, cut)
        assert sum(way.counters.cut for way in ways) > durable.seconds
        assert report.verdict.acked == report.verdict.sent
    with psycopg.connect(durable.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM reconnect_channels_streamentry").fetchone() == (
            report.verdict.sent,
        )

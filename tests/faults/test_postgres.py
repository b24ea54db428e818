"""PostgreSQL dies, and answers are cut off (faults F17, F18)."""

import time

import psycopg

from .stage import Stage, ticks

AWAY = 2.0  # seconds that a killed server is down
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"  # PostgreSQL's answer to COMMIT


async def test_nothing_is_lost_when_postgresql_is_killed(stage: Stage):
    with stage.cluster() as cluster:

        def kill() -> None:
            for _ in ticks(stage.seconds, stage.every(20)):
                cluster.database.kill()
                time.sleep(AWAY)
                cluster.database.start()

        await stage.storm(cluster, kill)


async def test_messages_take_effect_once_when_the_answer_to_commit_is_cut(stage: Stage):
    with stage.cluster(proxied=("database",)) as cluster:
        ways = [node.database for node in cluster.nodes if node.database is not None]

        def cut() -> None:
            for number in ticks(stage.seconds, 0.2):
                ways[number % len(ways)].cut_at(COMMITTED)

        report = await stage.storm(cluster, cut)
        assert sum(way.counters.cut for way in ways) > stage.seconds
        assert report.verdict.acked == report.verdict.sent
    with psycopg.connect(stage.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM reconnect_channels_streamentry").fetchone() == (
            report.verdict.sent,
        )

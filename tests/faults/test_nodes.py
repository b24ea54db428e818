"""Nodes die, are replaced, and stand still (faults F1, F2, F3)."""

import time

import pytest

from .stage import Stage, ticks

AWAY = 2.0  # seconds that a killed node is down


async def test_nothing_is_lost_when_a_node_is_killed_every_ten_seconds(stage: Stage):
    with stage.cluster() as cluster:

        def kill() -> None:
            for number in ticks(stage.seconds, stage.every(10)):
                node = cluster.nodes[number % len(cluster.nodes)].server
                node.kill()
                time.sleep(AWAY)
                node.start()

        report = await stage.storm(cluster, kill)
        assert report.counters["reconnects"] > 0


async def test_nothing_is_lost_in_a_rolling_restart(stage: Stage):
    with stage.cluster() as cluster:

        def roll() -> None:
            for number in ticks(stage.seconds, stage.every(20)):
                node = cluster.nodes[number % len(cluster.nodes)].server
                node.terminate()
                node.start()

        report = await stage.storm(cluster, roll)
        assert report.counters["reconnects"] > 0


@pytest.mark.slow
async def test_nothing_is_lost_when_a_node_stands_still_for_forty_seconds(stage: Stage):
    with stage.cluster() as cluster:

        def freeze() -> None:
            node = cluster.nodes[0].server
            time.sleep(2)
            node.freeze()
            time.sleep(40)
            node.thaw()
            time.sleep(max(0.0, stage.seconds - 42))

        report = await stage.storm(cluster, freeze)
        assert report.counters["reconnects"] > 0

"""The load balancer is reloaded under its connections (fault F29)."""

import pytest

from .stage import Stage, ticks

DRAIN = 5.0  # seconds that the old process keeps its connections


@pytest.mark.slow
async def test_nothing_is_lost_when_the_load_balancer_is_reloaded(stage: Stage):
    with stage.cluster() as cluster:

        def reload() -> None:
            for _ in ticks(stage.seconds, stage.every(20)):
                cluster.envoy.reload(min(DRAIN, stage.every(20) / 4))

        report = await stage.storm(cluster, reload)
        assert report.counters["reconnects"] >= report.plan.clients

"""A storm over a cluster while something is broken, and the judgement of what came of it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconnect_channels.storm.run import Plan, Report, Storm
from tests.servers import HOST, Server

from . import cluster, truth
from .cluster import Cluster

FULL = 60.0


def ticks(seconds: float, every: float) -> Iterator[int]:
    """Counts the faults of a storm of that many seconds, the first after half a period."""
    began = time.monotonic()
    for number in range(max(1, int(seconds / every))):
        time.sleep(max(0.0, began + (number + 0.5) * every - time.monotonic()))
        yield number
    time.sleep(max(0.0, began + seconds - time.monotonic()))


@dataclass
class Stage:
    """What a test of faults plays on.

    :param seconds: how long a storm lasts: 60 in the full form, less in the short one.
    """

    seconds: float
    database: Server
    database_url: str
    redis: Server
    folder: Path
    name: str
    results: list[dict[str, Any]]

    @property
    def full(self) -> bool:
        return self.seconds >= FULL

    def every(self, seconds: float) -> float:
        """A period of the full form, shortened so that the short one has two of them at least."""
        return min(seconds, self.seconds / 2)

    def cluster(self, **options: Any) -> AbstractContextManager[Cluster]:
        return cluster.running(self.database, self.database_url, self.redis, self.folder, **options)

    def plan(self, url: str) -> Plan:
        """200 clients on 20 streams send 100 messages a second; the short form is smaller and hastier."""
        clients, streams, rate, maximum = (200, 20, 0.5, 20.0) if self.full else (40, 8, 1.0, 2.0)
        return Plan(
            url,
            clients=clients,
            streams=streams,
            rate=rate,
            duration=self.seconds,
            cut_every=0,
            stream_format="wall:{n}",
            maximum=maximum,
            connect_timeout=8.0 if self.full else 3.0,
        )

    async def storm(self, nodes: Cluster, fault: Callable[[], object]) -> Report:
        """Runs `fault`, which blocks and heals what it broke, in a storm; fails for whatever went wrong."""
        storm = Storm(self.plan(nodes.url))
        report = await storm.run(during=lambda: asyncio.to_thread(fault))
        stored = await asyncio.to_thread(truth.read_database, self.database_url)
        found = truth.compare(stored, storm.history)
        self._record(report, found)
        said = "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-6000:]}" for log in nodes.logs)
        assert report.verdict.ok, f"{report.as_dict()}\n{said}"
        assert not any(found.values()), f"{found} {report.as_dict()}\n{said}"
        assert report.healed is not None, f"{report.as_dict()}\n{said}"
        return report

    def _record(self, report: Report, found: Any) -> None:
        verdict, counters = report.verdict, report.counters
        self.results.append(
            {
                "scenario": self.name,
                "clients": report.plan.clients,
                "seconds": self.seconds,
                "sent": verdict.sent,
                "acked": verdict.acked,
                "drops": counters["reconnects"],
                "lost": verdict.faults["lost"] + found["lost"],
                "dup": verdict.faults["duplicates"] + found["duplicates"],
                "gap": verdict.faults["gaps"] + found["holes"],
                "reorder": verdict.faults["reorders"] + verdict.faults["fifo"],
                "diverged": verdict.faults["diverged"] + found["diverged"],
                "unanswered": verdict.faults["unanswered"],
                "snapshots": counters["snapshots"],
                "healed": report.healed,
                "outage_p99": report.as_dict()["outage_p99"],
            }
        )


def postgres_url(server: Server, name: str) -> str:
    return f"postgresql://postgres@{HOST}:{server.port}/{name}"

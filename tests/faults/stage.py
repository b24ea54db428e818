"""A storm over a cluster while something is broken, and the judgement of what came of it."""

import asyncio
import time
from collections import Counter
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
PREFIXES = {"durable": "wall", "redis": "fast"}
TOLD = 10.0  # seconds after the repair within which everybody who holds what Redis lost has a snapshot
# What a log that loses must not do either.
NEVER = "gaps", "reorders", "unanswered"


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

    :param profile: where the log is: "durable" (PostgreSQL) or "redis".
    :param seconds: how long a storm lasts: 60 in the full form, less in the short one.
    """

    profile: str
    seconds: float
    clients: int
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
        # The message of a killed worker waits for the end of its claim: shorter, where patience is short.
        environment = {"CLAIM_SECONDS": "10" if self.full else "2"}
        services = self.database, self.database_url, self.redis
        return cluster.running(*services, self.folder, environment=environment, **options)

    def plan(self, url: str) -> Plan:
        """200 clients on 20 streams send 100 messages a second; the short form is smaller and hastier."""
        streams, rate, maximum = (20, 0.5, 20.0) if self.full else (8, 1.0, 2.0)
        prefix = PREFIXES[self.profile]
        return Plan(
            f"{url}/{prefix}/",
            clients=self.clients,
            streams=streams,
            rate=rate,
            duration=self.seconds,
            cut_every=0,
            stream_format=prefix + ":{n}",
            maximum=maximum,
            connect_timeout=8.0 if self.full else 3.0,
        )

    async def storm(self, nodes: Cluster, fault: Callable[[], object]) -> Report:
        """Runs `fault`, which blocks and heals what it broke, in a storm; fails for whatever went wrong."""
        report, found = await self._run(nodes, fault)
        self._check(report.verdict.ok and not any(found.values()), report, found, nodes)
        return report

    async def losing_storm(self, nodes: Cluster, fault: Callable[[], float]) -> Report:
        """The same where the fault makes Redis forget: whoever holds what is lost is told, by a snapshot.

        :param fault: returns the time (`time.monotonic()`) of the last repair.
        """
        repaired: list[float] = []
        report, found = await self._run(nodes, lambda: repaired.append(fault()))
        lost = found.pop("lost")
        assert lost or not self.full, "the fault took nothing"
        late = report.reset_at is not None and report.reset_at - repaired[0] > TOLD
        never = any(report.verdict.faults[fault] for fault in NEVER)
        self._check(not never and not any(found.values()) and not late, report, found, nodes)
        if lost:
            assert report.counters["snapshots"] > report.plan.clients + report.plan.streams
        return report

    async def _run(self, nodes: Cluster, fault: Callable[[], object]) -> tuple[Report, Counter[str]]:
        storm = Storm(self.plan(nodes.url))
        report = await storm.run(during=lambda: asyncio.to_thread(fault))
        found = truth.compare(await asyncio.to_thread(self._stored, nodes), storm.history)
        self._record(report, found)
        return report, found

    def _stored(self, nodes: Cluster) -> dict[str, truth.Stored]:
        if self.profile == "durable":
            return truth.read_database(self.database_url)
        return truth.read_redis(f"redis://{HOST}:{nodes.redis.port}/0")

    def _check(self, good: bool, report: Report, found: Counter[str], nodes: Cluster) -> None:
        said = "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-6000:]}" for log in nodes.logs)
        assert good, f"{dict(found)} {report.as_dict()}\n{said}"
        assert report.healed is not None, f"{dict(found)} {report.as_dict()}\n{said}"

    def _record(self, report: Report, found: Counter[str]) -> None:
        faults, counters = report.verdict.faults, report.counters
        self.results.append(
            {
                "scenario": self.name,
                "profile": self.profile,
                "clients": report.plan.clients,
                "seconds": self.seconds,
                "acked": report.verdict.acked,
                "drops": counters["reconnects"],
                "lost": found["lost"],
                "dup": found["duplicates"],
                "gap": faults["gaps"] + found["holes"],
                "reorder": faults["reorders"] + found["overtaken"],
                "diverged": found["diverged"],
                "open": faults["unanswered"],
                "snapshots": counters["snapshots"],
                "healed": report.healed,
                "outage_p99": report.as_dict()["outage_p99"],
            }
        )


def postgres_url(server: Server, name: str) -> str:
    return f"postgresql://postgres@{HOST}:{server.port}/{name}"

"""Appends and reads of the log in Redis beside those of the log in PostgreSQL, in one run.

python benchmarks/logs.py [--seconds 3] [--threads 4]

Both servers are our own, from the wheels, on 127.0.0.1: PostgreSQL as in the tests (without fsync), Valkey
without a file. An append is committed; its entry has 120 bytes of JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TEXT = '{"type":"cursor.moved","id":4711,"to":{"x":1024,"y":768},"note":"' + "x" * 54 + '"}'
PAGES = 1, 100, 500  # entries of a read


def drafts(count: int) -> list[Any]:
    from reconnect_channels.log.base import Draft

    return [Draft(str(uuid.uuid4()), None, TEXT) for _ in range(count)]


def appends(log: Any, streams: list[str], batch: int, seconds: float) -> float:
    """Entries a second, appended by one thread for each stream."""
    from django.db import connections

    def write(stream: str) -> int:
        log.append(stream, drafts(1), 0)  # connects
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            log.append(stream, drafts(batch), 0)
            count += batch
        connections.close_all()
        return count

    with ThreadPoolExecutor(len(streams)) as pool:
        return sum(pool.map(write, streams)) / seconds


def median_ms(read: Callable[[], Any], seconds: float) -> float:
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        read()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def measure(log: Any, seconds: float, threads: int) -> dict[str, float]:
    found = {
        "appends/s, 1 writer": appends(log, ["alone"], 1, seconds),
        f"appends/s, {threads} writers of as many streams": appends(
            log, [f"s{n}" for n in range(threads)], 1, seconds
        ),
        f"appends/s, {threads} writers of one stream": appends(log, ["hot"] * threads, 1, seconds),
        "entries/s in batches of 100, 1 writer": appends(log, ["batches"], 100, seconds),
    }
    entries = log.append("read", drafts(2_000), 0)
    for count in PAGES:
        found[f"read of {count}, ms"] = median_ms(
            lambda count=count: log.read("read", entries[999].position, count),  # type: ignore[misc]
            seconds / 2,
        )
    names = [f"head{n}" for n in range(100)]
    log.heads(names)
    found["100 heads, ms"] = median_ms(lambda: log.heads(names), seconds / 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()

    from tests import services

    with services.postgres() as postgres, services.redis() as redis:
        os.environ["DATABASE_URL"] = services.postgres_url(postgres)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connections

        from reconnect_channels.log.database import DatabaseLog
        from reconnect_channels.log.redis import RedisLog

        call_command("migrate", verbosity=0)
        logs = {"PostgreSQL": DatabaseLog(), "Valkey": RedisLog(services.redis_url(redis))}
        found = {name: measure(log, options.seconds, options.threads) for name, log in logs.items()}
        connections.close_all()
    print(f"| {'':50} | {' | '.join(f'{name:>10}' for name in found)} |")
    for what in next(iter(found.values())):
        figures = [found[name][what] for name in found]
        shown = (f"{figure:10.2f}" if what.endswith(", ms") else f"{figure:10,.0f}" for figure in figures)
        print(f"| {what:50} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()

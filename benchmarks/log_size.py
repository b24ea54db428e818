"""What a read of 100 entries costs in logs of 10⁴, 10⁶ and 10⁷ rows; what forgetting and counting cost.

python benchmarks/log_size.py [--rows 10000 1000000 10000000] [--streams 20] [--retention] [--counters]

A PostgreSQL of its own from the wheel, or DATABASE_URL: an empty database, where tables are made and dropped.
10⁷ rows need 10 GB of disk and 10 minutes, with --retention 20 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGE = 100  # entries of a read
SAMPLES = 200  # reads a place
IDLE = 2_000  # streams without entries
BLOCK = 20_000  # rows that are copied at once
TEXT = json.dumps({"type": "card.moved", "id": 4711, "to": {"after": 4710}, "note": "x" * 120})
ENTRY = "reconnect_channels_streamentry"
EPOCH = "0123456789abcdef"


class Bar:
    """Says on a terminal how far a long step is."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._began = what, total, time.monotonic()

    def show(self, done: int) -> None:
        if sys.stderr.isatty() or done >= self._total:
            seconds = time.monotonic() - self._began
            end = "\n" if done >= self._total else ""
            share = done / self._total
            print(
                f"\r{self._what} |{'█' * int(30 * share):30}| {done:,}/{self._total:,}, {seconds:.0f} s",
                end=end, file=sys.stderr, flush=True,
            )  # fmt: skip


@contextlib.contextmanager
def database() -> Iterator[None]:
    """A migrated, empty PostgreSQL behind Django's default connection."""
    from tests import services

    with contextlib.ExitStack() as stack:
        if not os.environ.get("DATABASE_URL"):
            os.environ["DATABASE_URL"] = services.postgres_url(stack.enter_context(services.postgres()))
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", "reconnect_channels", verbosity=0)
        try:
            yield
        finally:
            call_command("migrate", "reconnect_channels", "zero", verbosity=0)
            connections.close_all()


def stream(n: int) -> str:
    return f"board:{n}"


def fill(rows: int, streams: int, *, days: float = 30.0) -> None:
    """Adds entries up to `rows`, in turn to each stream, as many writers would; the last is of now."""
    from django.db import connection

    from reconnect_channels.models import Stream, StreamEntry
    from reconnect_channels.protocol.position import MODULUS

    have = StreamEntry.objects.count()
    known = dict(Stream.objects.values_list("name", "pk"))
    Stream.objects.bulk_create(
        Stream(name=name, epoch=EPOCH)
        for name in [*map(stream, range(streams)), *(f"idle:{n}" for n in range(IDLE))]
        if name not in known
    )
    ids = dict(Stream.objects.values_list("name", "pk"))
    keys = [ids[stream(n)] for n in range(streams)]
    start = time.time() - days * 86_400
    step = days * 86_400 / rows
    bar = Bar(f"{rows:,} rows", rows)
    columns = "stream_id, seq, uid, checksum, clock, key, text, created"
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        for first in range(have, rows, BLOCK):
            lines = []
            for n in range(first, min(first + BLOCK, rows)):
                seq, uid = n // streams + 1, f"{random.getrandbits(128):032x}"
                uid = f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"
                at = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(start + n * step))
                lines.append(f"{keys[n % streams]}\t{seq}\t{uid}\t{n % MODULUS}\t{seq}\t\\N\t{TEXT}\t{at}\n")
            with cursor.cursor.copy(f"COPY {StreamEntry._meta.db_table} ({columns}) FROM STDIN") as copy:
                copy.write("".join(lines))
            bar.show(min(first + BLOCK, rows))
    for n, pk in enumerate(keys):
        head = (rows - n - 1) // streams + 1
        Stream.objects.filter(pk=pk).update(
            head=head, clock=head, checksum=((head - 1) * streams + n) % MODULUS, floor=1
        )


def place(streams: int, where: str, rng: random.Random) -> tuple[str, Any]:
    """A stream, and a position in it that 100 entries follow."""
    from reconnect_channels.models import Stream
    from reconnect_channels.protocol.position import MODULUS, Position

    n = rng.randrange(streams)
    floor, head = Stream.objects.values_list("floor", "head").get(name=stream(n))
    middle = rng.randrange(floor, max(head - PAGE, floor + 1))
    seq = {"tail": head - PAGE, "middle": middle, "floor": floor}[where]
    return stream(n), Position(EPOCH, seq, ((seq - 1) * streams + n) % MODULUS)


def shape(node: dict[str, Any]) -> str:
    """A plan in one line: its nodes and the indexes they use."""
    inner = ", ".join(shape(child) for child in node.get("Plans", ()))
    what = node["Node Type"] + (f" {node['Join Type']}" if "Join Type" in node else "")
    if "Index Name" in node:
        what += f" {node['Index Name']}"
    elif "Relation Name" in node:
        what += f" {node['Relation Name']}"
    return f"{what}({inner})" if inner else what


def explain(read: Callable[[], Any]) -> dict[str, Any]:
    """The plan of the one statement that `read` runs, with what it really did."""
    from django.db import connection

    plans: list[Any] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            plans.append(cursor.cursor.fetchone()[0][0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        read()
    [found] = plans
    return dict(found)


def measure(streams: int, where: str) -> dict[str, Any]:
    """Reads at random places of one kind: their plans, mean buffers, and times in ms."""
    from reconnect_channels.log import log_for

    rng = random.Random(1)
    places = [place(streams, where, rng) for _ in range(SAMPLES)]
    log = log_for("")
    times = []
    for name, position in places:
        began = time.perf_counter()
        run = log.read(name, position, PAGE)
        times.append((time.perf_counter() - began) * 1000)
        assert len(run.entries) == PAGE, (name, position, len(run.entries))
    found = [explain(lambda at=at: log.read(*at, PAGE)) for at in places]
    plans = [explained["Plan"] for explained in found]
    buffers = [plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans]
    return {
        "plans": sorted({shape(plan) for plan in plans}),
        "buffers": statistics.mean(buffers),
        "server": statistics.median(explained["Execution Time"] for explained in found),
        "p50": statistics.median(times),
        "p99": sorted(times)[int(len(times) * 0.99)],
    }


def run(sql: str, *params: Any) -> list[Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def analyze() -> None:
    run(f"VACUUM (ANALYZE) {ENTRY}")
    run("ANALYZE reconnect_channels_stream")


def reads(sizes: list[int], streams: int) -> None:
    plans: dict[str, int] = {}
    print(
        "| rows | statistics | read at | plan | buffers | in PostgreSQL, p50 ms | read(), p50 ms | p99 ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for rows in sizes:
        fill(rows, streams)
        for state in ("of before the load", "fresh"):
            if state == "fresh":
                analyze()
            for where in ("tail", "middle", "floor"):
                found = measure(streams, where)
                numbers = sorted(plans.setdefault(plan, len(plans) + 1) for plan in found["plans"])
                print(
                    f"| {rows:,} | {state} | {where} | {', '.join(map(str, numbers))} "
                    f"| {found['buffers']:.1f} | {found['server']:.2f} | {found['p50']:.2f} "
                    f"| {found['p99']:.2f} |",
                    flush=True,
                )
    for plan, number in plans.items():
        print(f"\n{number}. {plan}")


def timed(what: str, work: Callable[[], Any], size_of: str | None = None) -> None:
    """Does it, and prints how long it took, how much it wrote ahead, and how large what it made is."""
    [(before,)] = run("SELECT pg_current_wal_lsn()::text")
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    [(written,)] = run("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)", before)
    size = ""
    if size_of is not None:
        [(size,)] = run("SELECT pg_size_pretty(pg_total_relation_size(%s))", size_of)
    print(f"| {what} | {seconds:.2f} | {float(written) / 2**20:,.0f} | {size} |", flush=True)


def retention(streams: int) -> None:
    """Forgets a tenth by DELETE and by dropping a partition; finds an age with and without an index."""
    from datetime import timedelta

    from django.utils import timezone

    from reconnect_channels.log import log_for

    log = log_for("")
    print("\n| | s | WAL MiB | size |\n|---|---|---|---|")
    for (name,) in run(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1", ENTRY
    ):
        timed(f"index {name}", lambda: None, name)
    timed("table and indexes", lambda: None, ENTRY)
    moment = timezone.now() - timedelta(days=27)
    oldest = "SELECT max(seq) FROM reconnect_channels_streamentry WHERE stream_id = "
    oldest += "(SELECT id FROM reconnect_channels_stream WHERE name = %s) AND created < %s"
    timed("the newest seq before a time: binary search", lambda: log.newest_before(stream(0), moment))
    timed("the same by SQL, no index on created", lambda: run(oldest, stream(0), moment))
    timed("BRIN on created", lambda: run(f"CREATE INDEX brin ON {ENTRY} USING brin (created)"), "brin")
    timed("the same by SQL, BRIN", lambda: run(oldest, stream(0), moment))
    run("DROP INDEX brin")
    timed("B-tree on created", lambda: run(f"CREATE INDEX btree ON {ENTRY} (created)"), "btree")
    timed("the same by SQL, B-tree", lambda: run(oldest, stream(0), moment))
    run("DROP INDEX btree")

    partitions(streams)

    [(low, high)] = run(f"SELECT min(seq), max(seq) FROM {ENTRY}")
    floor = low + (high - low) // 10
    timed("trim a tenth of all", lambda: [log.trim(stream(n), floor) for n in range(streams)])
    timed("VACUUM after it", lambda: run(f"VACUUM {ENTRY}"), ENTRY)


def partitions(streams: int) -> None:
    """Copies of the table, by months of age and by stream: what a drop and a read cost there."""
    [(first, last)] = run(f"SELECT min(created), max(created) FROM {ENTRY}")
    step = (last - first) / 10
    run(f"CREATE TABLE by_age (LIKE {ENTRY}) PARTITION BY RANGE (created)")
    bounds = ["MINVALUE", *(f"'{(first + step * n).isoformat()}'" for n in range(1, 10)), "MAXVALUE"]
    for n in range(10):
        run(f"CREATE TABLE by_age_{n} PARTITION OF by_age FOR VALUES FROM ({bounds[n]}) TO ({bounds[n + 1]})")
    run(f"CREATE TABLE by_stream (LIKE {ENTRY}) PARTITION BY HASH (stream_id)")
    for n in range(16):
        run(f"CREATE TABLE by_stream_{n} PARTITION OF by_stream FOR VALUES WITH (MODULUS 16, REMAINDER {n})")
    from django.db import connection

    rng = random.Random(2)
    places = [place(streams, "middle", rng) for _ in range(40)]
    for table in ("by_age", "by_stream"):
        run(f"INSERT INTO {table} SELECT * FROM {ENTRY}")
        run(f"CREATE UNIQUE INDEX ON {table} (stream_id, seq, {'created' if table == 'by_age' else 'uid'})")
        run(f"ANALYZE {table}")
        buffers, times = [], []
        for name, after in places:
            with connection.cursor() as cursor:
                cursor.cursor.execute(
                    "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
                    "SELECT s.head, e.* FROM reconnect_channels_stream s "
                    f"LEFT JOIN {table} e ON e.stream_id = s.id AND e.seq >= %s AND e.seq <= %s "
                    "WHERE s.name = %s ORDER BY e.seq",
                    [after.seq, after.seq + PAGE, name],
                )
                [found] = cursor.cursor.fetchone()[0]
            plan = found["Plan"]
            buffers.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
            times.append(found["Planning Time"] + found["Execution Time"])
        print(
            f"| a read of 100 entries, partitioned {table}: {statistics.mean(buffers):.0f} buffers, "
            f"{statistics.median(times):.2f} ms with planning | | | |"
        )
    timed("a partition dropped: a tenth of all", lambda: run("DROP TABLE by_age_0"))
    run("DROP TABLE by_age")
    run("DROP TABLE by_stream")


def counters(streams: int = 2_000, appends: int = 20_000) -> None:
    """Appends in turn to streams whose rows filled their pages when they were made."""
    from reconnect_channels.log import log_for
    from reconnect_channels.log.base import Draft
    from reconnect_channels.models import Stream

    log = log_for("")
    print(
        "\n| fillfactor of the counters | appends/s | HOT | size before | size after |\n|---|---|---|---|---|"
    )
    for factor in (100, 90, 50):
        run("TRUNCATE reconnect_channels_stream, reconnect_channels_streamentry")
        run(f"ALTER TABLE reconnect_channels_stream SET (fillfactor = {factor})")
        Stream.objects.bulk_create(Stream(name=stream(n), epoch=EPOCH) for n in range(streams))
        run("SELECT pg_stat_reset_single_table_counters('reconnect_channels_stream'::regclass)")
        size = "SELECT pg_size_pretty(pg_relation_size('reconnect_channels_stream'))"
        [(before,)] = run(size)
        began = time.perf_counter()
        for n in range(appends):
            uid = f"{n:08x}-0000-4000-8000-{random.getrandbits(48):012x}"
            log.append(stream(n % streams), [Draft(uid, None, TEXT)], 0)
        rate = appends / (time.perf_counter() - began)
        [(after,)] = run(size)
        run("SELECT pg_stat_force_next_flush()")
        [(updates, hot)] = run(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
            "WHERE relname = 'reconnect_channels_stream'"
        )
        print(f"| {factor} | {rate:,.0f} | {hot / max(updates, 1):.1%} | {before} | {after} |", flush=True)
    run("ALTER TABLE reconnect_channels_stream RESET (fillfactor)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--retention", action="store_true", help="also DELETE, partitions, BRIN")
    parser.add_argument("--counters", action="store_true", help="also updates of the counter rows")
    given = parser.parse_args()
    with database():
        if given.counters:
            counters()
            run("TRUNCATE reconnect_channels_stream, reconnect_channels_streamentry")
        if given.rows:
            reads(sorted(given.rows), given.streams)
        if given.retention:
            retention(given.streams)


if __name__ == "__main__":
    main()

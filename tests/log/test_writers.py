"""Many writers and readers of one log (design 5.1, 7.2; fault F21 of several processes)."""

import subprocess
import threading
from collections import defaultdict
from functools import partial

import pytest
from django.db import DatabaseError, connection, transaction

from reconnect_channels.log import database
from reconnect_channels.log.base import Mismatch
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import Position, fold

from .conftest import drafts
from .threads import PATIENCE, Aside, at_once, output, python, someone_waits, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

WRITERS = 8
EACH = 15


def write(log, writer, failed):
    try:
        for n in range(EACH):
            log.append("s", [drafts(1, key=f"w{writer}")[0]._replace(text=str(n))], 0)
    except BaseException:
        failed.set()
        raise


def assert_one_history(entries, count):
    assert [entry.seq for entry in entries] == list(range(1, count + 1))
    assert len({entry.id for entry in entries}) == count
    position = Position(entries[0].epoch, 0, 0)
    for entry in entries:
        position = position.then(entry.id)
        assert entry.position == position
    clocks = [entry.clock for entry in entries]
    assert clocks == sorted(set(clocks))
    row = Stream.objects.get(name="s")
    assert (row.head, row.checksum) == (count, fold(0, [entry.id for entry in entries]))


def test_writers_at_once_leave_no_gap_and_a_tailing_reader_misses_nothing(log):
    failed = threading.Event()

    def tail():
        position = log.heads(["s"])["s"].position._replace(seq=0, checksum=0)
        seen = []
        while len(seen) < WRITERS * EACH and not failed.is_set():
            run = log.read("s", position, 7)
            seen += run.entries
            if run.entries:
                position = run.entries[-1].position
        return seen

    seen, *_ = at_once(tail, *(partial(write, log, writer, failed) for writer in range(WRITERS)))
    assert_one_history(seen, WRITERS * EACH)
    by_writer = defaultdict(list)
    for entry in seen:
        by_writer[entry.key].append(int(entry.text))
    assert by_writer == {f"w{writer}": list(range(EACH)) for writer in range(WRITERS)}


SCRIPT = """
import sys
from reconnect_channels import publish
sys.stdin.readline()
for n in range(40):
    publish("s", n)
"""


def test_processes_at_once_leave_no_gap(log):
    processes = [python(SCRIPT, stdin=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output(process)
    head = log.heads(["s"])["s"]
    assert_one_history(log.read("s", head.position._replace(seq=0, checksum=0), 100).entries, 80)


@pytest.mark.parametrize("begin", ["heads", "append"])
def test_beginners_at_once_make_one_stream(log, begin):
    if begin == "heads":
        results = [heads["s"].epoch for heads in at_once(*[lambda: log.heads(["s"])] * 8)]
    else:
        results = [entries[0].epoch for entries in at_once(*[lambda: log.append("s", drafts(1), 0)] * 8)]
    assert results == [Stream.objects.get().epoch] * 8


def test_a_new_epoch_is_made_once_by_many_who_ask_for_it(log):
    [entry] = log.append("s", drafts(1), 0)
    heads = at_once(*[lambda: log.new_epoch("s", entry.epoch)] * 8)
    assert len(set(heads)) == 1
    assert heads[0].epoch != entry.epoch


def test_a_reader_never_sees_what_is_not_committed(log):
    [entry] = log.append("s", drafts(1), 0)
    with transaction.atomic():
        log.append("s", drafts(1), 0)
        seen = Aside(lambda: (log.heads(["s"])["s"].position, log.read("s", entry.position, 9).entries)).end()
    assert seen == (entry.position, [])
    assert len(log.read("s", entry.position, 9).entries) == 1


def test_a_reader_that_meets_the_floor_is_told_and_finds_no_hole(log):
    first = log.append("s", drafts(300), 0)
    start = Position(first[0].epoch, 0, 0)

    def page():
        position, reason = start, None
        while position.seq < 300 and reason is None:
            try:
                entries = log.read("s", position, 5).entries
            except Mismatch as mismatch:
                reason = mismatch.reason
            else:
                assert [entry.seq for entry in entries] == list(range(position.seq + 1, position.seq + 6))
                position = entries[-1].position
        return reason

    def trim():
        for floor in range(1, 302, 3):
            log.trim("s", floor)

    *reasons, _ = at_once(page, page, page, trim)
    assert set(reasons) <= {None, Resync.TRIMMED}
    with pytest.raises(Mismatch, match="trimmed"):
        log.read("s", start, 5)


def test_a_drop_waits_for_an_append_and_takes_its_entries_along(log):
    log.append("s", drafts(1), 0)
    with transaction.atomic():
        log.append("s", drafts(1), 0)
        dropping = Aside(lambda: log.drop("s"))
        until(someone_waits)
    dropping.end()
    assert not Stream.objects.filter(name="s").exists()
    assert not StreamEntry.objects.exists()


def test_an_append_waits_for_a_drop_and_begins_another_life(log):
    [entry] = log.append("s", drafts(1), 0)
    with transaction.atomic():
        log.drop("s")
        appending = Aside(lambda: log.append("s", drafts(1), 0))
        until(someone_waits)
    [reborn] = appending.end()
    assert reborn.seq == 1
    assert reborn.epoch != entry.epoch


def test_two_who_look_for_the_same_ids_append_them_once(log):
    """As when an `async def` handler runs twice after a pause of its process (design 8.3)."""
    [draft] = drafts(1)

    def once():
        with transaction.atomic():
            if not log.existing("s", [draft.id]):
                log.append("s", [draft], 0)

    at_once(*[once] * 4)
    assert log.heads(["s"])["s"].seq == 1


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no server that could end it")
def test_a_writer_that_stands_still_in_its_transaction_loses_the_stream(log, monkeypatch):
    """A frozen process, or one that the network has cut off, must not stop a stream."""
    monkeypatch.setattr(database, "IDLE_MS", 200)

    def stand_still():
        with transaction.atomic():
            log.append("s", drafts(1), 0)
            holding.set()
            moved.wait(PATIENCE)
            StreamEntry.objects.count()

    holding, moved = threading.Event(), threading.Event()
    frozen = Aside(stand_still)
    assert holding.wait(PATIENCE)
    [entry] = log.append("s", drafts(1), 0)
    moved.set()
    with pytest.raises(DatabaseError):
        frozen.end()
    assert entry.seq == 1
    assert [kept.uid for kept in StreamEntry.objects.all()] == [entry.id]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no such setting")
def test_the_limit_of_standing_still_ends_with_the_transaction_and_yields_to_the_applications(log):
    def limit():
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')")
            return cursor.fetchone()[0]

    with transaction.atomic():
        log.append("s", drafts(1), 0)
        assert limit() == "10s"
    assert limit() == "0"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '3s'")
        log.append("s", drafts(1), 0)
        assert limit() == "3s"

"""The archive: the database's copy of what Redis keeps (design 7.5)."""

import os
import signal
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from reconnect_channels import archive
from reconnect_channels.log import redis
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.position import Position
from tests.log.conftest import drafts, fast  # noqa: F401 - a fixture
from tests.log.threads import Aside, at_once, until

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.redis]
committing = pytest.mark.django_db(transaction=True)

S = "fast:s"


@pytest.fixture
def log(fast):  # noqa: F811
    return fast


def copy(log):
    """One round; returns how many entries were copied of which stream."""
    copied = {}
    for name, count in archive.archive(log):
        copied[name] = copied.get(name, 0) + count
    return copied


def archived(stream=S, *, from_floor=True):
    row = Stream.objects.get(name=stream)
    entries = row.entries.order_by("seq")
    return [
        (e.seq, e.uid, e.checksum, e.clock, e.key, e.text)
        for e in (entries.filter(seq__gte=row.floor) if from_floor else entries)
    ]


def logged(log, stream=S):
    head = log.heads([stream])[stream]
    run = log.read(stream, Position(head.epoch, head.floor - 1, head.floor_checksum), 100_000)
    return [tuple(entry[2:8]) for entry in run.entries]


def assert_equal(log, stream=S):
    """The archive says of the stream what the log says."""
    head, row = log.heads([stream])[stream], Stream.objects.get(name=stream)
    assert (row.epoch, row.head, row.checksum) == head.position
    entries = logged(log, stream)
    assert archived(stream)[-len(entries) :] == entries
    assert len(archived(stream)) == row.head - row.floor + 1
    assert row.clock >= head.clock  # lives that are gone had later ones


def test_streams_are_copied_whole_and_then_only_what_is_new(log, django_assert_max_num_queries):
    log.append(S, drafts(1200, key="k"), 5)
    log.append("fast:t", drafts(3), 0)
    log.heads(["fast:empty"])
    assert copy(log) == {S: 1200, "fast:t": 3}
    for stream in (S, "fast:t"):
        assert_equal(log, stream)
    assert not Stream.objects.filter(name="fast:empty").exists()
    with django_assert_max_num_queries(1):
        assert copy(log) == {}
    log.append("fast:t", drafts(2), 0)
    assert copy(log) == {"fast:t": 2}
    assert_equal(log, "fast:t")


def test_an_entry_s_age_is_that_of_its_append(log, monkeypatch):
    then = timezone.now() - timedelta(hours=3)
    monkeypatch.setattr(redis.time, "time_ns", lambda: int(then.timestamp() * 1e9))
    log.append(S, drafts(1), 0)
    copy(log)
    assert abs(StreamEntry.objects.get().created - then) < timedelta(milliseconds=2)


def test_a_log_that_was_trimmed_before_is_archived_from_its_floor(log):
    log.append(S, drafts(10), 0)
    log.trim(S, 6)
    copy(log)
    assert_equal(log)
    assert Stream.objects.get().floor == 6


def test_what_the_log_forgets_later_stays_in_the_archive(log):
    log.append(S, drafts(10), 0)
    copy(log)
    log.append(S, drafts(5), 0)
    log.trim(S, 9)
    assert copy(log) == {S: 5}
    assert [entry[0] for entry in archived()] == list(range(1, 16))


def test_what_was_forgotten_before_it_was_copied_is_a_hole_that_the_floor_tells(log):
    log.append(S, drafts(3), 0)
    copy(log)
    log.append(S, drafts(10), 0)
    log.trim(S, 9)
    assert copy(log) == {S: 5}
    assert_equal(log)
    assert Stream.objects.get().floor == 9
    assert [entry[0] for entry in archived(from_floor=False)] == [1, 2, 3, *range(9, 14)]


def lose_the_tail(log, count):
    """Redis comes back as it was before the newest entries."""
    client = log.endpoint.client
    kept = {key: client.dump(key) for key in log.keys(S)}
    log.append(S, drafts(count), 0)

    def restore():
        client.delete(*kept)
        for key, value in kept.items():
            if value is not None:
                client.restore(key, 0, value)

    return restore


@pytest.mark.parametrize("common", [0, 1, 7])
@pytest.mark.parametrize("refill", [0, 2, 5, 12])
def test_a_tail_that_redis_lost_is_taken_back(log, common, refill):
    if common:
        log.append(S, drafts(common), 0)
    else:
        log.heads([S])
    restore = lose_the_tail(log, 5)
    copy(log)
    assert Stream.objects.get().head == common + 5
    restore()
    if refill:
        log.append(S, drafts(refill), 0)
    copy(log)
    assert_equal(log)
    log.append(S, drafts(3), 0)
    copy(log)
    assert_equal(log)
    assert [entry[0] for entry in archived()] == list(range(1, common + refill + 4))


def test_a_new_epoch_of_the_same_entries_copies_nothing_again(log):
    log.append(S, drafts(5), 0)
    copy(log)
    head = log.new_epoch(S, log.heads([S])[S].epoch)
    assert copy(log) == {S: 0}
    assert Stream.objects.get().epoch == head.epoch
    log.append(S, drafts(1), 0)
    assert copy(log) == {S: 1}
    assert_equal(log)


def test_another_life_goes_on_above_the_lives_before_it(log):
    batch = drafts(5)
    log.append(S, batch, 100)
    copy(log)
    log.drop(S)
    entries = log.append(S, [*drafts(2), batch[0]], 0)  # a message that ran again has the same entry
    assert [entry.seq for entry in entries] == [6, 7, 8]
    assert copy(log) == {S: 3}
    assert_equal(log)
    assert Stream.objects.get().floor == 6
    assert [entry[0] for entry in archived(from_floor=False)] == [2, 3, 4, 5, 6, 7, 8]


def test_another_life_that_knew_of_no_archive_takes_the_place_of_what_it_covers(log, monkeypatch):
    log.append(S, drafts(5), 0)
    copy(log)
    log.drop(S)
    monkeypatch.setattr(type(log), "_archived", lambda *_: {})
    log.append(S, drafts(2), 0)
    assert copy(log) == {S: 2}
    assert_equal(log)
    assert [entry[0] for entry in archived(from_floor=False)] == [1, 2]


@committing
def test_archivers_at_once_copy_each_entry_once(log):
    names = [f"fast:{n}" for n in range(3)]
    for name in names:
        log.append(name, drafts(1200), 0)
    rounds = at_once(*[lambda: copy(log)] * 3)
    assert sum(sum(copied.values()) for copied in rounds) == 3 * 1200
    for name in names:
        assert_equal(log, name)


def test_a_stopped_archiver_goes_on_where_it_was(log):
    log.append(S, drafts(1600), 0)
    running = archive.archive(log)
    assert next(running) == (S, 500)
    running.close()
    assert copy(log) == {S: 1100}
    assert_equal(log)


def test_a_busy_stream_does_not_keep_the_others_waiting(log, monkeypatch):
    monkeypatch.setattr(archive, "BATCHES", 2)
    for name in (S, "fast:t"):
        log.append(name, drafts(1600), 0)
    assert copy(log) == {S: 1000, "fast:t": 1000}
    assert copy(log) == {S: 600, "fast:t": 600}


def test_streams_of_another_log_on_the_same_keys_are_left_alone(log, settings):
    log.append("elsewhere", drafts(1), 0)
    log.append(S, drafts(1), 0)
    assert copy(log) == {S: 1}


# -- the command -------------------------------------------------------------------------------------------


def run(*arguments):
    out = StringIO()
    call_command("reconnect_archive", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_what_it_did(log):
    log.append(S, drafts(3), 0)
    assert run("--once") == "1 streams: 3 entries archived, 0 forgotten.\n"
    assert run("--once") == ""


def test_the_command_forgets_what_is_too_old(log, monkeypatch):
    now = redis.time.time_ns
    monkeypatch.setattr(redis.time, "time_ns", lambda: now() - 10**9 * 3600 * 48)
    log.append(S, drafts(3), 0)
    monkeypatch.setattr(redis.time, "time_ns", now)
    log.append(S, drafts(2), 0)
    assert run("--once", "--days", "1") == "1 streams: 5 entries archived, 3 forgotten.\n"
    assert [entry[0] for entry in archived(from_floor=False)] == [4, 5]
    log.append(S, drafts(2), 0)
    assert copy(log) == {S: 2}


def test_without_a_log_outside_the_database_there_is_nothing_to_do():
    with pytest.raises(CommandError, match="nothing to archive"):
        run("--once")


@committing
def test_the_command_goes_on_until_it_is_told_to_stop_and_while_redis_is_away(log, monkeypatch, caplog):
    """SIGTERM comes to the main thread, where the command runs."""
    monkeypatch.setattr("reconnect_channels.management.commands.reconnect_archive.LONGEST", 0.05)
    failures = iter([OSError("away"), OSError("away")])
    copying = archive.archive

    def failing(log):
        for error in failures:
            raise error
        return copying(log)

    monkeypatch.setattr(archive, "archive", failing)

    def use_it():
        log.append(S, drafts(3), 0)
        until(lambda: StreamEntry.objects.count() == 3)
        log.append(S, drafts(2), 0)
        until(lambda: StreamEntry.objects.count() == 5)
        os.kill(os.getpid(), signal.SIGTERM)

    aside = Aside(use_it)
    out = run("--interval", "0.02")
    aside.end()
    assert out.splitlines()[-1] == "1 streams: 2 entries archived, 0 forgotten."
    assert caplog.text.count("The archive fell behind") == 2
    assert_equal(log)

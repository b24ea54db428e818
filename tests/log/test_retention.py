"""What is forgotten, and what never is (design 7.6)."""

import random
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from reconnect_channels import folding, retention
from reconnect_channels.conf import DATABASE_LOG
from reconnect_channels.log import database, log_for
from reconnect_channels.log.base import Mismatch
from reconnect_channels.models import (
    DriftReport,
    ProcessedMessage,
    Producer,
    StoredSnapshot,
    Stream,
    StreamEntry,
)
from reconnect_channels.protocol.position import Position
from reconnect_channels.retention import trim_stream

from .conftest import drafts
from .folded import TallyConsumer
from .threads import Aside

pytestmark = [pytest.mark.django_db, pytest.mark.database]

NOT_SPARED = timedelta(0)


def kept(stream: str = "s") -> list[int]:
    rows = StreamEntry.objects.filter(stream__name=stream).order_by("seq")
    return list(rows.values_list("seq", flat=True))


def append(count: int, stream: str = "s", *, days_old: float = 0) -> None:
    entries = log_for(stream).append(stream, drafts(count), 0)
    StreamEntry.objects.filter(uid__in=[entry.id for entry in entries]).update(
        created=timezone.now() - timedelta(days=days_old)
    )


# -- policies ------------------------------------------------------------------------------------------


def test_all_is_kept_where_nothing_is_said():
    append(5, days_old=5000)
    assert trim_stream("s") == 0
    assert kept() == [1, 2, 3, 4, 5]


def test_at_most_so_many_entries_are_kept():
    append(5, days_old=1)
    assert trim_stream("s", max_entries=2) == 3
    assert kept() == [4, 5]
    assert log_for("s").heads(["s"])["s"].floor == 4


def test_entries_are_kept_up_to_an_age():
    append(3, days_old=9)
    append(2, days_old=3)
    append(1)
    assert trim_stream("s", max_age=timedelta(days=5)) == 3
    assert kept() == [4, 5, 6]
    assert trim_stream("s", max_age=timedelta(days=5)) == 0
    assert trim_stream("s", max_age=timedelta(days=1)) == 2
    assert kept() == [6]


@pytest.mark.parametrize("old", range(12))
def test_the_newest_entry_before_a_time_is_found_with_few_queries(django_assert_max_num_queries, old):
    append(11, days_old=1)
    log_for("s").trim("s", 3)
    StreamEntry.objects.filter(seq__lte=old).update(created=timezone.now() - timedelta(days=9))
    with django_assert_max_num_queries(5):
        found = log_for("s").newest_before("s", timezone.now() - timedelta(days=5))
    assert found == (old if old >= 3 else None)


def test_a_stream_has_the_policy_of_its_longest_prefix_before_its_log_s(settings):
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {"default": {"BACKEND": DATABASE_LOG, "RETENTION": {"ENTRIES": 4}}},
        "RETENTION": {"c:": {"ENTRIES": 3}, "c:d:": {"SECONDS": 5 * 86_400}},
    }
    for name in ("s", "c:1", "c:d:1"):
        append(2, name, days_old=9)
        append(5, name, days_old=1)
        trim_stream(name)
    assert [kept(name) for name in ("s", "c:1", "c:d:1")] == [[4, 5, 6, 7], [5, 6, 7], [3, 4, 5, 6, 7]]


def test_nothing_young_goes_whatever_the_policy_says():
    append(3, days_old=1)
    append(4)
    assert trim_stream("s", max_entries=0) == 3
    assert kept() == [4, 5, 6, 7]
    assert trim_stream("s", max_entries=0, spared=NOT_SPARED) == 4
    assert kept() == []


def test_a_dry_run_counts_and_changes_nothing():
    append(5, days_old=1)
    assert trim_stream("s", max_entries=2, dry_run=True) == 3
    assert kept() == [1, 2, 3, 4, 5]


def test_the_streams_of_every_log_are_found_once(settings):
    backend = {"BACKEND": DATABASE_LOG}
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {"default": backend, "c": {**backend, "PREFIXES": ["c:", "d:"]}}
    }
    for name in ("s", "c:1", "d:1", "e"):
        append(1, name)
    assert sorted(retention.stream_names()) == ["c:1", "d:1", "e", "s"]
    assert list(retention.stream_names("c")) == ["c:1"]


def test_many_streams_are_listed_page_by_page(monkeypatch):
    monkeypatch.setattr(database, "NAMES_PER_QUERY", 3)
    log_for("s").heads([f"s{n}" for n in range(8)])
    assert list(log_for("s").names()) == [f"s{n}" for n in range(8)]


# -- readers meet no hole ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_reader_is_told_trimmed_and_never_meets_a_hole(monkeypatch):
    """Reads from everywhere while the floor rises through them, in steps of few rows."""
    monkeypatch.setattr(database, "ROWS_PER_DELETE", 7)
    monkeypatch.setattr(retention, "STEP", 30)
    entries = log_for("s").append("s", drafts(600), 0)
    positions = [Position(entries[0].epoch, 0, 0), *(entry.position for entry in entries)]
    over = threading.Event()
    seen = {"right": 0, "trimmed": 0}

    def read() -> None:
        rng, log = random.Random(1), log_for("s")
        while not over.is_set() or not seen["trimmed"]:
            at = rng.choice(positions[:500])
            try:
                run = log.read("s", at, 50)
            except Mismatch as mismatch:
                seen[mismatch.reason] += 1  # a KeyError for any other
            else:
                assert [entry.position for entry in run.entries] == positions[at.seq + 1 :][:50]
                seen["right"] += 1

    reader = Aside(read)
    try:
        for floor in range(1, 500, 90):
            trim_stream("s", max_entries=600 - floor, spared=NOT_SPARED)
    finally:
        over.set()
        reader.end()
    assert seen["right"]
    assert kept() == list(range(452, 601))


@pytest.mark.django_db(transaction=True)
def test_the_floor_is_seen_by_others_before_the_first_entry_goes():
    append(9)
    floors = []

    def look(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("DELETE"):
            floors.append(Aside(lambda: Stream.objects.get(name="s").floor).end())
        return execute(sql, *args)

    with connection.execute_wrapper(look):
        log_for("s").trim("s", 5)
    assert floors == [5]


@pytest.mark.django_db(transaction=True)
def test_what_a_crash_left_below_the_floor_goes_the_next_time(monkeypatch):
    monkeypatch.setattr(database, "ROWS_PER_DELETE", 2)
    append(9)
    deletes = 0

    def crash(execute: Any, sql: str, *args: Any) -> Any:
        nonlocal deletes
        if sql.startswith("DELETE"):
            deletes += 1
            if deletes == 2:
                raise ConnectionError("the process died")
        return execute(sql, *args)

    with connection.execute_wrapper(crash), pytest.raises(ConnectionError):
        log_for("s").trim("s", 8)
    head = log_for("s").heads(["s"])["s"]
    assert (head.floor, kept()) == (8, [3, 4, 5, 6, 7, 8, 9])
    run = log_for("s").read("s", Position(head.epoch, 7, head.floor_checksum), 10)
    assert [entry.seq for entry in run.entries] == [8, 9]
    assert log_for("s").trim("s", 8) == 5
    assert kept() == [8, 9]


def test_nothing_goes_from_above_what_was_asked_for_even_below_the_floor():
    """An archive keeps former lives of a stream there."""
    append(9)
    Stream.objects.update(floor=7, floor_checksum=StreamEntry.objects.get(seq=6).checksum)
    assert log_for("s").trim("s", 4) == 3
    assert kept() == [4, 5, 6, 7, 8, 9]


@pytest.mark.django_db(transaction=True)
def test_publishers_do_not_wait_while_entries_are_deleted():
    """On SQLite everybody waits for its one writer; there the batches are short."""
    append(9)
    appended = []

    def publish(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("DELETE") and connection.vendor == "postgresql":
            appended.extend(Aside(lambda: log_for("s").append("s", drafts(1), 0)).end())
        return execute(sql, *args)

    with connection.execute_wrapper(publish):
        log_for("s").trim("s", 5)
    assert [entry.seq for entry in appended] == ([10] if connection.vendor == "postgresql" else [])


# -- states --------------------------------------------------------------------------------------------


def test_what_a_state_is_folded_from_goes_only_when_the_state_is_stored():
    append(30, "tally:a", days_old=1)
    assert trim_stream("tally:a", max_entries=10) == 20
    assert StoredSnapshot.objects.get(stream="tally:a").seq == 30
    append(4, "tally:a")
    state = folding.fold(TallyConsumer, "tally:a")
    assert state.position.seq == 34


def test_trimming_never_passes_the_newest_stored_state(monkeypatch):
    append(30, "tally:a", days_old=1)
    folding.fold(TallyConsumer, "tally:a", every=1)
    append(9, "tally:a", days_old=1)
    monkeypatch.setattr(retention, "consumer_for", lambda stream: None)  # this process doesn't know it
    trim_stream("tally:a", max_entries=0)
    assert kept("tally:a") == list(range(31, 40))


def test_nodes_of_the_version_before_can_go_on_while_a_deploy_rolls(monkeypatch):
    append(30, "tally:a", days_old=1)
    folding.fold(TallyConsumer, "tally:a", every=1)
    append(9, "tally:a", days_old=1)
    after = type("After", (TallyConsumer,), {"snapshot_version": 2})
    monkeypatch.setattr(retention, "consumer_for", lambda stream: after)
    trim_stream("tally:a", max_entries=0)
    assert kept("tally:a") == list(range(31, 40))
    for consumer_class in (TallyConsumer, after):
        assert folding.fold(consumer_class, "tally:a").position.seq == 39


def test_a_stream_whose_state_is_lost_is_not_trimmed_further():
    append(9, "tally:a", days_old=1)
    log_for("tally:a").trim("tally:a", 3)
    with pytest.raises(folding.Unfoldable):
        trim_stream("tally:a", max_entries=2)
    assert kept("tally:a") == list(range(3, 10))


def test_states_of_a_version_before_go_a_day_after_the_last_of_them(monkeypatch):
    append(9, "tally:a")
    folding.fold(TallyConsumer, "tally:a", every=1)
    after = type("After", (TallyConsumer,), {"snapshot_version": 2})
    monkeypatch.setattr(retention, "consumer_for", lambda stream: after)
    StoredSnapshot.objects.update(created=timezone.now() - timedelta(days=2))
    assert sum(retention.forget_states()) == 0, "nothing newer yet"
    folding.fold(after, "tally:a", every=1)
    assert sum(retention.forget_states()) == 1
    assert StoredSnapshot.objects.get().version == 2


# -- other rows ----------------------------------------------------------------------------------------


def test_old_answers_producers_and_drift_reports_go_in_batches(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    now = timezone.now()
    for n in range(10):
        age = timedelta(days=100 if n < 7 else 0)
        ProcessedMessage.objects.create(
            identity="i", stream="s", key=str(n), payload_hash="", status="acked", created=now - age
        )
        Producer.objects.create(identity="i", producer=str(n), stream="s", updated=now - age)
        DriftReport.objects.create(
            stream="s",
            identity="i",
            client_id=str(n),
            epoch="e",
            seq=1,
            client_checksum=1,
            last_seen=now - age,
        )
    assert list(retention.forget_answers()) == [3, 3, 1, 3, 3, 1]
    assert list(retention.forget_drift()) == [3, 3, 1]
    for model in (ProcessedMessage, Producer, DriftReport):
        assert model.objects.count() == 3

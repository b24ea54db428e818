"""publish(): in the caller's transaction, announced once it is committed (design 7.3, 7.4)."""

import asyncio
import logging
import uuid
from contextlib import suppress
from types import SimpleNamespace

import pytest
from django.db import connection, connections, transaction
from django.test import TestCase, TransactionTestCase

from reconnect_channels import announcement, apublish, publication, publish, publish_many
from reconnect_channels.log import log_for
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.clock import LamportClock
from reconnect_channels.publication import Authoring, authoring
from reconnect_channels.testing import captured_entries

from .threads import Aside, at_once, output, python, someone_waits, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def announced():
    """What the hubs of this process are told, in order."""
    told = []
    announcement.listeners.add(told.append)
    yield told
    announcement.listeners.discard(told.append)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """This process's Lamport clock, as new."""
    clock = LamportClock()
    monkeypatch.setattr(publication, "node_clock", clock)
    return clock


def payloads(stream="s"):
    entries = StreamEntry.objects.filter(stream__name=stream).order_by("seq")
    return [entry.text for entry in entries]


# -- transactions --------------------------------------------------------------------------------------


def test_outside_a_transaction_an_entry_is_committed_and_announced_at_once(announced):
    entry = publish("s", {"n": 1})
    assert (entry.seq, entry.key, entry.payload) == (1, None, {"n": 1})
    assert announced == [[entry]]
    assert payloads() == ['{"n":1}']


def test_inside_a_transaction_entries_are_announced_on_commit_once_and_in_order(announced):
    with transaction.atomic():
        first = publish("s", 1)
        other = publish("other", 2)
        with transaction.atomic():
            second = publish("s", 3)
        assert announced == []
    assert announced == [[first], [other], [second]]
    assert (first.seq, second.seq) == (1, 2)


def test_a_rolled_back_transaction_leaves_nothing_and_announces_nothing(announced):
    with transaction.atomic():
        publish("s", 1)
        publish_many([("s", 2), ("other", 3)])
        transaction.set_rollback(True)
    assert announced == []
    assert not Stream.objects.exists()
    assert publish("s", 4).seq == 1


def test_a_rolled_back_savepoint_leaves_nothing_of_its_own(announced):
    with transaction.atomic():
        before = publish("s", "before")
        with suppress(ZeroDivisionError), transaction.atomic():
            publish("s", "inside")
            _ = 1 / 0
        after = publish("s", "after")
    assert announced == [[before], [after]]
    assert payloads() == ['"before"', '"after"']
    assert after.position == before.position.then(after.id)


def test_entries_of_many_streams_come_back_in_the_order_of_the_items(announced):
    entries = publish_many([("b", 1), ("a", 2), ("b", 3), ("a", 4)])
    assert [(e.stream, e.seq, e.payload) for e in entries] == [
        ("b", 1, 1),
        ("a", 1, 2),
        ("b", 2, 3),
        ("a", 2, 4),
    ]
    assert announced == [[entries[1], entries[3]], [entries[0], entries[2]]]


def test_nothing_published_is_nothing(announced):
    assert publish_many([]) == []
    assert announced == []


def test_a_hook_on_commit_sees_the_entries_that_were_committed(announced):
    seen = []
    announcement.listeners.add(listener := lambda entries: seen.append(payloads()))
    try:
        with transaction.atomic():
            publish("s", 1)
            publish("s", 2)
    finally:
        announcement.listeners.discard(listener)
    assert seen == [["1", "2"], ["1", "2"]]


async def test_apublish_is_publish(announced, sync_thread):
    entry = await apublish("s", {"n": 1})
    assert (entry.seq, entry.payload) == (1, {"n": 1})
    assert announced == [[entry]]
    with pytest.raises(ValueError, match="not a stream name"):
        await apublish("no stream", 1)


async def test_apublish_from_many_tasks_loses_nothing(announced, sync_thread):
    entries = await asyncio.gather(*(apublish("s", n) for n in range(20)))
    assert sorted(entry.seq for entry in entries) == list(range(1, 21))
    assert [entry.seq for [entry] in announced] == list(range(1, 21))


# -- failing listeners ------------------------------------------------------------------------------------


def test_a_failing_listener_fails_neither_the_caller_nor_the_other_listeners(announced, caplog):
    def failing(entries):
        raise RuntimeError("a hub's defect")

    others = [[], []]
    for other in others:
        announcement.listeners.add(other.append)
    announcement.listeners.add(failing)
    try:
        entry = publish("s", 1)
        with transaction.atomic():
            second = publish("s", 2)
    finally:
        announcement.listeners.discard(failing)
        for other in others:
            announcement.listeners.discard(other.append)
    for told in (announced, *others):
        assert told == [[entry], [second]]
    assert caplog.text.count("RuntimeError: a hub's defect") == 2


def test_a_failing_hook_of_the_caller_does_not_silence_what_it_published_before(announced):
    with suppress(ZeroDivisionError), transaction.atomic():
        publish("s", 1)
        transaction.on_commit(lambda: 1 / 0)
    assert len(announced) == 1


# -- `using` ---------------------------------------------------------------------------------------------


@pytest.fixture
def second_connection():
    """An alias of the same database: a connection with transactions of its own."""
    connections["second"] = connection.copy("second")
    yield "second"
    connections["second"].close()
    del connections["second"]


def test_using_joins_the_transaction_of_that_alias(announced, second_connection):
    with transaction.atomic(using=second_connection):
        publish("s", 1, using=second_connection)
        assert not Stream.objects.exists()
        transaction.set_rollback(True, using=second_connection)
    assert announced == []
    with transaction.atomic(using=second_connection):
        entry = publish("s", 2, using=second_connection)
    assert announced == [[entry]]
    assert payloads() == ["2"]


def test_an_unknown_alias_is_an_error_of_the_caller():
    with pytest.raises(connections.exception_class, match="nowhere"):
        publish("s", 1, using="nowhere")


# -- locks -----------------------------------------------------------------------------------------------


def test_two_who_publish_to_the_same_streams_in_opposite_order_do_not_deadlock():
    names = [f"s{i}" for i in range(8)]

    def publishing(order):
        for _ in range(10):
            publish_many([(name, 1) for name in order])

    at_once(
        lambda: publishing(names), lambda: publishing(names[::-1]), lambda: publishing(names[4:] + names[:4])
    )
    assert {head.seq for head in log_for("s").heads(names).values()} == {30}


def test_streams_are_taken_in_sorted_order_before_one_waits_for_another():
    """Whoever holds `a` gets `b` too, however the items of a waiting caller were ordered."""
    publish_many([("a", 0), ("b", 0)])
    with transaction.atomic():
        publish("a", 1)
        waiting = Aside(lambda: publish_many([("b", 2), ("a", 2)]))
        until(someone_waits)
        publish("b", 1)
    waiting.end()
    assert payloads("a") == payloads("b") == ["0", "1", "2"]


def test_a_long_hold_is_logged(caplog, monkeypatch):
    now = iter([10.0, 10.25])
    monkeypatch.setattr(publication, "time", SimpleNamespace(monotonic=lambda: next(now)))
    publish("s", 1)
    assert "Stream s was held for 250 ms" in caplog.text


def test_a_short_hold_is_not_logged(caplog):
    with caplog.at_level(logging.WARNING, publication.logger.name):
        publish("s", 1)
    assert caplog.text == ""


# -- clocks and ids ----------------------------------------------------------------------------------------


def test_an_entry_is_later_than_all_that_its_author_and_this_process_had_seen(clock):
    clock.observe(100)
    assert publish("s", 1).clock == 101
    author = Authoring(str(uuid.uuid4()), clock=500)
    token = authoring.set(author)
    try:
        assert publish("s", 2).clock == 501
        assert publish("other", 3).clock > 501
    finally:
        authoring.reset(token)
    assert publish("third", 4).clock > 502
    Stream.objects.filter(name="s").update(clock=9_000)  # another process had seen more
    assert publish("s", 5).clock == 9_001
    assert publish("third", 6).clock == 9_002


def test_entries_of_a_handler_are_named_after_its_message():
    message_id = str(uuid.uuid4())
    token = authoring.set(Authoring(message_id))
    try:
        entries = [publish("s", 1), *publish_many([("other", 2), ("s", 3)])]
    finally:
        authoring.reset(token)
    names = [str(uuid.uuid5(uuid.UUID(message_id), f" {i}")) for i in (1, 2, 3)]
    assert [entry.id for entry in entries] == names
    assert {entry.key for entry in entries} == {message_id}
    assert publish("s", 4).key is None


# -- before, beside and after Django ---------------------------------------------------------------------


def test_publish_can_be_imported_before_the_apps_are_ready():
    script = """
import reconnect_channels
assert "publish" in dir(reconnect_channels)
from reconnect_channels import Reject
import django
django.setup()
from reconnect_channels import apublish, publish, publish_many
print(publish("s", 1).seq)
"""
    assert output(python(script, setup=False)) == "1\n"
    assert payloads() == ["1"]


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import reconnect_channels

    with pytest.raises(AttributeError, match="pubish"):
        _ = reconnect_channels.pubish


def test_entries_can_be_captured_without_a_commit():
    with captured_entries() as outer, transaction.atomic():
        first = publish("s", 1)
        with captured_entries() as inner:
            entries = publish_many([("b", 1), ("a", 2)])
        last = publish("s", 2)
        transaction.set_rollback(True)
    publish("s", 3)
    assert inner == [entries[1], entries[0]]
    assert outer == [first, *inner, last]


class InATestCase(TestCase):
    """A user's TestCase never commits."""

    def test_entries_are_captured_and_announced_when_the_callbacks_are_run(self):
        told = []
        announcement.listeners.add(told.append)
        self.addCleanup(announcement.listeners.discard, told.append)
        with captured_entries() as entries, self.captureOnCommitCallbacks() as callbacks:
            publish("s", {"n": 1})
        assert [entry.payload for entry in entries] == [{"n": 1}]
        assert told == []
        for callback in callbacks:
            callback()
        assert told == [entries]

    def test_every_test_begins_with_an_empty_log(self):
        assert publish("s", 1).seq == 1


class InATransactionTestCase(TransactionTestCase):
    def test_entries_are_captured_and_committed(self):
        with captured_entries() as entries:
            publish("s", 1)
        assert [entry.seq for entry in entries] == [1]
        assert payloads() == ["1"]

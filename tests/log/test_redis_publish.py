"""publish() to a log in Redis: at once, or after the COMMIT of the caller (design 7.5)."""

import uuid
from contextlib import suppress

import pytest
from django.db import DatabaseError, transaction
from django.test import TestCase
from redis.exceptions import ConnectionError as RedisAway

from reconnect_channels import Pending, announcement, apublish, publication, publish, publish_many
from reconnect_channels.log import log_for
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.log.redis import RedisLog
from reconnect_channels.models import StreamEntry
from reconnect_channels.protocol.clock import LamportClock
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.position import Position
from reconnect_channels.publication import Authoring, authoring
from reconnect_channels.testing import captured_entries

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.redis]

S = "fast:s"


@pytest.fixture(autouse=True)
def _fast(fast):
    pass


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = LamportClock()
    monkeypatch.setattr(publication, "node_clock", clock)
    return clock


@pytest.fixture
def announced():
    """What the hubs of this process are told, in order."""
    told = []
    announcement.listeners.add(told.append)
    yield told
    announcement.listeners.discard(told.append)


def stored(stream=S):
    head = log_for(stream).heads([stream])[stream]
    return (
        log_for(stream).read(stream, Position(head.epoch, head.floor - 1, head.floor_checksum), 1000).entries
    )


def test_a_stream_s_prefix_chooses_its_log():
    assert isinstance(log_for(S), RedisLog)
    assert not log_for(S).transactional
    assert isinstance(log_for("s"), DatabaseLog)
    assert log_for("s").transactional


def test_outside_a_transaction_an_entry_is_appended_and_announced_at_once(announced, clock):
    clock.observe(40)
    entry = publish(S, {"n": 1})
    assert isinstance(entry, Entry)
    assert (entry.seq, entry.clock, entry.payload) == (1, 41, {"n": 1})
    assert announced == [[entry]]
    assert stored() == [entry]
    assert clock.now == 41
    assert not StreamEntry.objects.exists()


async def test_apublish_is_publish(announced, sync_thread):
    entry = await apublish(S, 1)
    assert (entry.seq, announced) == (1, [[entry]])


def test_inside_a_transaction_an_entry_is_pending_until_the_commit(announced, clock):
    with transaction.atomic():
        first, second = publish(S, {"n": 1}), publish(S, {"n": 2})
        with transaction.atomic():
            third = publish("fast:other", 3)
        assert isinstance(first, Pending)
        assert (first.stream, first.key, first.payload, first.entry) == (S, None, {"n": 1}, None)
        assert not hasattr(first, "seq")
        assert stored() == []
        assert announced == []
    assert [first.entry, second.entry] == stored()
    assert [first.entry.id, second.entry.id] == [first.id, second.id]
    assert announced == [[first.entry], [second.entry], [third.entry]]
    assert clock.now == third.entry.clock


def test_a_rolled_back_transaction_leaves_no_phantoms(announced):
    with transaction.atomic():
        whole = publish(S, 1)
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = publish(S, 2)
        with suppress(ZeroDivisionError), transaction.atomic():
            part = publish(S, 3)
            _ = 1 / 0
    assert (whole.entry, part.entry) == (None, None)
    assert announced == [[kept.entry]]
    assert stored() == [kept.entry]


def test_many_to_both_logs_come_back_in_the_order_of_the_items(announced):
    entries = publish_many([(S, 1), ("b", 2), (S, 3), ("a", 4), ("fast:t", 5)])
    assert [(e.stream, e.seq, e.payload) for e in entries] == [
        (S, 1, 1),
        ("b", 1, 2),
        (S, 2, 3),
        ("a", 1, 4),
        ("fast:t", 1, 5),
    ]
    assert announced == [[entries[3]], [entries[1]], [entries[0], entries[2]], [entries[4]]]


def test_many_inside_a_transaction_are_honest_about_each():
    with transaction.atomic():
        durable, fast = publish_many([("a", 1), (S, 2)])
        assert isinstance(durable, Entry)
        assert isinstance(fast, Pending)
    assert fast.entry.seq == 1


def test_what_the_database_refuses_is_not_in_redis_either(announced, monkeypatch):
    def refuse(*_, **__):
        raise DatabaseError("no")

    monkeypatch.setattr(DatabaseLog, "append", refuse)
    with pytest.raises(DatabaseError):
        publish_many([(S, 1), ("a", 2)])
    assert announced == []
    assert stored() == []


@pytest.fixture
def away(monkeypatch):
    """Redis takes nothing any more."""

    def refuse(*_, **__):
        raise RedisAway("away")

    monkeypatch.setattr(RedisLog, "append", refuse)


def test_a_redis_that_is_away_is_an_error_of_who_publishes_at_once(away, announced):
    with pytest.raises(RedisAway):
        publish(S, 1)
    assert announced == []


def test_a_redis_that_is_away_after_the_commit_costs_the_entry_alone(away, announced, caplog):
    ran = []
    with transaction.atomic():
        lost = publish(S, 1)
        durable = publish("a", 2)
        transaction.on_commit(lambda: ran.append(1))
    assert lost.entry is None
    assert announced == [[durable]]
    assert ran == [1]
    assert "1 entries of fast:s couldn't be appended after COMMIT" in caplog.text


def test_a_handler_that_runs_again_yields_the_same_entries(announced):
    message_id = str(uuid.uuid4())

    def handle():
        token = authoring.set(author := Authoring(message_id, "user", clock=70, repeatable=True))
        try:
            return [publish(S, {"n": 1}), publish("fast:t", 2), publish(S, {"n": 3})], author.last
        finally:
            authoring.reset(token)

    first, last = handle()
    publish(S, "between")
    assert handle() == (first, last)
    assert [entry.seq for entry in first] == [1, 1, 2]
    assert {entry.key for entry in first} == {message_id}
    assert first[0].clock == 71
    assert last == {S: first[2], "fast:t": first[1]}
    assert len(stored()) == 3


def test_an_ack_can_name_an_entry_of_the_handler_s_own_transaction():
    """That transaction ends before the handler does."""
    token = authoring.set(author := Authoring(str(uuid.uuid4()), repeatable=True))
    try:
        with transaction.atomic():
            publish(S, 1)
            assert author.last == {}
    finally:
        authoring.reset(token)
    assert author.last == {S: stored()[0]}


def test_entries_are_captured_where_nothing_is_ever_committed():
    with captured_entries() as captured, transaction.atomic():
        pending = publish(S, {"n": 1})
        durable = publish("a", 1)
        transaction.set_rollback(True)
    at_once = None
    with captured_entries() as outside:
        at_once = publish(S, 2)
    assert captured == [pending, durable]
    assert outside == [at_once]


class InATestCase(TestCase):
    """A user's TestCase never commits; its Redis would never see an entry."""

    @pytest.fixture(autouse=True)
    def _fast(self, fast):
        pass

    def test_entries_are_captured_and_appended_when_the_callbacks_are_run(self):
        with captured_entries() as entries, self.captureOnCommitCallbacks(execute=True):
            publish(S, {"n": 1})
            assert stored() == []
        [pending] = entries
        assert pending.payload == {"n": 1}
        assert stored() == [pending.entry]

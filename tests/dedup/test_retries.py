"""The same message many times at once, and handlers that are killed (design 8.2, 8.7; faults F24, F25)."""

import asyncio
import random
import signal
import threading
import time
from collections import Counter

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from reconnect_channels import apublish, publish
from reconnect_channels.dedup import base
from reconnect_channels.dedup.claims import aprocess
from reconnect_channels.log import log_for
from reconnect_channels.models import ProcessedMessage, StreamEntry
from tests.log.threads import PATIENCE, Aside, at_once, python, someone_waits, until

from .conftest import Outbox, published

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

postgres_only = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer")


def test_sixteen_transmissions_at_once_take_effect_once(outbox):
    message = outbox.message({"move": 7})
    outcomes = at_once(*[lambda: outbox.send(message)] * 16)
    fresh = [outcome for outcome in outcomes if outcome.code == 0 and not outcome.duplicate]
    assert len(fresh) == 1
    assert set(outcomes) <= {fresh[0], fresh[0]._replace(duplicate=True), base.IN_PROGRESS}
    assert outbox.handled == [{"move": 7}]
    assert outbox.send(message) == fresh[0]._replace(duplicate=True)
    assert published() == ['{"move":7}']


def test_the_same_key_from_two_tabs_at_once_takes_effect_once():
    """The producers differ, so only the key itself keeps them apart."""
    tabs = [Outbox(), Outbox()]
    first = tabs[0].message(1)
    second = tabs[1].message(1, id=first.id)
    outcomes = at_once(lambda: tabs[0].send(first), lambda: tabs[1].send(second))
    assert Counter(outcome.duplicate for outcome in outcomes if outcome.code == 0)[False] == 1
    assert published() == ["1"]


def test_many_messages_of_many_producers_each_twice_at_once_are_in_the_log_once():
    outboxes = [Outbox(identity=f"user:{i}") for i in range(4)]

    def play(outbox, messages):
        for message in messages:
            while outbox.send(message).retry_after_ms:
                pass

    jobs = []
    for outbox in outboxes:
        messages = [outbox.message(f"{outbox.identity}-{n}") for n in range(8)]
        jobs += [lambda o=outbox, m=messages: play(o, m)] * 2
    random.Random(1).shuffle(jobs)
    at_once(*jobs)
    texts = published()
    assert len(texts) == len(set(texts)) == 32
    for outbox in outboxes:
        own = [text for text in texts if text.startswith(f'"{outbox.identity}-')]
        assert own == [f'"{outbox.identity}-{n}"' for n in range(8)]


class Pause:
    """A handler that waits inside its transaction until it is let go."""

    def __init__(self):
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, message):
        entry = publish(message.stream, message.payload)
        self.entered.set()
        assert self.go.wait(PATIENCE)
        return entry.seq


@postgres_only
def test_a_transmission_while_another_one_is_worked_on_is_in_progress_after_a_second(outbox):
    message, pause = outbox.message(1), Pause()
    running = Aside(lambda: outbox.send(message, pause))
    assert pause.entered.wait(PATIENCE)
    start = time.monotonic()
    try:
        assert outbox.send(message) == base.IN_PROGRESS
        assert time.monotonic() - start < 8  # it gives up by itself: nobody let the first one go
        assert (base.IN_PROGRESS.code, base.IN_PROGRESS.retry_after_ms > 0) == (409, True)
    finally:
        pause.go.set()
    first = running.end()
    assert outbox.send(message) == first._replace(duplicate=True)
    assert outbox.handled == []
    assert published() == ["1"]


@postgres_only
def test_a_handler_may_wait_for_locks_longer_than_a_second(outbox):
    """The short lock_timeout is over before the handler runs, and doesn't outlive the transaction."""

    def handler(message):
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return cursor.fetchone()[0]

    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        (usual,) = cursor.fetchone()
        assert outbox.send(outbox.message(), handler).result == f'"{usual}"'
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == (usual,)


@postgres_only
def test_a_handler_that_stands_still_is_bounded_and_more_tightly_once_it_holds_a_stream(outbox):
    def handler(message):
        limits = []
        for _ in range(2):
            with connection.cursor() as cursor:
                cursor.execute("SHOW idle_in_transaction_session_timeout")
                limits.append(cursor.fetchone()[0])
            publish(message.stream, message.payload)
        return limits

    assert outbox.send(outbox.message(), handler).result == '["61s","10s"]'


@postgres_only
def test_a_deadlock_of_two_handlers_costs_one_of_them_a_second_try():
    for name in "ab":
        log_for(name).heads([name])
    both = threading.Barrier(2)
    runs = Counter()

    def crossing(first, second):
        def handler(message):
            runs[first] += 1
            publish(first, message.payload)
            if runs[first] == 1:
                both.wait(PATIENCE)
            publish(second, message.payload)

        outbox = Outbox(identity=first)
        return lambda: outbox.send(outbox.message(1), handler)

    outcomes = at_once(crossing("a", "b"), crossing("b", "a"))
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert sorted(runs.values()) == [1, 2]
    assert published("a") == published("b") == ["1", "1"]


def test_a_retry_waits_for_the_end_of_the_first_and_gets_its_ack(outbox):
    message, pause = outbox.message(1), Pause()
    running = Aside(lambda: outbox.send(message, pause))
    assert pause.entered.wait(PATIENCE)
    retrying = Aside(lambda: outbox.send(message))
    until(someone_waits)
    pause.go.set()
    first = running.end()
    assert retrying.end() in (first._replace(duplicate=True), base.IN_PROGRESS)
    assert (first.duplicate, published()) == (False, ["1"])


# -- killed processes ------------------------------------------------------------------------------------

KILLED = """
import asyncio, os, signal, sys
from django.db import transaction
from reconnect_channels import apublish, publish
from reconnect_channels.dedup.claims import aprocess
from reconnect_channels.dedup.database import process
from reconnect_channels.protocol.frames import Message

where, id, producer = sys.argv[1:]
message = Message(id=id, producer=producer, n=1, stream="board:1", payload=1)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def handler(message):
    entry = publish(message.stream, message.payload)
    if where == "before commit":
        die()
    transaction.on_commit(die)
    return {"seq": entry.seq}

async def ahandler(message):
    await apublish(message.stream, message.payload)
    die()

if where == "under a claim":
    asyncio.run(aprocess(ahandler, message, "user:1"))
else:
    process(handler, message, "user:1")
"""


def killed(where, message):
    """Runs the handler in a process of its own, which is killed (SIGKILL) inside it."""
    process = python(KILLED, where, message.id, message.producer)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, errors


def test_a_message_whose_handler_was_killed_before_commit_takes_effect_at_the_retry(outbox):
    message = outbox.message(1)
    killed("before commit", message)
    assert not ProcessedMessage.objects.exists()
    assert published() == []
    outcome = outbox.send(message)
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)
    assert published() == ["1"]


def test_a_message_whose_handler_was_killed_after_commit_and_before_the_ack_took_effect_once(outbox):
    message = outbox.message(1)
    killed("after commit", message)
    [entry] = StreamEntry.objects.select_related("stream")
    outcome = outbox.send(message)
    assert outcome == base.Outcome(result='{"seq":1}', epoch=entry.stream.epoch, seq=1, duplicate=True)
    assert outbox.handled == []
    assert published() == ["1"]


async def test_a_claim_of_a_killed_process_ends_and_the_retry_yields_the_same_entry(outbox, closing_threads):
    """Fault F25: never "duplicate" for something that didn't finish, never two entries."""
    message = outbox.message(1)
    await asyncio.to_thread(killed, "under a claim", message)
    entry = await sync_to_async(StreamEntry.objects.get)()
    assert entry.key == message.id

    async def handler(message):
        return (await apublish(message.stream, message.payload)).id

    assert await aprocess(handler, message, "user:1") == base.IN_PROGRESS
    claim = ProcessedMessage.objects.filter(status="claimed")
    assert await sync_to_async(claim.update)(lease_until=entry.created) == 1  # it runs out
    outcome = await aprocess(handler, message, "user:1")
    assert (outcome.code, outcome.seq, outcome.result) == (0, 1, f'"{entry.uid}"')
    assert outcome.duplicate is False
    assert await sync_to_async(published)() == ["1"]

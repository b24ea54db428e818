"""`async def` handlers: a claim with a lease, renewed while the handler lives (design 8.2)."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from reconnect_channels import Reject, apublish
from reconnect_channels.dedup import base, claims, database
from reconnect_channels.dedup.claims import aprocess
from reconnect_channels.models import ProcessedMessage, StreamEntry
from tests.live.peer import eventually

from .conftest import STREAM, Outbox
from .conftest import published as _published

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("closing_threads"),
    pytest.mark.database,
]

in_thread = sync_to_async
published = in_thread(_published)


class Handler:
    """Publishes the payload; `pause()` makes it wait until `go()`."""

    def __init__(self, *steps):
        self.runs = 0
        self.entered = asyncio.Event()
        self._go = asyncio.Event()
        self._go.set()
        self.result = None
        self.error = None

    def pause(self):
        self.entered.clear()
        self._go.clear()
        return self

    def go(self):
        self._go.set()

    async def __call__(self, message):
        self.runs += 1
        entry = await apublish(message.stream, message.payload)
        self.entered.set()
        await self._go.wait()
        if self.error is not None:
            raise self.error
        return self.result or {"seq": entry.seq}


@pytest.fixture
def looks(monkeypatch):
    """One for each look at a claim."""
    looks, take = [], claims.Claim.take

    def counted(claim):
        looks.append(claim)
        return take(claim)

    monkeypatch.setattr(claims.Claim, "take", counted)
    return looks


@pytest.fixture
def handler():
    return Handler()


def send(outbox, message, handler):
    return aprocess(handler, message, outbox.identity)


def start(outbox, message, handler):
    return asyncio.create_task(send(outbox, message, handler))


@in_thread
def row():
    return ProcessedMessage.objects.get()


@in_thread
def rows():
    return ProcessedMessage.objects.count()


@in_thread
def run_out():
    """The lease runs out, as when its process was stopped."""
    ProcessedMessage.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


async def test_an_ack_is_stored_and_replayed(outbox, handler):
    message = outbox.message({"move": 7})
    first = await send(outbox, message, handler)
    assert (first.code, first.seq, first.result, first.duplicate) == (0, 1, '{"seq":1}', False)
    assert await send(outbox, message, handler) == first._replace(duplicate=True)
    assert handler.runs == 1
    stored = await row()
    assert (stored.status, stored.lease_until) == ("acked", None)
    assert await published() == ['{"move":7}']


async def test_the_rules_of_keys_and_order_are_the_same(outbox, handler):
    first, second = outbox.message(1), outbox.message(2)
    assert await send(outbox, second, handler) == base.ORDER
    await send(outbox, first, handler)
    assert await send(outbox, outbox.message("other", id=first.id, n=1), handler) == base.KEY_REUSED
    assert await send(outbox, outbox.message("other", n=1), handler) == base.EXPIRED
    assert (await send(outbox, second, handler)).seq == 2
    assert handler.runs == 2


async def test_a_repeat_during_the_claim_is_in_progress_and_never_a_duplicate(outbox, handler, hasty):
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    assert [await send(outbox, message, handler) for _ in range(3)] == [base.IN_PROGRESS] * 3
    assert await send(outbox, outbox.message(2), handler) == base.ORDER
    handler.go()
    first = await running
    assert await send(outbox, message, handler) == first._replace(duplicate=True)
    assert handler.runs == 1


async def test_a_repeat_that_waits_is_answered_when_the_first_ends(outbox, handler, patient, looks):
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    waiting = [start(outbox, message, handler) for _ in range(3)]
    await eventually(lambda: len(looks) >= 1 + 2 * len(waiting))
    handler.go()
    first = await running
    assert await asyncio.gather(*waiting) == [first._replace(duplicate=True)] * 3
    assert handler.runs == 1


async def test_a_repeat_that_waits_takes_over_when_the_first_fails(outbox, patient, looks):
    message = outbox.message(1)
    failing, other = Handler(), Handler()
    failing.error = RuntimeError("defect")
    running = start(outbox, message, failing.pause())
    await failing.entered.wait()
    waiting = start(outbox, message, other)
    await eventually(lambda: len(looks) >= 3)
    failing.go()
    assert await running == base.FAILED
    outcome = await waiting
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)


async def test_of_many_at_once_one_runs(outbox, handler):
    message = outbox.message(1)
    running = [start(outbox, message, handler) for _ in range(16)]
    outcomes = await asyncio.gather(*running)
    assert [outcome for outcome in outcomes if outcome.code == 0 and not outcome.duplicate]
    assert handler.runs == 1
    assert await published() == ["1"]


async def test_the_lease_is_renewed_while_the_handler_lives(outbox, handler, settings, hasty):
    settings.RECONNECT_CHANNELS = {"CLAIM_SECONDS": 0.6}
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    first = (await row()).lease_until
    async with asyncio.timeout(10):
        while timezone.now() <= first:
            await row()
    assert (await row()).lease_until > first
    assert await send(outbox, message, handler) == base.IN_PROGRESS
    handler.go()
    assert (await running).code == 0
    assert handler.runs == 1


async def test_a_claim_whose_commit_went_unanswered_is_ones_own(outbox, handler, hasty, monkeypatch):
    take, lost = claims.Claim._take_row, []

    def cut(claim):
        known = take(claim)
        if not lost:
            lost.append(claim)
            raise OperationalError("the connection was cut")
        return known

    monkeypatch.setattr(claims.Claim, "_take_row", cut)
    outcome = await send(outbox, outbox.message(1), handler)
    assert (outcome.code, outcome.duplicate, handler.runs, len(lost)) == (0, False, 1, 1)


async def test_a_database_that_fails_while_a_copy_waits_is_no_defect(outbox, handler, monkeypatch, looks):
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()

    def gone(*args):
        raise DatabaseError("gone")

    monkeypatch.setattr(database, "row_of", gone)
    assert await send(outbox, message, handler) == base.UNAVAILABLE
    monkeypatch.undo()
    handler.go()
    assert (await running).code == 0


async def test_a_node_whose_clock_is_ahead_takes_no_claim_away(outbox, handler, hasty, monkeypatch):
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    ahead = timezone.now() + timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: ahead)
        assert await send(outbox, message, handler) == base.IN_PROGRESS
    handler.go()
    assert (await running).code == 0
    assert handler.runs == 1


@pytest.mark.parametrize("error", [InterfaceError("closed"), DatabaseError("gone"), RuntimeError("shutdown")])
async def test_a_renewal_that_fails_costs_no_answer(outbox, handler, settings, monkeypatch, error):
    settings.RECONNECT_CHANNELS = {"CLAIM_SECONDS": 0.03}
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()
    extend = claims._extend

    def failing(rows, lease, **fields):
        if fields:
            return extend(rows, 10, **fields)
        loop.call_soon_threadsafe(failed.set)
        raise error

    monkeypatch.setattr(claims, "_extend", failing)
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    async with asyncio.timeout(10):
        await failed.wait()
        failed.clear()
        await failed.wait()  # and it goes on trying
    handler.go()
    outcome = await running
    assert (outcome.code, outcome.seq) == (0, 1)
    assert await send(outbox, message, handler) == outcome._replace(duplicate=True)


async def test_a_cancelled_handler_leaves_its_claim_and_the_retry_yields_the_same_entries(
    outbox, handler, hasty
):
    message = outbox.message(1)
    running = start(outbox, message, handler.pause())
    await handler.entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    before = await in_thread(StreamEntry.objects.get)()
    handler.go()
    assert await send(outbox, message, handler) == base.IN_PROGRESS
    await run_out()
    outcome = await send(outbox, message, handler)
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)
    assert handler.runs == 2
    assert await in_thread(StreamEntry.objects.get)() == before


async def test_a_rerun_adds_only_what_the_first_run_had_not_published(outbox):
    message = outbox.message()
    crash = True

    async def many(message):
        await apublish(STREAM, 1)
        await apublish("other", 2)
        if crash:
            raise asyncio.CancelledError
        await apublish(STREAM, 3)

    with pytest.raises(asyncio.CancelledError):
        await send(outbox, message, many)
    crash = False
    await run_out()
    outcome = await send(outbox, message, many)
    assert (outcome.code, outcome.seq) == (0, 2)
    assert await published() == ["1", "3"]
    assert await published("other") == ["2"]


async def test_the_answer_of_a_claim_that_was_taken_over_is_not_stored(outbox):
    message = outbox.message(1)
    slow, fast = Handler(), Handler()
    slow.result, fast.result = "slow", "fast"
    running = start(outbox, message, slow.pause())
    await slow.entered.wait()
    await run_out()
    second = await send(outbox, message, fast)
    assert second.result == '"fast"'
    slow.go()
    assert await running == second._replace(duplicate=True)
    assert await send(outbox, message, fast) == second._replace(duplicate=True)
    assert (slow.runs, fast.runs) == (1, 1)
    assert await published() == ["1"]


async def test_the_one_who_took_over_answers_even_if_the_first_ends_before(outbox, hasty):
    message = outbox.message(1)
    slow, other = Handler(), Handler()
    slow.result, other.result = "slow", "other"
    running = start(outbox, message, slow.pause())
    await slow.entered.wait()
    await run_out()
    taking_over = start(outbox, message, other.pause())
    await other.entered.wait()
    slow.go()
    assert await running == base.IN_PROGRESS
    assert (await row()).status == "claimed"
    other.go()
    outcome = await taking_over
    assert outcome.result == '"other"'
    assert await send(outbox, message, other) == outcome._replace(duplicate=True)
    assert await published() == ["1"]


async def test_a_late_failure_of_the_first_does_not_release_the_claim_of_the_second(outbox, hasty):
    message = outbox.message(1)
    slow, other = Handler(), Handler()
    slow.error = RuntimeError("late")
    running = start(outbox, message, slow.pause())
    await slow.entered.wait()
    await run_out()
    taking_over = start(outbox, message, other.pause())
    await other.entered.wait()
    slow.go()
    assert await running == base.FAILED
    assert await send(outbox, message, other) == base.IN_PROGRESS
    other.go()
    assert (await taking_over).code == 0


FAILURES = {
    "an exception": RuntimeError("defect"),
    "a detail that can't be encoded": Reject("no", detail=object()),
    "a reason with NUL": Reject("a\0b"),
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_releases_the_key(outbox, handler, error):
    message = outbox.message(1)
    handler.error = error
    assert await send(outbox, message, handler) == base.FAILED
    assert await rows() == 0
    assert await send(outbox, outbox.message(2), handler) == base.ORDER
    handler.error = None
    outcome = await send(outbox, message, handler)
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)
    assert await published() == ["1"]


async def test_a_result_that_cannot_be_encoded_is_a_failure(outbox, handler):
    message = outbox.message(1)
    handler.result = object()
    assert await send(outbox, message, handler) == base.FAILED
    assert await rows() == 0


@pytest.mark.parametrize(("error", "code"), [(Reject("no", 410), 410), (PermissionDenied(), 403)], ids=str)
async def test_a_refusal_is_stored_and_replayed(outbox, handler, error, code):
    message = outbox.message(1)
    handler.error = error
    outcome = await send(outbox, message, handler)
    assert outcome.code == code
    handler.error = None
    assert await send(outbox, message, handler) == outcome._replace(duplicate=True)
    assert handler.runs == 1
    assert (await send(outbox, outbox.message(2), handler)).code == 0


async def test_two_producers_of_one_identity_do_not_wait_for_each_other(outbox):
    handler, other = Handler(), Outbox()
    running = start(outbox, outbox.message(1), handler.pause())
    await handler.entered.wait()
    assert (await send(other, other.message(2), Handler())).seq == 2
    handler.go()
    assert (await running).seq == 1


async def test_a_database_that_is_gone_at_the_end_leaves_the_claim(outbox, handler, monkeypatch):
    message = outbox.message(1)

    def gone(*args):
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(database, "settle", gone)
        assert await send(outbox, message, handler) == base.UNAVAILABLE
    assert (await row()).status == "claimed"
    await run_out()
    outcome = await send(outbox, message, handler)
    assert (outcome.code, outcome.seq, handler.runs) == (0, 1, 2)
    assert await published() == ["1"]

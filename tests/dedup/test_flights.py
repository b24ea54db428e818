"""The same message on many sockets of one process: one of them runs it, all are told (design 8.7)."""

import asyncio

import pytest

from reconnect_channels.dedup import base, once
from reconnect_channels.dedup.base import Outcome

from .conftest import Outbox

ACK = Outcome(result='{"card":1}', epoch="e", seq=7)


class Work:
    """Stands for what comes behind: ends when and as the test says."""

    def __init__(self):
        self.begun = []
        self.ends = []

    async def __call__(self, handler, message, identity):
        self.begun.append(message)
        end = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        return await end


@pytest.fixture
def work(monkeypatch):
    work = Work()
    monkeypatch.setattr(once, "_process", work)
    return work


async def sent(message, identity="user:1"):
    """A transmission that has begun to wait, or to run."""
    task = asyncio.create_task(once.once(None, message, identity))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert once._flights == {}


async def test_copies_are_answered_with_the_first_ones_ack(work):
    message = Outbox().message({"a": 1, "b": 2})
    first = await sent(message)
    copies = [await sent(message) for _ in range(5)]
    assert len(work.begun) == 1
    work.ends[0].set_result(ACK)
    assert await first == ACK
    assert await asyncio.gather(*copies) == [ACK._replace(duplicate=True)] * 5
    assert len(work.begun) == 1


REFUSED = Outcome(422, "no")


@pytest.mark.parametrize(
    ("outcome", "duplicate"),
    [
        (REFUSED, True),
        (base.EXPIRED, False),
        (base.KEY_REUSED, False),
        (base.FAILED, False),
        (base.ORDER, False),
    ],
    ids=str,
)
async def test_copies_share_every_outcome_and_only_a_handlers_is_called_a_duplicate(work, outcome, duplicate):
    message = Outbox().message(1)
    first, copy = await sent(message), await sent(message)
    work.ends[0].set_result(outcome)
    assert await first == outcome
    assert await copy == outcome._replace(duplicate=duplicate)


async def test_a_copy_waits_no_longer_than_its_patience(work, monkeypatch):
    monkeypatch.setattr(base, "PATIENCE", 0.05)
    message = Outbox().message(1)
    first = await sent(message)
    assert await once.once(None, message, "user:1") == base.IN_PROGRESS
    work.ends[0].set_result(ACK)
    assert await first == ACK


async def test_the_same_key_with_another_payload_is_judged_by_itself(work):
    outbox = Outbox()
    message = outbox.message({"a": 1, "b": 2})
    first = await sent(message)
    same = await sent(outbox.message({"b": 2, "a": 1}, id=message.id, n=1))
    other = await sent(outbox.message({"a": 1}, id=message.id, n=1))
    work.ends[0].set_result(ACK)
    assert await same == ACK._replace(duplicate=True)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(work.begun) == 2
    work.ends[1].set_result(base.KEY_REUSED)
    assert await other == base.KEY_REUSED
    assert await first == ACK


async def test_where_the_first_is_cancelled_one_of_the_copies_runs_it(work):
    message = Outbox().message(1)
    first = await sent(message)
    copies = [await sent(message) for _ in range(3)]
    first.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(work.begun) == 2
    work.ends[1].set_result(ACK)
    outcomes = await asyncio.gather(*copies)
    assert sorted(outcome.duplicate for outcome in outcomes) == [False, True, True]


async def test_other_keys_identities_and_streams_are_not_waited_for(work):
    message = Outbox().message(1)
    elsewhere = Outbox("board:2").message(1, id=message.id)
    tasks = [
        await sent(message),
        await sent(message, "user:2"),
        await sent(elsewhere),
        await sent(Outbox().message(1)),
    ]
    assert len(work.begun) == 4
    for end in work.ends:
        end.set_result(ACK)
    assert await asyncio.gather(*tasks) == [ACK] * 4

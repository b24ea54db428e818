"""A producer's messages take effect in the order they were sent (design 8.5; P5)."""

import random
import threading

import pytest

from reconnect_channels import Reject
from reconnect_channels.dedup import base
from reconnect_channels.models import ProcessedMessage, Producer
from tests.log.threads import at_once

from .conftest import Outbox, published

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def failing(message):
    raise RuntimeError("not yet")


def refusing(message):
    raise Reject("no")


def test_a_message_whose_predecessor_is_missing_is_asked_for_again(outbox):
    first, second, third = (outbox.message(n) for n in (1, 2, 3))
    assert outbox.send(third) == outbox.send(second) == base.ORDER
    assert (base.ORDER.code, base.ORDER.retry_after_ms > 0) == (409, True)
    assert outbox.handled == []
    assert not ProcessedMessage.objects.exists()
    for message in (first, second, third):
        assert outbox.send(message).code == 0
    assert published() == ["1", "2", "3"]


def test_an_unknown_message_with_a_number_that_is_done_is_expired(outbox):
    old = outbox.message(1)
    outbox.send(old)
    outbox.send(outbox.message(2))
    assert outbox.send(outbox.message("another", n=1)) == base.EXPIRED
    assert outbox.send(outbox.message("another", n=2)) == base.EXPIRED
    ProcessedMessage.objects.all().delete()  # as after 24 h
    assert outbox.send(old) == base.EXPIRED
    assert (base.EXPIRED.code, base.EXPIRED.retry_after_ms) == (410, 0)
    assert published() == ["1", "2"]


def test_numbers_of_other_producers_streams_and_identities_are_their_own(outbox):
    outbox.send(outbox.message(1))
    assert Outbox().send(Outbox().message(1)).code == 0
    other = Outbox("board:2")
    other.producer = outbox.producer
    assert other.send(other.message(1)).code == 0
    assert outbox.send(outbox.message(1, n=1), identity="user:2").code == 0


def test_what_is_settled_is_not_waited_for(outbox):
    """The client gave up 2 and 3, or got their final answers from a server that was lost."""
    outbox.send(outbox.message(1))
    outbox.last = 3
    fourth = outbox.message(4)
    assert outbox.send(fourth) == base.ORDER
    outbox.settled = 3
    assert outbox.send(outbox.message(4, n=4, id=fourth.id)).code == 0
    assert published() == ["1", "4"]


def test_a_settled_number_is_done_for_good(outbox):
    given_up = outbox.message(1)
    outbox.settled = 1
    outbox.send(outbox.message(2))
    assert outbox.send(given_up) == base.EXPIRED
    assert published() == ["2"]


def test_settled_numbers_do_not_come_back(outbox):
    outbox.settled = 3
    outbox.send(outbox.message(4, n=4))
    outbox.settled = 1
    assert outbox.send(outbox.message(5, n=5)).code == 0
    assert outbox.send(outbox.message(3, n=3)) == base.EXPIRED


def test_a_message_that_calls_itself_settled_is_expired(outbox):
    assert outbox.send(outbox.message(1, settled=1)) == base.EXPIRED
    assert published() == []


def test_a_lost_producer_is_learnt_again_from_its_messages(outbox):
    messages = [outbox.message(n) for n in range(1, 5)]
    for message in messages:
        outbox.send(message)
    Producer.objects.all().delete()
    outbox.settled = 2  # 3 and 4 were acked, but the acks got lost
    resent = [outbox.message(n, n=n, id=messages[n - 1].id) for n in (3, 4)]
    fifth = outbox.message(5)
    assert [outbox.send(message).duplicate for message in resent] == [True, True]
    assert outbox.send(fifth) == base.ORDER  # until the client says that it has those acks
    outbox.settled = 4
    assert outbox.send(outbox.message(5, n=5, id=fifth.id)).code == 0
    assert published() == ["1", "2", "3", "4", "5"]


def test_nobody_overtakes_a_message_that_failed(outbox):
    first, second = outbox.message(1), outbox.message(2)
    assert outbox.send(first, failing) == base.FAILED
    assert outbox.send(second) == base.ORDER
    assert outbox.send(first).code == 0
    assert outbox.send(second).code == 0
    assert published() == ["1", "2"]


def test_a_refused_message_is_done(outbox):
    assert outbox.send(outbox.message(1), refusing).code == 422
    assert outbox.send(outbox.message(2)).code == 0
    assert published() == ["2"]


@pytest.mark.django_db(transaction=True)
def test_messages_that_arrive_in_any_order_at_once_are_published_in_the_order_of_their_numbers(outbox):
    messages = [outbox.message(n) for n in range(1, 13)]
    random.Random(7).shuffle(messages)
    give_up = threading.Event()

    def insist(message):
        try:
            for _ in range(2_000):
                outcome = outbox.send(message)
                if outcome.retry_after_ms == 0:
                    return outcome
                give_up.wait(0.01)
        except BaseException:
            give_up.set()
            raise
        raise AssertionError(f"{message.n} never got in")

    def lane(own):
        return [insist(message) for message in own]

    # Within a lane in order, as on one socket; the lanes are in any order.
    lanes = [sorted(messages[i::3], key=lambda message: message.n) for i in range(3)]
    outcomes = [
        outcome for part in at_once(*(lambda own=own: lane(own) for own in lanes)) for outcome in part
    ]
    assert {outcome.code for outcome in outcomes} == {0}
    assert published() == [str(n) for n in range(1, 13)]

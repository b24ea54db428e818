"""A message takes effect once per key, and its retries get the first ack (design 8.1 to 8.3)."""

import uuid
from types import SimpleNamespace

import msgspec
import pytest

from reconnect_channels import publish, publish_many
from reconnect_channels.dedup import base
from reconnect_channels.log import log_for
from reconnect_channels.models import ProcessedMessage, StreamEntry

from .conftest import STREAM, Outbox, published

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_an_ack_says_where_the_entry_is_and_what_the_handler_returned(outbox):
    outcome = outbox.send(outbox.message({"move": 7}))
    head = log_for(STREAM).heads([STREAM])[STREAM]
    assert outcome == base.Outcome(result='{"seq":1}', epoch=head.epoch, seq=1)
    assert published() == ['{"move":7}']


def test_a_retry_gets_the_first_ack_and_does_not_run_the_handler(outbox):
    message = outbox.message(1)
    first = outbox.send(message)
    publish(STREAM, "later")
    for _ in range(3):
        assert outbox.send(message) == first._replace(duplicate=True)
    assert outbox.handled == [1]
    assert published() == ["1", '"later"']


def test_a_retry_gets_the_first_ack_after_the_stream_has_begun_another_epoch(outbox):
    message = outbox.message(1)
    first = outbox.send(message)
    log_for(STREAM).new_epoch(STREAM, first.epoch)
    assert outbox.send(message) == first._replace(duplicate=True)


def test_the_same_key_with_another_payload_is_refused(outbox):
    message = outbox.message({"move": 7})
    first = outbox.send(message)
    other = msgspec.structs.replace(message, payload={"move": 8})
    assert outbox.send(other) == base.KEY_REUSED
    assert (base.KEY_REUSED.code, base.KEY_REUSED.retry_after_ms) == (409, 0)
    assert outbox.send(message) == first._replace(duplicate=True)
    assert published() == ['{"move":7}']


def test_the_order_of_keys_in_a_payload_does_not_matter(outbox):
    message = outbox.message({"a": 1, "b": {"c": 2, "d": 3}})
    outbox.send(message)
    turned = msgspec.structs.replace(message, payload={"b": {"d": 3, "c": 2}, "a": 1})
    assert outbox.send(turned).duplicate


@pytest.mark.parametrize("payload", [{"a": [2, 1]}, {"a": [1, 2], "b": None}, {"a": "1"}, [], None])
def test_any_other_difference_of_payloads_matters(outbox, payload):
    message = outbox.message({"a": [1, 2]})
    outbox.send(message)
    assert outbox.send(msgspec.structs.replace(message, payload=payload)) == base.KEY_REUSED


def test_keys_of_other_identities_and_streams_are_other_keys(outbox):
    message = outbox.message(1)
    outbox.send(message, lambda message: "mine")
    assert outbox.send(message, lambda message: "theirs", identity="user:2").result == '"theirs"'
    elsewhere = msgspec.structs.replace(message, stream="board:2")
    assert outbox.send(elsewhere, lambda message: "elsewhere").result == '"elsewhere"'
    assert outbox.send(message).result == '"mine"'


def test_a_key_is_known_whichever_producer_of_the_identity_brings_it(outbox):
    """Another tab takes over an outbox."""
    message = outbox.message(1)
    first = outbox.send(message)
    other = Outbox()
    assert other.send(other.message(1, id=message.id)) == first._replace(duplicate=True)
    assert outbox.handled + other.handled == [1]


def test_an_ack_names_the_last_entry_on_the_message_s_stream(outbox):
    def many(message):
        publish(STREAM, 1)
        publish_many([("other", 2), (STREAM, 3), ("other", 4)])

    outcome = outbox.send(outbox.message(), many)
    assert (outcome.seq, outcome.result) == (2, "null")


@pytest.mark.parametrize("streams", [[], ["other"]])
def test_an_ack_without_an_entry_on_the_message_s_stream_names_none(outbox, streams):
    def handler(message):
        publish_many([(stream, 1) for stream in streams])

    message = outbox.message()
    outcome = outbox.send(message, handler)
    assert (outcome.code, outcome.epoch, outcome.seq) == (0, None, None)
    assert outbox.send(message, handler) == outcome._replace(duplicate=True)


def test_entries_carry_the_message_s_id_as_key_and_ids_made_of_it(outbox):
    message = outbox.message()
    outbox.send(message, lambda m: publish_many([(STREAM, 1), ("other", 2), (STREAM, 3)]) and None)
    names = [str(uuid.uuid5(uuid.UUID(message.id), f"{outbox.identity} {i}")) for i in (1, 2, 3)]
    assert [StreamEntry.objects.get(text=str(i)).uid for i in (1, 2, 3)] == names
    assert set(StreamEntry.objects.values_list("key", flat=True)) == {message.id}


def test_another_user_s_message_with_the_same_id_on_the_same_stream_is_another_message(outbox):
    message = outbox.message()
    first = outbox.send(message)
    second = outbox.send(message, identity="user:2")
    assert (first.code, second.code, second.duplicate) == (0, 0, False)
    assert StreamEntry.objects.values("uid").distinct().count() == 2


def test_an_entry_is_later_than_what_its_author_had_seen(outbox):
    outbox.send(outbox.message(1, clock=50_000))
    assert StreamEntry.objects.get().clock > 50_000


def test_one_row_keeps_the_answer(outbox):
    message = outbox.message(1)
    outcome = outbox.send(message)
    outbox.send(message)
    row = ProcessedMessage.objects.get()
    assert (row.identity, row.stream, row.key, row.status) == ("user:1", STREAM, message.id, "acked")
    assert (row.epoch, row.seq, row.result, row.lease_until) == (outcome.epoch, 1, '{"seq":1}', None)


def test_outcomes_are_frames():
    ack = base.Outcome(result='{"a":1}', epoch="e", seq=3, duplicate=True)
    assert msgspec.json.decode(ack.frame("m")) == {
        "type": "ACK",
        "id": "m",
        "epoch": "e",
        "seq": 3,
        "result": {"a": 1},
        "duplicate": True,
    }
    final = base.Outcome(422, "no", '{"why":["x"]}')
    assert msgspec.json.decode(final.frame("m")) == {
        "type": "REJECT",
        "id": "m",
        "code": 422,
        "reason": "no",
        "detail": {"why": ["x"]},
        "retry": False,
    }
    retry = msgspec.json.decode(base.IN_PROGRESS.frame("m"))
    assert (retry["code"], retry["reason"], retry["retry"], retry["retry_after_ms"]) == (
        409,
        "IN_PROGRESS",
        True,
        500,
    )


def test_the_default_handler_publishes_the_payload(outbox):
    from reconnect_channels.consumers import DedupMixin

    outcome = outbox.send(
        outbox.message({"x": 1}), lambda m: DedupMixin.receive_message(SimpleNamespace(), m)
    )
    assert (outcome.seq, outcome.result, published()) == (1, "null", ['{"x":1}'])

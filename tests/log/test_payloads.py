"""What may be published, and what is refused before a seq is taken (design 13)."""

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.db import models
from django.utils.translation import gettext_lazy

from reconnect_channels import publish, publish_many
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.codec import MAX_DEPTH, MAX_INT, MAX_MESSAGE, MAX_NODES, CodecError

pytestmark = [pytest.mark.django_db, pytest.mark.database]


class Color(models.TextChoices):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "NaN": float("nan"),
    "infinity": [1, {"x": float("-inf")}],
    "lone surrogate": {"text": "\ud800"},
    "lone surrogate in a key": {"\udfff": 1},
    "NUL": ["a\0b"],
    "NUL in a key": {"\0": 1},
    "prototype": {"a": [{"__proto__": {}}]},
    "too deep": nested(MAX_DEPTH + 1),
    "far too deep": nested(100_000),
    "too many values": [0] * MAX_NODES,
    "2^53 + 1": {"id": MAX_INT + 1},
    "-2^53 - 1": -MAX_INT - 1,
    "beyond 64 bits": 10**30,
    "an object": object(),
    "a class": Stream,
    "a model": Stream(name="s"),
    "a generator": (n for n in range(3)),
    "keys that are objects": {(1, 2): 3},
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_travel_is_refused_before_a_seq_is_taken(payload):
    with pytest.raises(CodecError) as error:
        publish("s", payload)
    assert isinstance(error.value, ValueError)
    assert error.value.reason == "JSON"
    assert str(error.value)
    assert not Stream.objects.exists()


def test_a_payload_of_64_kib_goes_and_one_byte_more_is_refused():
    quotes = 2
    publish("s", "x" * (MAX_MESSAGE - quotes))
    with pytest.raises(CodecError, match="65536") as error:
        publish("s", "x" * (MAX_MESSAGE - quotes + 1))
    assert error.value.reason == "SIZE"
    with pytest.raises(CodecError):
        publish("s", "é" * (MAX_MESSAGE // 2))  # bytes count, not characters
    assert Stream.objects.get().head == 1


def test_one_bad_item_refuses_all():
    with pytest.raises(CodecError):
        publish_many([("a", 1), ("b", float("nan"))])
    with pytest.raises(ValueError, match="stream name"):
        publish_many([("a", 1), ("b b", 1)])
    assert not Stream.objects.exists()


NAMES = ["", "a b", "a/b", "a\n", "é", "x" * 101, "{a}", "a\0", "a*"]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:10]) for name in NAMES])
def test_a_bad_stream_name_is_refused(name):
    with pytest.raises(ValueError, match="not a stream name"):
        publish(name, 1)
    assert not Stream.objects.exists()


@pytest.mark.parametrize("name", [None, 5, b"s", ["s"]], ids=repr)
def test_what_is_no_string_is_no_stream_name(name):
    with pytest.raises((TypeError, ValueError)):
        publish(name, 1)
    assert not Stream.objects.exists()


def test_every_character_of_a_name_is_kept():
    name = "AZaz09._:-" * 10
    assert publish(name, 1).stream == name
    assert Stream.objects.get().name == name


ENCODED = {
    "datetime": (datetime(2026, 11, 24, 12, 30, tzinfo=UTC), '"2026-11-24T12:30:00Z"'),
    "date": (date(2026, 11, 24), '"2026-11-24"'),
    "time": (time(12, 30), '"12:30:00"'),
    "timedelta": (timedelta(minutes=90), '"PT5400S"'),
    "uuid": (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    "decimal": (Decimal("12.50"), '"12.50"'),
    "lazy string": (gettext_lazy("Yes"), '"Yes"'),
    "lazy string in a list": ({"label": [gettext_lazy("Yes")]}, '{"label":["Yes"]}'),
    "choice": (Color.RED, '"red"'),
    "tuple": ((1, 2), "[1,2]"),
    "set": ({1}, "[1]"),
    "ordered dict": (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    "dataclass": (Point(1, 2), '{"x":1,"y":2}'),
    "number as a key": ({1: "a"}, '{"1":"a"}'),
    "bytes": (b"abc", '"YWJj"'),
    "none": (None, "null"),
    "unicode": ("é😀\u2028", '"é😀\u2028"'),
    "escapes": ('"\\\n\x1f', '"\\"\\\\\\n\\u001f"'),
    "largest integers": ([MAX_INT, -MAX_INT], f"[{MAX_INT},{-MAX_INT}]"),
    "float": (1.5, "1.5"),
    "deepest": (nested(MAX_DEPTH), "[" * MAX_DEPTH + "0" + "]" * MAX_DEPTH),
    "percent": ("100% %s %(x)s", '"100% %s %(x)s"'),
}


@pytest.mark.parametrize(("payload", "text"), ENCODED.values(), ids=ENCODED.keys())
def test_a_payload_is_stored_as_the_very_text_that_was_encoded(payload, text):
    entry = publish("s", payload)
    assert entry.text == text
    stored = StreamEntry.objects.get()
    assert stored.text == text
    assert (stored.seq, stored.uid, stored.checksum, stored.clock, stored.key) == (
        entry.seq,
        entry.id,
        entry.checksum,
        entry.clock,
        None,
    )

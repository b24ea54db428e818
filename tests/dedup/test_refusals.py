"""What a handler raises: final refusals are stored, failures leave nothing (design 8.4)."""

import json

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils.translation import gettext_lazy

from reconnect_channels import Reject, publish
from reconnect_channels.dedup import base
from reconnect_channels.models import ProcessedMessage, Producer, Stream, StreamEntry
from tests.log.threads import Aside

from .conftest import STREAM, published

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def raising(error, runs=None):
    def handler(message):
        if runs is not None:
            runs.append(message)
        publish(message.stream, "undone")
        raise error

    return handler


REFUSALS = {
    "reject": (Reject("full"), (422, "full", None)),
    "reject with a code and detail": (Reject("gone", 410, {"card": [1]}), (410, "gone", {"card": [1]})),
    "reject with a lazy text": (Reject(gettext_lazy("Yes")), (422, "Yes", None)),
    "reject with a long text": (Reject("x" * 600), (422, "x" * 500, None)),
    "validation": (ValidationError("bad"), (422, "INVALID", ["bad"])),
    "validation of fields": (
        ValidationError({"title": [gettext_lazy("Yes"), "short"]}),
        (422, "INVALID", {"title": ["Yes", "short"]}),
    ),
    "validation with a parameter": (
        ValidationError("%(n)d is much", params={"n": 3}),
        (422, "INVALID", ["3 is much"]),
    ),
    "permission": (PermissionDenied("secret"), (403, "FORBIDDEN", None)),
}


@pytest.mark.parametrize(("error", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_stored_replayed_and_leaves_nothing_else(outbox, error, expected):
    runs = []
    message = outbox.message(1)
    outcome = outbox.send(message, raising(error, runs))
    assert (outcome.code, outcome.reason, json.loads(outcome.result)) == expected
    assert (outcome.retry_after_ms, outcome.epoch, outcome.seq, outcome.duplicate) == (0, None, None, False)
    assert outbox.send(message, raising(error, runs)) == outcome._replace(duplicate=True)
    assert outbox.send(message) == outcome._replace(duplicate=True)
    assert len(runs) == 1
    assert published() == []
    assert not Stream.objects.exists()
    assert ProcessedMessage.objects.get().status == "rejected"
    assert json.loads(outcome.frame(message.id))["retry"] is False


def test_a_reject_s_code_is_a_refusal_s():
    for code in (399, 500, 200):
        with pytest.raises(ValueError, match="between 400 and 499"):
            Reject("no", code)


FAILURES = {
    "an exception": raising(RuntimeError("defect")),
    "an assertion": raising(AssertionError()),
    "an integrity error": raising(IntegrityError("duplicate")),
    "a result that can't be encoded": lambda message: publish(message.stream, "undone") and object(),
    "a result with NaN": lambda message: {"x": publish(message.stream, "undone") and float("nan")},
    "a result that is too large": lambda message: "x" * 70_000,
    "a payload that can't be encoded": lambda message: publish(message.stream, object()),
    "a detail that can't be encoded": raising(Reject("no", detail=object())),
    "a detail with NUL": raising(Reject("no", detail={"text": "a\0b"})),
    "a reason with NUL": raising(Reject("a\0b")),
    "a reason with a lone surrogate": raising(Reject("\ud800")),
    "a message with a lone surrogate": raising(ValidationError("\ud800")),
}


@pytest.mark.parametrize("handler", FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_rolls_back_everything_and_can_be_retried(outbox, caplog, handler):
    message = outbox.message(1)
    assert outbox.send(message, handler) == base.FAILED
    assert (base.FAILED.code, base.FAILED.retry_after_ms > 0) == (500, True)
    for model in (Stream, StreamEntry, ProcessedMessage, Producer):
        assert not model.objects.exists()
    assert f"receive_message failed on {STREAM} (message {message.id})" in caplog.text
    outcome = outbox.send(message)
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)


def test_what_the_database_refuses_at_commit_is_the_handler_s_failure(outbox):
    """Foreign keys are deferred: such a handler would never get through, so it must count as failed."""

    def handler(message):
        StreamEntry.objects.create(stream_id=4711, seq=1, uid="x", checksum=0, clock=0, text="")

    message = outbox.message(1)
    assert outbox.send(message, handler) == base.FAILED
    assert not ProcessedMessage.objects.exists()
    assert outbox.send(message).code == 0


def test_an_integrity_error_that_the_handler_caught_is_no_failure(outbox):
    def handler(message):
        publish(message.stream, 1)
        try:
            with transaction.atomic():
                Stream.objects.create(name=message.stream, epoch="x")
        except IntegrityError:
            publish(message.stream, 2)

    assert outbox.send(outbox.message(), handler).seq == 2
    assert published() == ["1", "2"]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_lost_transaction_is_tried_three_times(outbox, failures):
    runs = []

    def handler(message):
        runs.append(publish(message.stream, 1))
        if len(runs) <= failures:
            raise OperationalError("database is locked")

    outcome = outbox.send(outbox.message(), handler)
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, False)
    assert len(runs) == failures + 1
    assert published() == ["1"]


def test_a_handler_s_own_operational_error_is_its_failure(outbox):
    runs = []
    assert (
        outbox.send(outbox.message(), raising(OperationalError("no such table: cards"), runs)) == base.FAILED
    )
    assert len(runs) == 1


def test_a_database_that_stays_away_is_unavailable(outbox, caplog):
    runs = []
    message = outbox.message(1)
    outcome = outbox.send(message, raising(OperationalError("database is locked"), runs))
    assert outcome == base.UNAVAILABLE
    assert (outcome.code, outcome.retry_after_ms > 0) == (503, True)
    assert len(runs) == 3
    assert message.id in caplog.text
    assert not ProcessedMessage.objects.exists()
    assert outbox.send(message).code == 0


def test_a_commit_whose_answer_got_lost_is_looked_up(outbox, monkeypatch):
    """Fault F18: the database committed, and the connection broke before it could say so."""
    committed = connection._commit
    lost = []

    def commit():
        committed()
        if not lost:
            lost.append(True)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "_commit", commit)
    outcome = outbox.send(outbox.message(1))
    assert lost
    assert (outcome.code, outcome.seq, outcome.duplicate) == (0, 1, True)
    assert outbox.handled == [1]
    assert published() == ["1"]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no server")
def test_a_connection_that_is_killed_inside_the_handler_is_replaced(outbox):
    """Fault F17: one effect, no poisoned pool."""
    runs = []

    def handler(message):
        entry = publish(message.stream, message.payload)
        runs.append(entry)
        if len(runs) == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return entry.seq

    def work():
        return [outbox.send(outbox.message(1), handler), outbox.send(outbox.message(2), handler)]

    outcomes = Aside(work).end()
    assert [(outcome.code, outcome.seq, outcome.duplicate) for outcome in outcomes] == [
        (0, 1, False),
        (0, 2, False),
    ]
    assert published() == ["1", "2"]

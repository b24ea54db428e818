"""Dedup in the database: a `def` handler, its effects and the key's row are one transaction (design 8.2).

The row is the truth about a message. With the setting `DEDUP`, Redis knows answers too (see `answers`):
only those of transactions that are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connections, transaction
from django.db.models.functions import Now

from ..log import log_for
from ..log.database import IDLE_TIMEOUT, WORKING, sql_now
from ..models import ProcessedMessage, Producer
from ..protocol.frames import Message
from ..publication import Authoring, authoring
from . import base
from .answers import answers
from .base import Outcome, Transmission

PRODUCER = Producer._meta.db_table
ATTEMPTS = 3  # for deadlocks and a busy SQLite
LOCK_TIMEOUT_MS = 1_000

Status = ProcessedMessage.Status


class _Failed(Exception):
    """Rolls everything back after the handler raised."""


def process(handler: Callable[[Message], Any], message: Message, identity: str) -> Outcome:
    """Runs a `def` handler once per key, in one transaction with its dedup row. Blocks."""
    alias = log_for(message.stream).using
    arrived = Transmission.of(message, identity)
    fast = answers()
    if fast is not None and (known := fast.look(arrived)) is not None:
        return known

    def attempt() -> Outcome:
        with transaction.atomic(using=alias):
            known = admit(arrived, alias)
            if isinstance(known, Outcome):
                return known
            outcome = _run(handler, message, identity, alias)
            settle(known, arrived, outcome, alias)
            return outcome

    return retrying(attempt, message)  # type: ignore[no-any-return]


def retrying(attempt: Callable[[], Any], message: Message) -> Any:
    for left in reversed(range(ATTEMPTS)):
        try:
            return attempt()
        except _Failed:
            return base.FAILED
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == "55P03":  # lock_timeout: another one works on it
                return base.IN_PROGRESS
            if not left:
                base.logger.warning("No transaction for message %s", message.id, exc_info=True)
        except IntegrityError:  # a deferred constraint, at COMMIT: the handler's failure
            return base.failure(message)
        except DatabaseError:
            base.logger.exception("The database failed on message %s", message.id)
            break
    return base.UNAVAILABLE


@contextmanager
def _short_lock_wait(alias: str) -> Iterator[None]:
    """Waits for rows that another transaction holds at most 1 s; the handler may wait as it likes.

    One whose process stands still is ended after a minute, that others get to the producer's row.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield  # SQLite has one writer: its busy timeout bounds the wait for BEGIN IMMEDIATE
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)" + IDLE_TIMEOUT,
            [str(LOCK_TIMEOUT_MS), WORKING],
        )
        (usual, _, _) = cursor.fetchone()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [usual])


def admit(arrived: Transmission, alias: str, token: str | None = None) -> Outcome | int:
    """The outcome that is known already, or the pk of the key's new row: go on (design 8.5).

    :param token: of whoever asks; his own claim, whose COMMIT went unanswered, is none of another's.
    """
    message, identity, digest = arrived
    with _short_lock_wait(alias):
        last_n = _take_producer(message, identity, alias)
        row = row_of(arrived, alias)
        if row is None:
            if message.n <= last_n:
                return base.EXPIRED
            if message.n > last_n + 1:
                return base.ORDER
            made, new = ProcessedMessage.objects.using(alias).get_or_create(
                identity=identity,
                stream=message.stream,
                key=message.id,
                defaults={"payload_hash": digest, "status": Status.CLAIMED},
            )
            if new:
                return made.pk
            row = row_of(arrived, alias)  # another producer was faster
        known = judge(row, digest, token)
        if known is None:
            ProcessedMessage.objects.using(alias).filter(pk=row.pk).update(token="")  # its worker is gone
        return known or row.pk


def row_of(arrived: Transmission, alias: str) -> Any:
    """The key's row, if there is one, with the time of the database: nodes have clocks of their own."""
    message, identity, _ = arrived
    rows = ProcessedMessage.objects.using(alias).annotate(now=Now())
    return rows.filter(identity=identity, stream=message.stream, key=message.id).first()


def judge(row: Any, digest: str, token: str | None = None) -> Outcome | None:
    """What a copy is answered by the key's row; None where its claim has run out, or is this token's."""
    if row.payload_hash != digest:
        return base.KEY_REUSED
    if row.status == Status.CLAIMED:
        held = row.token != token and row.lease_until is not None and row.lease_until > row.now
        return base.IN_PROGRESS if held else None
    return Outcome(row.code, row.reason, row.result, row.epoch or None, row.seq, duplicate=True)


def _take_producer(message: Message, identity: str, alias: str) -> int:
    """Holds the producer's row, so that its messages run one at a time; returns its last n."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {PRODUCER} AS p (identity, producer, stream, last_n, updated) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (identity, producer, stream) DO UPDATE SET "
            "last_n = CASE WHEN excluded.last_n > p.last_n THEN excluded.last_n ELSE p.last_n END, "
            "updated = excluded.updated RETURNING last_n",
            [identity, message.producer, message.stream, message.settled, sql_now(alias)],
        )
        [(last_n,)] = cursor.fetchall()
    return last_n  # type: ignore[no-any-return]


def _run(handler: Callable[[Message], Any], message: Message, identity: str, alias: str) -> Outcome:
    author = Authoring(message.id, identity, message.clock)
    token = authoring.set(author)
    try:
        try:
            with transaction.atomic(using=alias):  # a refusal undoes what the handler did before it
                return base.acked(author, message, handler(message))
        except base.FINAL as error:
            return base.refusal(error)
    except OperationalError as error:
        if _transient(error, alias):
            raise
        base.failure(message)
        raise _Failed from error
    except Exception as error:
        base.failure(message)
        raise _Failed from error
    finally:
        authoring.reset(token)


def _transient(error: OperationalError, alias: str) -> bool:
    """Whether the transaction was lost (deadlock, serialization, busy, a dead connection), and not the
    handler's own defect: then it is tried again at once."""
    sqlstate = getattr(error.__cause__, "sqlstate", None) or ""
    if sqlstate:
        return sqlstate in ("40001", "40P01") or sqlstate[:2] in ("08", "57")
    return "locked" in str(error) or not connections[alias].is_usable()


def settle(pk: int, arrived: Transmission, outcome: Outcome, alias: str, token: str = "") -> bool:
    """Stores the outcome and advances the producer; False when the claim was taken over."""
    message = arrived.message
    stored = (
        ProcessedMessage.objects.using(alias)
        .filter(pk=pk, token=token)
        .update(
            status=Status.REJECTED if outcome.code else Status.ACKED,
            lease_until=None,
            epoch=outcome.epoch or "",
            seq=outcome.seq,
            code=outcome.code,
            reason=outcome.reason,
            result=outcome.result,
        )
    )
    if not stored:
        return False
    Producer.objects.using(alias).filter(
        identity=arrived.identity, producer=message.producer, stream=message.stream, last_n__lt=message.n
    ).update(last_n=message.n)
    fast = answers()
    if fast is not None:
        transaction.on_commit(lambda: fast.keep(arrived, outcome), using=alias, robust=True)
    return True

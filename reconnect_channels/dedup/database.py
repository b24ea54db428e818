"""Dedup in the database: the key's row and the handler's effects are one transaction (design 8.2).

`def` handlers run inside that transaction. `async def` handlers run under a claim: a row with a
token and a lease that is renewed while the handler lives, so that a crash hands the key on and never
answers "duplicate" for something that didn't happen.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connections, transaction
from django.utils import timezone

from .. import workers
from ..conf import settings
from ..log import log_for
from ..log.database import sql_now
from ..models import ProcessedMessage, Producer
from ..protocol.codec import encode_payload
from ..protocol.frames import Message
from ..publication import Authoring, authoring
from . import base
from .base import Outcome

PRODUCER = Producer._meta.db_table
ATTEMPTS = 3  # for deadlocks and a busy SQLite
LOCK_TIMEOUT_MS = 1_000
RENEW_SHARE = 0.3  # of the lease

Status = ProcessedMessage.Status


class _Failed(Exception):
    """Rolls everything back after the handler raised."""


def process(handler: Callable[[Message], Any], message: Message, identity: str) -> Outcome:
    """Runs a `def` handler once per key, in one transaction with its dedup row. Blocks."""
    alias = log_for(message.stream).using

    def attempt() -> Outcome:
        with transaction.atomic(using=alias):
            known = _admit(message, identity, alias)
            if isinstance(known, Outcome):
                return known
            outcome = _run(handler, message, identity, alias)
            _settle(known, message, identity, outcome, alias)
            return outcome

    return _retrying(attempt, message)  # type: ignore[no-any-return]


def _retrying(attempt: Callable[[], Any], message: Message) -> Any:
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
    """Waits for rows that another transaction holds at most 1 s; the handler may wait as it likes."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield  # SQLite has one writer: its busy timeout bounds the wait for BEGIN IMMEDIATE
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)",
            [str(LOCK_TIMEOUT_MS)],
        )
        (usual, _) = cursor.fetchone()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [usual])


def _admit(message: Message, identity: str, alias: str) -> Outcome | int:
    """The outcome that is known already, or the pk of the key's new row: go on (design 8.5)."""
    with _short_lock_wait(alias):
        last_n = _take_producer(message, identity, alias)
        rows = ProcessedMessage.objects.using(alias)
        scope = {"identity": identity, "stream": message.stream, "key": message.id}
        digest = base.payload_hash(message.payload)
        row = rows.filter(**scope).first()
        if row is None:
            if message.n <= last_n:
                return base.EXPIRED
            if message.n > last_n + 1:
                return base.ORDER
            row, new = rows.get_or_create(
                **scope,
                defaults={"payload_hash": digest, "status": Status.CLAIMED, "lease_until": timezone.now()},
            )
            if new:
                return row.pk
        if row.payload_hash != digest:
            return base.KEY_REUSED
        if row.status == Status.CLAIMED:
            if row.lease_until is not None and row.lease_until > timezone.now():
                return base.IN_PROGRESS
            rows.filter(pk=row.pk).update(token="")  # its worker is gone; what it published is found by id
            return row.pk
        return _replay(row)


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


def _replay(row: ProcessedMessage) -> Outcome:
    return Outcome(row.code, row.reason, row.result, row.epoch or None, row.seq, duplicate=True)


def _run(handler: Callable[[Message], Any], message: Message, identity: str, alias: str) -> Outcome:
    author = Authoring(message.id, identity, message.clock)
    token = authoring.set(author)
    try:
        try:
            with transaction.atomic(using=alias):  # a refusal undoes what the handler did before it
                return _acked(author, message, encode_payload(handler(message)))
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


def _acked(author: Authoring, message: Message, result: str) -> Outcome:
    last = author.last.get(message.stream)
    return Outcome(result=result, epoch=last and last.epoch, seq=last and last.seq)


def _settle(pk: int, message: Message, identity: str, outcome: Outcome, alias: str, token: str = "") -> bool:
    """Stores the outcome and advances the producer; False when the claim was taken over."""
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
    if stored:
        Producer.objects.using(alias).filter(
            identity=identity, producer=message.producer, stream=message.stream, last_n__lt=message.n
        ).update(last_n=message.n)
    return bool(stored)


async def aprocess(handler: Callable[[Message], Awaitable[Any]], message: Message, identity: str) -> Outcome:
    """Runs an `async def` handler under a claim; its entries come once, other effects at least once."""
    alias = log_for(message.stream).using
    token = secrets.token_hex(16)
    lease = settings().CLAIM_SECONDS
    claimed = await workers.write(alias, _claim, message, identity, alias, token, lease)
    if isinstance(claimed, Outcome):
        return claimed
    renewal = asyncio.create_task(_renew(claimed, alias, token, lease))
    try:
        outcome = await _arun(handler, message, identity)
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
    if outcome == base.FAILED:
        await workers.write(alias, _release, claimed, alias, token)
        return outcome
    return await workers.write(alias, _finish, claimed, message, identity, outcome, alias, token)  # type: ignore[no-any-return]


def _claim(message: Message, identity: str, alias: str, token: str, lease: float) -> Outcome | int:
    def attempt() -> Outcome | int:
        with transaction.atomic(using=alias):
            admitted = _admit(message, identity, alias)
            if not isinstance(admitted, Outcome):
                _extend(ProcessedMessage.objects.using(alias).filter(pk=admitted), lease, token=token)
            return admitted

    return _retrying(attempt, message)  # type: ignore[no-any-return]


def _extend(rows: Any, lease: float, **fields: Any) -> None:
    rows.update(lease_until=timezone.now() + timedelta(seconds=lease), **fields)


async def _renew(pk: int, alias: str, token: str, lease: float) -> None:
    while True:
        await asyncio.sleep(lease * RENEW_SHARE)
        try:
            await workers.write(
                alias, _extend, ProcessedMessage.objects.using(alias).filter(pk=pk, token=token), lease
            )
        except Exception:  # whatever it is, it must not cost the handler its answer
            base.logger.warning("A claim couldn't be renewed", exc_info=True)


async def _arun(handler: Callable[[Message], Awaitable[Any]], message: Message, identity: str) -> Outcome:
    author = Authoring(message.id, identity, message.clock, repeatable=True)
    token = authoring.set(author)
    try:
        try:
            return _acked(author, message, encode_payload(await handler(message)))
        except base.FINAL as error:
            return base.refusal(error)
    except Exception:
        return base.failure(message)
    finally:
        authoring.reset(token)


def _finish(pk: int, message: Message, identity: str, outcome: Outcome, alias: str, token: str) -> Outcome:
    def attempt() -> Outcome:
        with transaction.atomic(using=alias):
            if _settle(pk, message, identity, outcome, alias, token):
                return outcome
        return base.IN_PROGRESS  # another worker took the claim over: its answer counts

    return _retrying(attempt, message)  # type: ignore[no-any-return]


def _release(pk: int, alias: str, token: str) -> None:
    ProcessedMessage.objects.using(alias).filter(pk=pk, token=token, status=Status.CLAIMED).delete()

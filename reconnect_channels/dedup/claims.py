"""Dedup in the database for `async def` handlers, which hold no transaction: they run under a claim.

A claim is the key's row with a token and a lease that is renewed while the handler lives, so that a crash
hands the key on and never answers "duplicate" for something that didn't happen (design 8.2). With the setting
`DEDUP` the same claim stands in Redis, where copies of the message find it without a transaction. The row
is claimed all the same: a Redis that forgets or can't be reached makes no second run.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from .. import workers
from ..conf import settings
from ..log import log_for
from ..models import ProcessedMessage
from ..protocol.frames import Message
from . import base, database
from .answers import answers
from .base import Outcome, Transmission

Status = ProcessedMessage.Status


async def aprocess(handler: Callable[[Message], Awaitable[Any]], message: Message, identity: str) -> Outcome:
    """Runs an `async def` handler under a claim; its entries come once, other effects at least once."""
    claim = Claim(message, identity)
    return await base.patiently(partial(_attempt, handler, claim))


async def _attempt(handler: Callable[[Message], Awaitable[Any]], claim: Claim) -> Outcome:
    known = await workers.write(claim.alias, claim.take)
    if known is not None:
        return known  # type: ignore[no-any-return]
    renewal = asyncio.create_task(base.renew(partial(workers.read, claim.renew), claim.lease))
    try:
        outcome = await base.arun(handler, claim.arrived.message, claim.arrived.identity)
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
    if outcome in (base.FAILED, base.UNAVAILABLE):
        await workers.write(claim.alias, claim.release)
        return outcome
    return await workers.write(claim.alias, claim.finish, outcome)  # type: ignore[no-any-return]


class Claim:
    """One worker's claim to a message, in the key's row and, with `DEDUP`, in Redis. All methods block."""

    def __init__(self, message: Message, identity: str) -> None:
        self.arrived = Transmission.of(message, identity)
        self.alias = log_for(message.stream).using
        self.lease = settings().CLAIM_SECONDS
        self._token = secrets.token_hex(16)
        self._pk = 0
        self._waits = False
        self._fast = answers()

    def take(self) -> Outcome | None:
        """What is known of the message already; None = it is ours to run.

        Redis says at most who has it or what came of it. Whatever it doesn't know, the row does.
        """
        known: Outcome | None = None
        if self._fast is not None:
            known = self._fast.claim(self.arrived, self._token, self.lease)
            if known is not None:
                return known
        known = database.retrying(self._ask_row, self.arrived.message)
        self._waits = known == base.IN_PROGRESS
        if known is not None and self._fast is not None:
            self._fast.release(self.arrived, self._token)
        return known

    def _ask_row(self) -> Outcome | None:
        known = self._look() if self._waits else None
        return known or self._take_row()

    def _look(self) -> Outcome | None:
        """Reads, without the transaction of a claim, whether the one who has it is still at it."""
        row = database.row_of(self.arrived, self.alias)
        return database.judge(row, self.arrived.payload_hash, self._token) if row else None

    def _take_row(self) -> Outcome | None:
        with transaction.atomic(using=self.alias):
            admitted = database.admit(self.arrived, self.alias, self._token)
            if isinstance(admitted, Outcome):
                return admitted
            self._pk = admitted
            rows = ProcessedMessage.objects.using(self.alias).filter(pk=admitted)
            _extend(rows, self.lease, token=self._token)
            return None

    def _mine(self) -> Any:
        return ProcessedMessage.objects.using(self.alias).filter(
            pk=self._pk, token=self._token, status=Status.CLAIMED
        )

    def renew(self) -> None:
        """Extends the lease, if it is still ours."""
        if self._fast is not None:
            self._fast.renew(self.arrived, self._token, self.lease)
        _extend(self._mine(), self.lease)

    def finish(self, outcome: Outcome) -> Outcome:
        """Stores the outcome; "in progress" when another worker took the claim over: its answer counts."""

        def attempt() -> Outcome:
            with transaction.atomic(using=self.alias):
                stored = database.settle(self._pk, self.arrived, outcome, self.alias, self._token)
            return outcome if stored else base.IN_PROGRESS

        return database.retrying(attempt, self.arrived.message)  # type: ignore[no-any-return]

    def release(self) -> None:
        """Gives the key back: there is no answer, and the message may be run again at once."""
        self._mine().delete()
        if self._fast is not None:
            self._fast.release(self.arrived, self._token)


def _extend(rows: Any, lease: float, **fields: Any) -> None:
    rows.update(lease_until=Now() + timedelta(seconds=lease), **fields)

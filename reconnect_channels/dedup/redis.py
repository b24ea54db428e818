"""Dedup for streams whose log is in Redis: no transaction holds handler and answer together (design 8.2).

A handler, `def` or `async def`, runs under a claim beside the stream, in its slot: a token with a lease that
is renewed while the handler lives. Its entries are appended as it publishes them. Whoever takes over from a
worker that died runs the handler again: the entries are found by their ids, other effects come twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from .. import workers
from ..conf import settings
from ..log.endpoint import Script
from ..log.redis import RedisLog
from ..protocol.frames import Message
from . import base
from .base import Outcome, Transmission

TAKE, FINISH = (Script(files(__package__).joinpath(f"{name}.lua").read_text()) for name in ("take", "finish"))
RENEW = Script("""
local claim = redis.call('HMGET', KEYS[1], 'token', 'answer')
if claim[1] ~= ARGV[1] or claim[2] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))""")
RELEASE = Script("""
local claim = redis.call('HMGET', KEYS[1], 'token', 'answer')
return (claim[1] ~= ARGV[1] or claim[2]) and 0 or redis.call('DEL', KEYS[1])""")

SAID = {
    "busy": base.IN_PROGRESS,
    "reused": base.KEY_REUSED,
    "expired": base.EXPIRED,
    "order": base.ORDER,
}


async def process(
    handler: Callable[[Message], Any], message: Message, identity: str, log: RedisLog
) -> Outcome:
    """Runs a handler under a claim in its log; its entries come once, other effects at least once."""
    claim = Claim(message, identity, log)
    work = _arun if inspect.iscoroutinefunction(handler) else partial(workers.run, _run)
    renewal = asyncio.create_task(base.renew(partial(workers.read, claim.renew), claim.lease))
    try:
        return await base.patiently(partial(work, handler, claim))
    except RedisError:
        base.logger.warning("No claim for message %s", message.id, exc_info=True)
        return base.UNAVAILABLE
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal


def _run(handler: Callable[[Message], Any], claim: Claim) -> Outcome:
    known = claim.take()
    if known is not None:
        return known
    try:
        outcome = base.run(handler, claim.arrived.message, claim.arrived.identity, RedisError)
    except RedisError:
        claim.release()
        raise
    return claim.end(outcome)


async def _arun(handler: Callable[[Message], Any], claim: Claim) -> Outcome:
    known = await workers.run(claim.take)
    if known is not None:
        return known  # type: ignore[no-any-return]
    try:
        outcome = await base.arun(handler, claim.arrived.message, claim.arrived.identity, RedisError)
    except RedisError:
        await workers.run(claim.release)
        raise
    return await workers.run(claim.end, outcome)  # type: ignore[no-any-return]


class Claim:
    """One worker's claim to a message of a RedisLog's stream. All methods block, and raise RedisError."""

    def __init__(self, message: Message, identity: str, log: RedisLog) -> None:
        current = settings()
        self.arrived = Transmission.of(message, identity)
        self.lease = current.CLAIM_SECONDS
        self._lease_ms = int(self.lease * 1000)
        self._lives = int(current.DEDUP_SECONDS * 1000), int(current.PRODUCER_SECONDS * 1000)
        self._token = secrets.token_hex(16)
        self._log = log
        producer = hashlib.blake2b(f"{message.producer} {identity}".encode(), digest_size=16).hexdigest()
        self._keys = log.keys(message.stream, f"answer:{self.arrived.name}", f"producer:{producer}")

    def _ask(self, script: Script, *args: str | int) -> Any:
        """What a script says, which may be sent twice: it knows its token."""
        try:
            return self._log.endpoint.run(script, self._keys, self._token, *args)
        except RedisTimeout:
            return self._log.endpoint.run(script, self._keys, self._token, *args)

    def take(self) -> Outcome | None:
        """What is known of the message already; None = it is ours to run (design 8.5)."""
        message = self.arrived.message
        said = self._ask(
            TAKE, self.arrived.payload_hash, message.n, message.settled, self._lease_ms, *self._lives
        )
        if not said:
            return None
        known = SAID.get(said)
        return known or Outcome(*msgspec.json.decode(said))._replace(duplicate=True)

    def renew(self) -> None:
        """Extends the lease, if it is still ours."""
        self._log.endpoint.run(RENEW, self._keys, self._token, self._lease_ms)

    def release(self) -> None:
        """Gives the key back, so that the message may be run again at once."""
        with suppress(RedisError):  # else when the lease is over
            self._ask(RELEASE)

    def end(self, outcome: Outcome) -> Outcome:
        """Stores the outcome and advances the producer; releases the key where it has no answer.

        "In progress" where the claim isn't ours any more: another took it over, or Redis forgot it, and
        with it perhaps the entries.
        """
        if outcome in (base.FAILED, base.UNAVAILABLE):
            self.release()
            return outcome
        answer = msgspec.json.encode(outcome[:5]).decode()
        stored = self._ask(FINISH, answer, self.arrived.message.n, *self._lives)
        return outcome if stored else base.IN_PROGRESS

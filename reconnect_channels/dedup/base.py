"""The outcome of a message, and how a handler's exceptions become one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from msgspec import Raw

from ..protocol import frames
from ..protocol.codec import canonical, check, encode_payload
from ..protocol.codes import Reason
from ..protocol.frames import Message
from ..publication import Authoring, authoring
from ..rejection import Reject

logger = logging.getLogger(__name__)

FINAL = (Reject, ValidationError, PermissionDenied)
PATIENCE = 1.0  # seconds that a copy waits for the one that is being worked on
POLL = (0.02, 0.1)  # seconds between two looks at it: the first, and the longest
RENEW_SHARE = 0.3  # of a lease


class Outcome(NamedTuple):
    """What a message is answered. `code` 0 = acked; `retry_after_ms` > 0 = "send it again"."""

    code: int = 0
    reason: str = ""
    result: str = "null"  # JSON: a handler's return value, or a refusal's detail
    epoch: str | None = None
    seq: int | None = None
    duplicate: bool = False
    retry_after_ms: int = 0

    @property
    def final(self) -> bool:
        """Whether this is what the handler said, and every copy of the message is answered."""
        return not self.retry_after_ms and self not in (KEY_REUSED, EXPIRED)

    def frame(self, message_id: str) -> str:
        """The ACK or REJECT."""
        if self.code == 0:
            return frames.ack(message_id, self.epoch, self.seq, self.result, duplicate=self.duplicate)
        return frames.reject(
            message_id,
            self.code,
            self.reason,
            Raw(self.result.encode()),
            retry=self.retry_after_ms > 0,
            retry_after_ms=self.retry_after_ms,
        )


KEY_REUSED = Outcome(409, Reason.KEY_REUSED)
EXPIRED = Outcome(410, Reason.EXPIRED)
FORBIDDEN = Outcome(403, Reason.FORBIDDEN)
ORDER = Outcome(409, Reason.ORDER, retry_after_ms=100)
IN_PROGRESS = Outcome(409, Reason.IN_PROGRESS, retry_after_ms=500)
FAILED = Outcome(500, Reason.FAILED, retry_after_ms=1_000)
UNAVAILABLE = Outcome(503, Reason.UNAVAILABLE, retry_after_ms=1_000)


class Transmission(NamedTuple):
    """One arrival of a message: the first, or one of its copies."""

    message: Message
    identity: str
    payload_hash: str

    @classmethod
    def of(cls, message: Message, identity: str) -> Transmission:
        return cls(message, identity, payload_hash(message.payload))

    @property
    def name(self) -> str:
        """The key with its scope, as a short name in Redis: nothing in it is the client's choice."""
        scope = f"{self.message.stream} {self.message.id} {self.identity}"
        return hashlib.blake2b(scope.encode(), digest_size=16).hexdigest()


def payload_hash(payload: Any) -> str:
    """A hash over canonical JSON: the same for equal payloads, whatever the order of keys."""
    return hashlib.sha256(canonical(payload)).hexdigest()


def acked(author: Authoring, message: Message, result: Any) -> Outcome:
    """The outcome of a handler that returned.

    :raises CodecError: the result can't travel, which is a failure of the handler.
    """
    if author.lost:
        return UNAVAILABLE
    last = author.last.get(message.stream)
    return Outcome(result=encode_payload(result), epoch=last and last.epoch, seq=last and last.seq)


def refusal(error: BaseException) -> Outcome:
    """The final outcome of one of `FINAL`: stored, and replayed to retries (design 8.4).

    :raises CodecError: the refusal itself can't travel, which is a failure of the handler.
    """
    if isinstance(error, Reject):
        reason = str(error.reason)[:500]
        check(reason)
        return Outcome(error.code, reason, encode_payload(error.detail))
    if isinstance(error, ValidationError):
        detail = error.message_dict if hasattr(error, "error_dict") else error.messages
        return Outcome(422, Reason.INVALID, encode_payload(detail))
    return FORBIDDEN


def failure(message: Message) -> Outcome:
    """The outcome of any other exception, logged: nothing took effect, try again."""
    logger.exception("receive_message failed on %s (message %s)", message.stream, message.id)
    return FAILED


async def patiently(attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Tries again, for `PATIENCE`, while somebody else works on the message: his answer comes promptly."""
    outcome = await attempt()
    if outcome != IN_PROGRESS:
        return outcome
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    pause, longest = POLL
    while outcome == IN_PROGRESS and (left := deadline - loop.time()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)
        outcome = await attempt()
    return outcome


async def renew(extend: Callable[[], Awaitable[Any]], lease: float) -> None:
    """Extends a lease again and again until it is cancelled."""
    while True:
        await asyncio.sleep(lease * RENEW_SHARE)
        try:
            await extend()
        except Exception:  # whatever it is, it must not cost the handler its answer
            logger.warning("A claim couldn't be renewed", exc_info=True)


def run(
    handler: Callable[[Message], Any],
    message: Message,
    identity: str,
    outage: type[Exception] | tuple[()] = (),
) -> Outcome:
    """Runs a `def` handler outside a transaction; its entries are found again if it runs a second time.

    :param outage: what is raised on, since it isn't the handler's failure.
    """
    author = Authoring(message.id, identity, message.clock, repeatable=True)
    token = authoring.set(author)
    try:
        try:
            return acked(author, message, handler(message))
        except FINAL as error:
            return refusal(error)
    except outage:
        raise
    except Exception:
        return failure(message)
    finally:
        authoring.reset(token)


async def arun(
    handler: Callable[[Message], Awaitable[Any]],
    message: Message,
    identity: str,
    outage: type[Exception] | tuple[()] = (),
) -> Outcome:
    """The same for an `async def` handler."""
    author = Authoring(message.id, identity, message.clock, repeatable=True)
    token = authoring.set(author)
    try:
        try:
            return acked(author, message, await handler(message))
        except FINAL as error:
            return refusal(error)
    except outage:
        raise
    except Exception:
        return failure(message)
    finally:
        authoring.reset(token)

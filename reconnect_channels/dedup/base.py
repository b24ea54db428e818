"""The outcome of a message, and how a handler's exceptions become one."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from msgspec import Raw

from ..protocol import frames
from ..protocol.codec import canonical, check, encode_payload
from ..protocol.codes import Reason
from ..protocol.frames import Message
from ..rejection import Reject

logger = logging.getLogger(__name__)

FINAL = (Reject, ValidationError, PermissionDenied)


class Outcome(NamedTuple):
    """What a message is answered. `code` 0 = acked; `retry_after_ms` > 0 = "send it again"."""

    code: int = 0
    reason: str = ""
    result: str = "null"  # JSON: a handler's return value, or a refusal's detail
    epoch: str | None = None
    seq: int | None = None
    duplicate: bool = False
    retry_after_ms: int = 0

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


def payload_hash(payload: Any) -> str:
    """A hash over canonical JSON: the same for equal payloads, whatever the order of keys."""
    return hashlib.sha256(canonical(payload)).hexdigest()


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

"""How far a session's client is behind the heads of its streams."""

from __future__ import annotations

import logging
from typing import NamedTuple

from ..log import by_log
from ..models import ClientSession
from ..protocol.recovery import Head

logger = logging.getLogger(__name__)


class Lag(NamedTuple):
    """A stream of a session: the seq that its client acknowledged, and the head's now."""

    stream: str
    seq: int
    head: int | None  # None: it is on the stream no more, or the log can't be read
    behind: str  # in words


def lags(session: ClientSession) -> list[Lag]:
    """Of each stream that the session's row has a position of. One read of each log that holds some."""
    # heads() would begin those that were dropped.
    here = set(session.streams.values_list("stream", flat=True))
    heads = _heads([name for name in session.positions if name in here])
    return [
        _lag(name, epoch, seq, heads.get(name)) for name, (epoch, seq) in sorted(session.positions.items())
    ]


def _lag(name: str, epoch: str, seq: int, head: Head | None) -> Lag:
    if head is None:
        return Lag(name, seq, None, "unknown")
    if head.epoch != epoch:
        return Lag(name, seq, head.seq, "of another epoch")
    return Lag(name, seq, head.seq, str(max(0, head.seq - seq)))


def _heads(names: list[str]) -> dict[str, Head]:
    heads: dict[str, Head] = {}
    for log, held in by_log(names).items():
        try:
            heads |= log.heads(held)
        except Exception:
            logger.warning("The heads of %d streams couldn't be read", len(held), exc_info=True)
    return heads

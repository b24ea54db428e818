"""From HELLO or SUBSCRIBE to streams that are served: the rights, then an answer to each position.

Design 10.5 and 5.5.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..conf import settings
from ..protocol import actions, frames
from ..protocol.codes import Reason, Resync
from ..protocol.position import Position
from ..protocol.recovery import Answer, Decision, decide, known_checksum, needs_checksum
from ..protocol.subscription import Drift, State
from ..telemetry import events
from .breaker import BreakerOpen
from .tap import UNREADABLE, StreamTap

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

NO_SUCH_STREAM = (403, Reason.FORBIDDEN, "no such stream")
DRIFTS_ON = "its position is wrong again and again"


async def join(connection: Connection, action: actions.Join) -> None:
    """Asks for the rights, answers SUBSCRIBED, then recovers each stream (design 10.5)."""
    await connection.welcomed()
    async with connection.asking:  # answered in order
        current = [s for s in action.subscriptions if s.state is not State.ENDED]
        for subscription in current:
            connection.taps[subscription] = StreamTap(connection, subscription)  # pending before the question
        try:
            allowed = await connection.access.allowed([subscription.name for subscription in current])
        except Exception:
            logger.exception("can_subscribe failed")
            allowed = None
        if action.ref is not None:
            connection.write(frames.subscribed(action.ref))
    if allowed is None:
        connection.refuse(current, 503, Reason.UNAVAILABLE, "the rights couldn't be read")
        return
    connection.refuse([s for s in current if s.name not in allowed], *NO_SUCH_STREAM)
    taps = [tap for s in current if (tap := connection.taps.get(s)) is not None]
    for tap in taps:
        tap.subscription.state = State.CATCHING_UP
    await _recover(connection, taps, action)
    connection.settled()
    connection.moved()


async def _recover(connection: Connection, taps: list[StreamTap], action: actions.Join) -> None:
    """Judges all positions of one HELLO or SUBSCRIBE together, so that all offenders are named."""
    judged = await asyncio.gather(
        *(_judge(connection, tap, action.claims[tap.subscription.name]) for tap in taps),
        return_exceptions=True,
    )
    invalid, unavailable, drifting = [], [], []
    for tap, result in zip(taps, judged, strict=True):
        if isinstance(result, BaseException):
            if isinstance(result, asyncio.CancelledError):
                raise result
            name = tap.subscription.name
            connection.tell(
                events.Resumed(connection.session, name, "unavailable", "", action.claims[name], -1)
            )
            if not isinstance(result, BreakerOpen):
                logger.warning("The head of %s couldn't be read", name, exc_info=result)
            unavailable.append(tap.subscription)
        elif result.answer is Answer.INVALID:
            invalid.append(tap.subscription.name)
        elif result.reason is Resync.DIVERGED and not tap.subscription.drift:
            drifting.append(tap.subscription)
    if invalid:
        connection.perform(connection.exchange.invalid_seq(invalid, action.ref))
        return
    connection.refuse(unavailable, 503, Reason.UNAVAILABLE, UNREADABLE)
    connection.refuse(drifting, 429, Reason.RATE, DRIFTS_ON)
    connection.perform(connection.exchange.judge_drift())
    for tap, result in zip(taps, judged, strict=True):
        if not isinstance(result, BaseException) and tap.subscription.state is State.CATCHING_UP:
            tap.begin(result, action.claims[tap.subscription.name])


async def _judge(connection: Connection, tap: StreamTap, claim: Position | None) -> Decision:
    feed = tap.feed
    head = await connection.hub.follow(feed)
    checksum = None
    if claim is not None:
        checksum = known_checksum(claim, head)
        if needs_checksum(claim, head):
            checksum = await connection.hub.checksum_at(feed, claim)
    decision = decide(claim, head, checksum=checksum, retired=feed.retired, max_delta=settings().MAX_DELTA)
    answer, reason = decision.answer.name.lower(), decision.reason or ""
    judged = events.Resumed(connection.session, feed.name, answer, reason, claim, head.seq, connection.trace)
    connection.tell(judged)
    if connection.resume is not None:
        connection.resume.note("judged", feed.name, answer=answer, reason=str(reason), gap=judged.gap)
    if decision.reason is Resync.DIVERGED and connection.drifted(feed.name, claim, checksum):
        tap.subscription.drift = Drift.DIVERGED
    return decision

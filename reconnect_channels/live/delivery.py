"""Messages of one connection on their way to the handler, one at a time per producer and stream."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..dedup import base
from ..dedup.base import Outcome
from ..dedup.once import once
from ..protocol.frames import Message
from ..telemetry.events import Answered

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

WAITING = 256  # messages of one socket that wait for their turn: one tab has 16 in flight, 20 tabs 8 each

Lane = tuple[str, str]


class Delivery:
    """Runs handlers in tasks of their own, so that a slow one delays no ACK and no other stream.

    A running handler outlives its socket: its outcome is stored, and the retry gets it. What didn't begin
    before the end never does: who can't be answered sends it again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lanes: dict[Lane, deque[Message]] = {}
        self._waiting = 0

    def take(self, message: Message) -> None:
        """Puts a message into its lane."""
        if not self._connection.access.takes_messages:
            self._answer(message, base.FORBIDDEN)
            return
        if self._waiting >= WAITING:
            self._answer(message, base.UNAVAILABLE)
            return
        self._waiting += 1
        key = (message.producer, message.stream)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
            self._connection.hub.spawn(self._run(key, lane))
        lane.append(message)

    async def _run(self, key: Lane, lane: deque[Message]) -> None:
        try:
            while lane and not self._connection.closing:
                message = lane.popleft()
                began = self._connection.loop.time()
                try:
                    outcome = await self._process(message)
                except Exception:
                    logger.exception("Message %s failed", message.id)
                    outcome = base.UNAVAILABLE
                self._waiting -= 1
                self._answer(message, outcome, self._connection.loop.time() - began)
        finally:
            del self._lanes[key]

    async def _process(self, message: Message) -> Outcome:
        connection = self._connection
        await connection.welcomed()
        allowed = not connection.closing and await connection.access.may_send(message)
        if connection.closing:
            return base.UNAVAILABLE
        if not allowed:
            return base.FORBIDDEN
        return await once(self._handler(), message, connection.access.identity)

    def _handler(self) -> Callable[[Message], Any]:
        """The user's handler; it doesn't begin if the right ended while the message waited for a thread."""
        handler, access = self._connection.consumer.receive_message, self._connection.access
        if inspect.iscoroutinefunction(handler):

            async def abegin(message: Message) -> Any:
                access.hold(message.stream)
                return await handler(message)

            return abegin

        def begin(message: Message) -> Any:
            access.hold(message.stream)
            return handler(message)

        return begin

    def _answer(self, message: Message, outcome: Outcome, seconds: float = 0.0) -> None:
        connection, (code, reason) = self._connection, outcome[:2]
        connection.write(outcome.frame(message.id))
        connection.tell(
            Answered(
                connection.session,
                message.stream,
                code,
                reason,
                outcome.duplicate,
                seconds,
                outcome.retry_after_ms > 0,
            )
        )

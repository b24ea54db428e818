"""From a message to its outcome: one run for all its copies in this process, and the dedup of its log."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .. import workers
from ..log import log_for
from ..protocol.frames import Message
from . import base, claims, database
from .base import Outcome

if TYPE_CHECKING:
    from ..log.redis import RedisLog

Flight = tuple[Message, "asyncio.Future[Outcome | None]"]

_flights: dict[tuple[asyncio.AbstractEventLoop, str, str, str], Flight] = {}


async def once(handler: Callable[[Message], Any], message: Message, identity: str) -> Outcome:
    """Runs a handler once per key, however many sockets bring the message at the same time (design 8.7).

    Who comes second waits for the first, 1 s at most, and is answered what the first was.

    :param handler: `receive_message`, `def` or `async def`.
    :param identity: whose key it is.
    """
    loop = asyncio.get_running_loop()
    key = (loop, identity, message.stream, message.id)
    if key in _flights:
        deadline = loop.time() + base.PATIENCE
        while (flight := _flights.get(key)) is not None:
            first, ended = flight
            await asyncio.wait([ended], timeout=max(0.0, deadline - loop.time()))
            if not ended.done():
                return base.IN_PROGRESS
            outcome = ended.result()
            if outcome is not None and base.payload_hash(first.payload) == base.payload_hash(message.payload):
                return outcome._replace(duplicate=outcome.final)
    ended = loop.create_future()
    _flights[key] = (message, ended)
    outcome = None
    try:
        outcome = await _process(handler, message, identity)
        return outcome
    finally:
        del _flights[key]
        ended.set_result(outcome)


async def _process(handler: Callable[[Message], Any], message: Message, identity: str) -> Outcome:
    log = log_for(message.stream)
    if not log.transactional:
        from .redis import process  # needs redis-py

        return await process(handler, message, identity, cast("RedisLog", log))
    if inspect.iscoroutinefunction(handler):
        return await claims.aprocess(handler, message, identity)
    return await workers.write(log.using, database.process, handler, message, identity)  # type: ignore[no-any-return]

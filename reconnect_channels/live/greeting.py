"""From HELLO to WELCOME: who is it, and is it the newest socket of its client (design 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ..protocol import exchange, frames
from ..protocol.codes import Close, Reason
from ..protocol.position import Position
from ..publication import node_clock
from .fencing import Rank, Session
from .hub import NODE

if TYPE_CHECKING:
    from .connection import Connection


async def greet(connection: Connection, hello: frames.Hello, claims: Mapping[str, Position | None]) -> None:
    """Answers HELLO and joins its streams and the consumer's; or says BYE, and nothing of it is done."""
    access = connection.access
    if not await access.recognise(hello.key):
        connection.perform(connection.exchange.close(Close.UNAUTHENTICATED, "another identity"))
        return
    await access.identify(hello.identity)
    await asyncio.shield(connection.hub.clock_known)
    own = await access.own_streams()
    if connection.closing or not _enter(connection, hello):
        return
    limits = connection.exchange.limits
    connection.write(
        frames.welcome(
            session=connection.session,
            node=NODE,
            clock=node_clock.now,
            heartbeat_ms=int(limits.heartbeat * 1000),
            streams=own,
            limits=limits.wire(),
            identity=access.issued,
            key=access.key,
        )
    )
    connection.welcome()
    wanted = {**dict.fromkeys(own), **claims}
    taken = dict(islice(wanted.items(), limits.max_streams))
    if beyond := [name for name in wanted if name not in taken]:
        text = f"at most {limits.max_streams} streams a socket"
        connection.write(frames.error(413, Reason.LIMIT, text, streams=beyond))
    action, replaced = connection.exchange.join(None, taken, connection.loop.time())
    connection.perform([exchange.Leave(replaced), action])


def _enter(connection: Connection, hello: frames.Hello) -> bool:
    """Takes its place from an older socket of the client; False when a newer one has it."""
    place = Session(connection.access.identity, hello.client_id)
    newer = connection.hub.holders.enter(place, Rank(hello.term, hello.attempt), connection)
    if newer is not None:
        connection.supersede(newer.term)
        return False
    connection.place = place
    return True

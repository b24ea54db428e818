"""From HELLO to WELCOME: who is it, and is it the newest socket of its client (design 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ..conf import settings
from ..protocol import actions, frames
from ..protocol.codes import Close, Reason
from ..protocol.position import Position
from ..protocol.traceparent import trace_id
from ..publication import node_clock
from ..telemetry import tracing
from ..telemetry.events import Welcomed
from .admission import crowded, public_address
from .drain import REASON, TURNED_AWAY_MS, away
from .fencing import Rank, Session

if TYPE_CHECKING:
    from .connection import Connection


async def greet(connection: Connection, hello: frames.Hello, claims: Mapping[str, Position | None]) -> None:
    """Answers HELLO and joins its streams and the consumer's; or says BYE, and nothing of it is done."""
    began = connection.loop.time()
    span = connection.resume = tracing.start("resume", hello.traceparent, attempt=hello.attempt)
    connection.trace = span.context.trace_id if span is not None else trace_id(hello.traceparent)
    if not await _admitted(connection):
        return
    access = connection.access
    if not await access.recognise(hello.key):
        connection.perform(connection.exchange.close(Close.UNAUTHENTICATED, "another identity"))
        return
    await access.identify(hello.identity)
    if not connection.hub.rights.enter(connection):
        return
    await asyncio.shield(connection.hub.clock_known)
    own = await access.own_streams()
    if connection.closing or not _enter(connection, hello):
        return
    limits = connection.exchange.limits
    connection.write(
        frames.welcome(
            session=connection.session,
            node=connection.hub.node,
            clock=node_clock.now,
            heartbeat_ms=int(limits.heartbeat * 1000),
            streams=own,
            limits=limits.wire(),
            identity=access.issued,
            key=access.key,
        )
    )
    connection.welcome()
    taken_s = connection.loop.time() - began
    connection.tell(
        Welcomed(
            connection.session, connection.hub.node, hello.term, hello.attempt, taken_s, hello.traceparent
        )
    )
    wanted = {**dict.fromkeys(own), **claims}
    taken = dict(islice(wanted.items(), limits.max_streams))
    if beyond := [name for name in wanted if name not in taken]:
        text = f"at most {limits.max_streams} streams a socket"
        connection.write(frames.error(413, Reason.LIMIT, text, streams=beyond))
    action, replaced = connection.exchange.join(None, taken, connection.loop.time())
    connection.perform([actions.Leave(replaced), action])


async def _admitted(connection: Connection) -> bool:
    """Waits for the socket's turn; or sends it away, before it has cost anything."""
    hub = connection.hub
    if hub.draining is not None:
        connection.end(Close.GOING_AWAY, REASON, away(TURNED_AWAY_MS))
        return False
    wait, window = hub.admission.turn(hub.loop.time())
    if window is not None:
        connection.end(Close.THROTTLED, "too many at once", window)
        return False
    if wait:
        await asyncio.sleep(wait)
    return not connection.closing


def _enter(connection: Connection, hello: frames.Hello) -> bool:
    """Takes its place from an older socket of the client; False: a newer one has it, or others have all."""
    place = Session(connection.access.identity, hello.client_id)
    rank = Rank(hello.term, hello.attempt)
    newer = connection.hub.holders.enter(place, rank, connection)
    if newer is not None:
        connection.supersede(newer.term)
        return False
    connection.place = place
    crowd = _crowd(connection)
    if crowd is not None:
        if not connection.hub.admission.enter(*crowd):
            connection.end(Close.THROTTLED, "too many sockets", crowded())
            return False
        connection.crowd = crowd[0]
    connection.hub.seat(place, rank, connection)
    return True


def _crowd(connection: Connection) -> tuple[str, int] | None:
    """Whose sockets are counted, and how many there may be; a guest's identity is free, its address isn't."""
    access = connection.access
    if access.issued is None:
        return f"identity {access.identity}", settings().MAX_SOCKETS
    address = public_address(access.scope)
    return None if address is None else (f"address {address}", settings().MAX_ADDRESS_SOCKETS)

"""From node to node: it is told how long a client took from the end of its socket until it was current."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from reconnect_channels.models import ClientSession
from reconnect_channels.telemetry.events import HandedOver, Returned
from tests.live.peer import Peer, eventually
from tests.live.test_layers import Node
from tests.live.test_sessions import A, Known, peer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

DROPPED = 1006


class Gated(Known):
    """Lets nobody in before the gate is open."""

    gate: asyncio.Event

    async def can_subscribe(self, stream: str) -> bool:  # type: ignore[override]
        await self.gate.wait()
        return True


@pytest.fixture
async def other() -> AsyncIterator[Node]:
    async with Node() as node:
        yield node
        await node.run(sync_to_async(connections.close_all)())
    await sync_to_async(connections.close_all)()


async def visit(code: int = DROPPED) -> None:
    """A client is current here, then its socket ends."""
    one = peer()
    await one.socket.connect()
    await one.greet({A: None})
    await one.hear("SYNC_DELTA", complete=True)
    await one.socket.close(code)


async def come(consumer: type[Known] = Known) -> Peer:
    """The same client again."""
    one = Peer(consumer)
    one.client_id = "c"
    await one.socket.connect()
    await one.greet({A: None}, attempt=2)
    return one


def of(kind: type[NamedTuple], told: list[NamedTuple]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


async def is_away() -> bool:
    return await ClientSession.objects.filter(state="away").aexists()


async def test_it_is_told_once_the_client_is_current_and_not_before(
    configure: Callable[..., None], other: Node, told: list[NamedTuple]
):
    configure(SESSION_FLUSH=0.02)
    await visit()
    await eventually(is_away)

    async def arrive() -> None:
        Gated.gate = asyncio.Event()
        one = await come(Gated)
        await eventually(lambda: of(Returned, told))
        assert not of(HandedOver, told)
        Gated.gate.set()
        await one.hear("SYNC_DELTA", complete=True)
        await one.socket.close()

    await other.run(arrive())
    (returned,), (handed_over,) = of(Returned, told), of(HandedOver, told)
    assert returned.moved
    assert handed_over.ms >= returned.outage_ms


async def test_a_node_that_did_not_write_the_end_down_yet_tells_the_other(
    configure: Callable[..., None], other: Node, told: list[NamedTuple]
):
    configure(SESSION_FLUSH=60)
    await visit()

    async def arrive() -> None:
        one = await come()
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(lambda: of(HandedOver, told))
        await one.socket.close()

    await other.run(arrive())
    (returned,) = of(Returned, told)
    assert returned.moved
    assert len(of(HandedOver, told)) == 1


@pytest.mark.parametrize("flush", [0.02, 60], ids=["written", "told"])
async def test_who_closed_the_page_and_opens_another_one_did_not_come_back(
    flush: float, configure: Callable[..., None], other: Node, told: list[NamedTuple]
):
    configure(SESSION_FLUSH=flush)
    await visit(code=1000)

    async def arrive() -> None:
        one = await come()
        await one.hear("SYNC_DELTA", complete=True)
        await one.still_works()
        await one.socket.close()

    await other.run(arrive())
    assert not of(HandedOver, told) + of(Returned, told)


async def test_a_client_that_comes_back_to_its_node_is_no_hand_over(
    configure: Callable[..., None], told: list[NamedTuple]
):
    configure(SESSION_FLUSH=0.02)
    await visit()
    one = await come()
    await one.hear("SYNC_DELTA", complete=True)
    await eventually(lambda: of(Returned, told))
    await one.socket.close()
    await sync_to_async(connections.close_all)()
    assert not of(Returned, told)[0].moved
    assert not of(HandedOver, told)

"""A handler that takes long delays nobody else (design 9.1)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.generic.websocket import JsonWebsocketConsumer

from reconnect_channels.conf import settings
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A, B = "notes:a", "notes:b"


class Hold:
    """Handlers wait here until they are let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.entered = 0
        self._go = threading.Event()
        self._ago = asyncio.Event()

    def wait(self) -> None:
        self.entered += 1
        assert self._go.wait(20)

    async def await_(self) -> None:
        self.entered += 1
        await self._ago.wait()

    def let_go(self) -> None:
        self._go.set()
        self.loop.call_soon_threadsafe(self._ago.set)


@pytest.fixture
async def hold() -> AsyncIterator[Hold]:
    hold = Hold()
    yield hold
    hold.let_go()


class Async(NotesConsumer):
    async def receive_message(self, message: Any) -> Any:
        if message.payload == "slow":
            await self.scope["hold"].await_()
        return message.payload


class Threaded(NotesConsumer):
    def receive_message(self, message: Any) -> Any:
        if message.payload == "slow":
            self.scope["hold"].wait()
        return message.payload


class SyncBase(DeltaSyncMixin, DedupMixin, JsonWebsocketConsumer):
    receive_message = Threaded.receive_message

    def can_subscribe(self, stream: str) -> bool:
        return True


def peer(consumer: Any, hold: Hold) -> Peer:
    return Peer(consumer, scope={"hold": hold})


async def settled(peer: Peer, key: str, hold: Hold) -> None:
    assert not [frame for frame in peer.heard if frame.get("id") == key]  # still at it
    hold.let_go()
    assert (await peer.answer(key))["result"] == "slow"


@pytest.mark.parametrize("consumer", [Async, Threaded, SyncBase], ids=["async def", "def", "sync consumer"])
async def test_acks_and_pongs_are_handled_meanwhile(consumer: Any, hold: Hold, configure: Any, quick: None):
    configure(HEARTBEAT=0.05)
    entries = await publish_all(A, range(1_600))
    async with peer(consumer, hold) as slow:
        await slow.greet()
        key = slow.message(B, "slow")
        await eventually(lambda: hold.entered)
        slow.say("SUBSCRIBE", ref=1, streams={A: entries[0].position})
        while (frame := await slow.sync(A))["to"] < 1_600:
            slow.say("ACK", streams={A: entries[frame["to"] - 1].position})
        ping = await slow.hear("PING")
        slow.say("PONG", t=ping["t"], streams={A: entries[-1].position})
        await settled(slow, key, hold)


async def test_messages_of_other_streams_and_sockets_go_on_meanwhile(hold: Hold):
    async with peer(Async, hold) as slow, peer(Async, hold) as other:
        await slow.greet({A: None})
        await other.greet({A: None})
        key = slow.message(A, "slow")
        await eventually(lambda: hold.entered)
        assert (await slow.answer(slow.message(B, "quick")))["type"] == "ACK"
        assert (await other.answer(other.message(A, "quick")))["type"] == "ACK"
        await publish_all(A, ["from a view"])
        await slow.hear("SYNC_DELTA", to=1)
        await other.hear("SYNC_DELTA", to=1)
        await settled(slow, key, hold)


async def test_messages_of_one_producer_and_stream_wait_for_each_other(hold: Hold):
    async with peer(Async, hold) as slow:
        await slow.greet()
        first = slow.message(A, "slow")
        await eventually(lambda: hold.entered)
        second = slow.message(A, "quick")
        assert (await slow.answer(slow.message(B, "quick")))["type"] == "ACK"
        await settled(slow, first, hold)
        assert (await slow.answer(second))["type"] == "ACK"
        assert [f["id"] for f in slow.heard if f["type"] == "ACK"][1:] == [first, second]


async def test_as_many_slow_hooks_as_there_are_threads_delay_no_resume(hold: Hold, configure: Any):
    configure(THREADS=3)

    class Open(NotesConsumer):
        async def can_subscribe(self, stream: str) -> bool:  # type: ignore[override]
            return True

        async def get_identity(self) -> str:  # type: ignore[override]
            return "anna"

        async def get_streams(self) -> list[str]:  # type: ignore[override]
            return []

    class Asking(Open):
        def can_subscribe(self, stream: str) -> bool:  # type: ignore[override]
            self.scope["hold"].wait()
            return True

    slow = [peer(Asking, hold) for _ in range(settings().THREADS + 1)]
    for each in slow:
        await each.socket.connect()
        await each.greet({A: None})
    await eventually(lambda: hold.entered == settings().THREADS)
    await asyncio.gather(publish_all(B, [1, 2]))
    async with Peer(Open) as quick:
        await quick.greet({B: None})
        await quick.hear("SYNC_DELTA", to=2)
    hold.let_go()
    for each in slow:
        await each.hear("SYNC_DELTA", complete=True)
        await each.socket.close()


async def test_a_slow_connect_delays_no_stream(hold: Hold):
    class Slow(NotesConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.scope["hold"].await_()

    async with peer(Slow, hold) as slow:
        await slow.greet({A: None})
        await publish_all(A, [1])
        await slow.hear("SYNC_DELTA", to=1)
        await slow.still_works()
        hold.let_go()


async def test_a_handler_outlives_its_socket_and_its_retry_gets_the_ack(hold: Hold):
    class Named(Async):
        def get_identity(self) -> str:
            return "anna"

    async with peer(Named, hold) as first:
        await first.greet()
        key = first.message(A, "slow")
        await eventually(lambda: hold.entered)
    async with peer(Named, hold) as second:
        await second.greet()
        second.producer = first.producer
        retry = await second.answer(second.message(A, "slow", id=key))
        assert (retry["type"], retry["reason"], retry["retry"]) == ("REJECT", "IN_PROGRESS", True)
        hold.let_go()

        async def acked() -> bool:
            second.message(A, "slow", id=key, n=1)
            return (await second.answer(key))["type"] == "ACK"

        await eventually(acked)
        assert second.heard[-1]["duplicate"]
        assert hold.entered == 1

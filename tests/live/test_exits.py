"""However a socket ends, nothing of it stays behind (evidence A3.8: channels#1466 and its kin)."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from redis import Redis

from reconnect_channels import announcement
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.live.hub import close_hub, get_hub
from reconnect_channels.models import ClientSession, Node
from reconnect_channels.testing import stop
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.redis]

A = "notes:a"


class Fragile(NotesConsumer):
    """A stream consumer without a channel of its own; the handler of `boom` raises outside of our reach."""

    channel_layer_alias = None
    doomed: asyncio.Event

    async def connect(self) -> None:
        self.doomed = self.scope["doomed"]
        await self.accept()
        if self.scope["raising"]:
            await self.doomed.wait()
            raise RuntimeError("the consumer's defect")


class SyncFragile(DeltaSyncMixin, DedupMixin, JsonWebsocketConsumer):
    channel_layer_alias = None

    def can_subscribe(self, stream: str) -> bool:
        return True

    def connect(self) -> None:
        self.accept()
        if self.scope["raising"]:
            self.scope["waits"].wait(5)
            raise RuntimeError("the consumer's defect")


class Exits:
    """The ways in which a socket ends."""

    async def closes(self, peer: Peer) -> None:
        await peer.socket.close()

    async def raises(self, peer: Peer) -> None:
        peer.socket.scope["doomed"].set()
        peer.socket.scope["waits"].set()
        error = await peer.socket.ended()
        assert isinstance(error, RuntimeError)

    async def cancelled(self, peer: Peer) -> None:
        await peer.socket.cancel()

    async def send_fails(self, peer: Peer) -> None:
        peer.socket.fail()
        await publish_all(A, [1])
        assert await peer.socket.ended() is None

    async def closes_while_an_entry_is_ready(self, peer: Peer) -> None:
        closing = asyncio.create_task(peer.socket.close())
        await publish_all(A, [1])
        await closing


# A node goes on until nobody is away any more and no other node is overdue.
SOON = {"GRACE": 0.05, "SESSION_FLUSH": 0.02, "NODE_TIMEOUT": 1.0, "PRESENCE_GRACE": 0.0}
EXITS = ["closes", "raises", "cancelled", "send_fails", "closes_while_an_entry_is_ready"]


def members(url: str) -> set[str]:
    """What Redis knows of groups, channels and subscriptions of ours."""
    with Redis.from_url(url) as redis:
        keys = {key.decode() for key in redis.keys("live*")}
        groups = {key for key in keys if ":group:" in key and redis.zcard(key)}
        channels = {channel.decode() for channel in redis.pubsub_channels("live*")}
    return groups | channels


async def _at_base() -> bool:
    """Whether the rows know of no node and of no session that goes on."""
    going_on = ClientSession.objects.exclude(state="ended")
    return not (await Node.objects.aexists() or await going_on.aexists())


def others() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if not task.done()}


@pytest.mark.parametrize("way", EXITS)
@pytest.mark.parametrize("consumer", [Fragile, SyncFragile], ids=["async", "sync"])
async def test_a_socket_leaves_nothing_behind(
    way: str, consumer: Any, layer: Any, request: pytest.FixtureRequest, configure: Callable[..., None]
):
    configure(**SOON)
    url = request.getfixturevalue("redis_url") if "redis" in type(layer).__module__ else None
    doomed, waits = asyncio.Event(), threading.Event()
    scope = {"doomed": doomed, "waits": waits, "raising": way == "raises"}
    tasks = others()
    peer = Peer(consumer, scope=scope)
    await peer.socket.connect()
    await peer.greet({A: None, "notes:b": None})
    await peer.hear("SYNC_DELTA", complete=True)
    await peer.hear("SYNC_DELTA", complete=True)
    hub = get_hub()
    assert set(hub.feeds) == {A, "notes:b"}
    if url:
        await eventually(lambda: members(url))
    await getattr(Exits(), way)(peer)
    waits.set()
    assert not any(feed.taps or feed.live for feed in hub.feeds.values())
    assert not len(hub.holders)
    await eventually(lambda: not hub.feeds)  # after the grace
    await eventually(lambda: not announcement.listeners)
    await eventually(_at_base)
    await eventually(lambda: others() - tasks <= _of_layers())
    if url:
        await eventually(lambda: not members(url))
    elif hasattr(layer, "groups"):
        assert not layer.groups
        await eventually(lambda: not layer.channels)
    await close_hub()
    await asyncio.to_thread(stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reconnect")]
    if url:
        await layer.flush()
    gc.collect()  # an exception that nobody has retrieved would be shouted out here


def _of_layers() -> set[asyncio.Task[Any]]:
    """Tasks that channels_redis keeps for its connections."""
    names = ("_do_receiving", "_do_keepalive")
    return {task for task in others() if getattr(task.get_coro(), "__name__", "") in names}


async def test_closing_the_hub_leaves_no_group_behind(layer: Any, request: pytest.FixtureRequest):
    url = request.getfixturevalue("redis_url") if "redis" in type(layer).__module__ else None
    peer = Peer(Fragile, scope={"doomed": asyncio.Event(), "raising": False})
    await peer.socket.connect()
    await peer.greet({A: None})
    await peer.hear("SYNC_DELTA", complete=True)
    await close_hub()
    if url:
        await eventually(lambda: not members(url))
    else:
        assert not layer.groups
    await peer.socket.close()


async def test_an_ordinary_socket_leaves_nothing_behind(layer: Any, configure: Callable[..., None]):
    configure(**SOON)

    class Plain(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
        channel_layer_alias = None

        def get_streams(self) -> list[str]:
            return [A]

        async def entry_published(self, entry: Any) -> None:
            await self.send_json(entry.payload)

    tasks = others()
    for way in ("closes", "cancelled", "send_fails"):
        peer = Peer(Plain, subprotocols=())
        await peer.socket.connect()
        await eventually(lambda: A in get_hub().feeds and get_hub().feeds[A].live)
        if way == "send_fails":
            peer.socket.fail()
            await publish_all(A, [1])
            await peer.socket.close()
        else:
            await getattr(Exits(), way)(peer)
        await eventually(lambda: not get_hub().feeds)
    await eventually(lambda: others() - tasks <= _of_layers())


async def test_opening_and_closing_again_and_again_leaks_nothing(configure: Callable[..., None]):
    configure(**SOON)
    tasks = others()
    for _ in range(50):
        async with Peer(Fragile, scope={"doomed": asyncio.Event(), "raising": False}) as peer:
            peer.hello({A: None})
    await eventually(lambda: not get_hub().feeds)
    assert not len(get_hub().holders)
    await eventually(lambda: others() == tasks)

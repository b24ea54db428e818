"""Sessions over two real server processes: taken over, and cleared up after a kill (design 10.4)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from redis import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from reconnect_channels import apresence, apublish
from reconnect_channels.models import ClientSession, Node, NodeStream
from tests.live.layers import CORE, PUBSUB, use_layer
from tests.live.peer import eventually
from tests.servers import HOST, Server, asgi_server

pytestmark = [
    *(pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.redis),
    *(pytest.mark.servers, pytest.mark.faults, pytest.mark.slow),
]

TIMES = {"NODE_TIMEOUT": 3.0, "PRESENCE_GRACE": 1.0, "GRACE": 1.0, "SESSION_FLUSH": 0.2}
STREAMS = [f"notes:{n}" for n in range(5)]
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.live.node_settings"}


class Client:
    """A client that reads what it is sent, so that pings are answered and closes are heard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempt = 0
        self.heard: list[dict[str, Any]] = []
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, server: Server) -> dict[str, Any]:
        """Connects and says HELLO; returns the WELCOME or BYE."""
        self.heard.clear()
        self.attempt += 1
        origin: Any = f"http://{HOST}:{server.port}"
        self._socket = await connect(
            f"ws://{HOST}:{server.port}/ws/",
            subprotocols=["reconnect.v1"],
            origin=origin,
            proxy=None,  # type: ignore[list-item]
        )
        self._reader = asyncio.create_task(self._read(self._socket))
        hello = {"type": "HELLO", "protocol": "reconnect.v1", "client_id": self.name, "attempt": self.attempt}
        if self.name in IDENTITIES:
            hello["identity"] = IDENTITIES[self.name]
        await self._socket.send(json.dumps({**hello, "streams": dict.fromkeys(STREAMS)}))
        welcome = await self.hear("WELCOME", "BYE")
        IDENTITIES.setdefault(self.name, welcome.get("identity"))
        return welcome

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                frame = json.loads(text)
                self.heard.append(frame)
                if frame["type"] == "PING":
                    await socket.send(json.dumps({"type": "PONG", "t": frame["t"], "streams": {}}))

    async def hear(self, *kinds: str, timeout: float = 20, **fields: Any) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            fits = [f for f in self.heard if f["type"] in kinds]
            return [f for f in fits if all(f.get(name) == value for name, value in fields.items())]

        await eventually(found, timeout)
        return found()[0]

    async def closed(self) -> None:
        assert self._reader is not None
        await asyncio.wait_for(self._reader, 20)

    async def close(self) -> None:
        assert self._socket is not None
        await self._socket.close()
        await self.closed()


IDENTITIES: dict[str, str] = {}  # guests say who they are by what their first WELCOME gave them


@pytest.fixture(params=[CORE, PUBSUB], ids=["core", "pubsub"])
async def two(
    request: pytest.FixtureRequest, redis_url: str, settings: Any, tmp_path: Path
) -> AsyncIterator[tuple[Server, Server]]:
    """Two uvicorn processes on the database of this test and one Valkey, which is empty."""
    use_layer(settings, request.param, hosts=[redis_url], prefix="live")
    IDENTITIES.clear()
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    times = {**TIMES, **getattr(request.module, "CHANGED", {})}
    env = {
        **SETTINGS,
        "LAYER": request.param,
        "LAYER_URL": redis_url,
        "RECONNECT_CHANNELS": json.dumps(times),
    }
    servers = [asgi_server("tests.live.app:application", tmp_path / name) for name in ("one", "two")]
    for server in servers:
        server.env.update(env)
    try:
        for server in servers:
            await asyncio.to_thread(server.start)
        yield servers[0], servers[1]
    finally:
        for server in servers:
            await asyncio.to_thread(server.kill)
        await sync_to_async(connections.close_all)()


def left_in(url: str) -> Callable[[], set[str]]:
    """Groups with members, and channels with subscribers."""

    def look() -> set[str]:
        with Redis.from_url(url) as redis:
            groups = {key.decode() for key in redis.keys("live:group:*") if redis.zcard(key)}
            return groups | {name.decode() for name in redis.pubsub_channels("live*")}

    return look


def members(url: str) -> list[int]:
    with Redis.from_url(url) as redis:
        cards = [redis.zcard(key) for key in redis.keys("live:group:*")]
        subscribed = [count for _, count in redis.pubsub_numsub(*redis.pubsub_channels("live__group__*"))]
    return [int(count) for count in cards + subscribed]  # type: ignore[arg-type]


async def count(**wanted: Any) -> int:
    return await ClientSession.objects.filter(**wanted).acount()


async def test_a_killed_node_leaves_nothing_behind(two: tuple[Server, Server], redis_url: str):
    one, other = two
    clients = [Client(f"client {n}") for n in range(20)]
    node = (await asyncio.gather(*(client.connect(one) for client in clients)))[0]["node"]
    await eventually(lambda: _is(count(state="live", node=node), 20), 20)
    there = Client("there")
    survivor = (await there.connect(other))["node"]
    await eventually(lambda: _is(count(state="live", node=survivor), 1), 20)
    await eventually(lambda: _is(NodeStream.objects.acount(), 10), 20)
    assert set(members(redis_url)) == {2}
    await asyncio.to_thread(one.kill)
    for client in clients:
        await client.closed()
    for client in clients[:10]:
        assert (await client.connect(other))["node"] == survivor
    present = await apresence(STREAMS[0])
    assert sum(each.clients for each in present) >= 10
    await eventually(lambda: _is(Node.objects.acount(), 1), 30)  # within NODE_TIMEOUT and a little
    await eventually(lambda: _is(count(state="live"), 11), 20)
    await eventually(lambda: _is(count(state="ended"), 10), 20)
    assert set(members(redis_url)) == {1}
    assert sum(each.clients for each in await apresence(STREAMS[0])) == 11
    await apublish(STREAMS[0], "still told")
    for client in clients[:10]:
        await client.hear("SYNC_DELTA", stream=STREAMS[0], to=1)
    for client in [*clients[:10], there]:
        await client.close()
    await eventually(lambda: not left_in(redis_url)(), 30)
    await eventually(lambda: _is(count(), 21), 1)
    await eventually(lambda: _is(count(state="ended"), 21), 20)
    await eventually(lambda: _is(Node.objects.acount(), 0), 20)


async def _is(counted: Any, wanted: int) -> bool:
    return await counted == wanted  # type: ignore[no-any-return]


async def test_when_all_clients_have_gone_before_it_was_noticed_the_last_node_still_clears_up(
    two: tuple[Server, Server], redis_url: str
):
    one, other = two
    clients = [Client(f"client {n}") for n in range(5)]
    for client in clients:
        await client.connect(one)
    await eventually(lambda: _is(NodeStream.objects.acount(), 5), 20)
    await asyncio.to_thread(one.kill)
    for client in clients:
        await client.connect(other)
    for client in clients:
        await client.close()
    await eventually(lambda: not left_in(redis_url)(), 30)
    await eventually(lambda: _is(Node.objects.acount(), 0), 20)
    assert await count(state="ended") == 5


async def test_a_newer_socket_on_another_process_takes_over_at_once(two: tuple[Server, Server]):
    one, other = two
    older, newer = Client("c"), Client("c")
    await older.connect(one)
    await Client("warm").connect(other)
    await asyncio.sleep(0.5)  # pub/sub doesn't say when Redis has subscribed
    newer.attempt = 1
    welcome = await newer.connect(other)
    bye = await older.hear("BYE", timeout=10)
    assert (bye["code"], bye["reconnect"]) == (4509, False)
    await eventually(lambda: _is(count(client_id="c", node=welcome["node"], attempt=2), 1), 10)
    late = Client("c")
    assert (await late.connect(one))["type"] == "WELCOME"  # nobody asks the others first
    assert (await late.hear("BYE", timeout=10))["code"] == 4509
    assert not [frame for frame in newer.heard if frame["type"] == "BYE"]


async def test_a_terminated_node_says_goodbye(two: tuple[Server, Server], redis_url: str):
    one, _ = two
    clients = [Client(f"client {n}") for n in range(5)]
    for client in clients:
        await client.connect(one)
    await eventually(lambda: _is(count(state="live"), 5), 20)
    await asyncio.to_thread(one.terminate)
    assert await Node.objects.acount() == 0
    assert await count(state="away") == 5
    assert not left_in(redis_url)()

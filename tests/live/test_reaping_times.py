"""With the times that everybody has: how long a killed node's sessions are taken for live."""

import asyncio
import time

import pytest

from reconnect_channels.models import Node, NodeStream
from tests.live.peer import eventually
from tests.live.test_sessions_nodes import Client, Server, _is, count, members, two  # noqa: F401

pytestmark = [
    *(pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.redis),
    *(pytest.mark.servers, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)),
]

CHANGED = {"NODE_TIMEOUT": 30.0, "PRESENCE_GRACE": 15.0, "GRACE": 10.0, "SESSION_FLUSH": 1.0}
PROMISED = 75.0


async def test_no_session_of_a_killed_node_is_left_after_75_seconds(
    two: tuple[Server, Server],  # noqa: F811
    redis_url: str,
):
    one, other = two
    clients = [Client(f"client {n}") for n in range(20)]
    await asyncio.gather(*(client.connect(one) for client in clients))
    there = Client("there")
    await there.connect(other)
    await eventually(lambda: _is(count(state="live"), 21), 20)
    await eventually(lambda: _is(NodeStream.objects.acount(), 10), 20)
    assert set(members(redis_url)) == {2}
    killed = time.monotonic()
    await asyncio.to_thread(one.kill)
    await eventually(lambda: _is(count(state="live"), 1), PROMISED)
    reaped = time.monotonic() - killed
    await eventually(lambda: _is(Node.objects.acount(), 1), 5)
    await eventually(lambda: _is(count(state="ended"), 20), PROMISED - reaped)
    assert set(members(redis_url)) == {1}
    print(f"no session live after {reaped:.0f} s, none expected back after {time.monotonic() - killed:.0f} s")

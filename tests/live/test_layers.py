"""Resuming and live traffic over each channel layer, between processes where the layer can (design 9.2)."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from redis import Redis

from reconnect_channels import announcement
from reconnect_channels.live import healing
from reconnect_channels.live.hub import close_hub
from reconnect_channels.telemetry.events import HoleHealed
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.layers import CORE, PUBSUB, use_layer
from tests.live.peer import eventually, publish_all, unheard
from tests.servers import ROOT, Server, django_environment
from tests.services import redis_url as url_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.redis]

A = "notes:a"


def client() -> StreamCommunicator:
    return StreamCommunicator(NotesConsumer.as_asgi(), "/ws/")


async def has_all(client: StreamCommunicator, count: int) -> None:
    await client.until(lambda: len(client.applied.get(A, ())) >= count)
    assert [entry.seq for entry in client.applied[A]] == list(range(1, count + 1))


@contextmanager
def another_process(layer: str, url: str) -> Iterator[Callable[[Any], None]]:
    """A process that publishes what it is given to A, and says when it is committed."""
    code = (
        "import django, json, sys; django.setup()\n"
        "from django.test.utils import override_settings\n"
        f"config = {{'hosts': [{url!r}], 'prefix': 'live'}}\n"
        f"layers = {{'default': {{'BACKEND': {layer!r}, 'CONFIG': config}}}}\n"
        "with override_settings(CHANNEL_LAYERS=layers):\n"
        "    from reconnect_channels import announcement, publish\n"
        "    print('ready', flush=True)\n"
        "    for line in sys.stdin:\n"
        f"        publish({A!r}, json.loads(line)); print('done', flush=True)\n"
        "    announcement.stop()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**django_environment(), "PATH": ""},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def publish(payload: Any) -> None:
        process.stdin.write(json.dumps(payload) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        assert process.stdout.readline() == "done\n"  # type: ignore[union-attr]

    try:
        assert process.stdout.readline() == "ready\n"
        yield publish
        process.stdin.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def test_resume_and_live_traffic_on_every_layer(layer: Any):
    async with client() as one, client() as two:
        for each in (one, two):
            each.subscribe(A)
            await each.live(A)
        await publish_all(A, [1, 2])
        await has_all(one, 2)
        await one.cut()
        await two.send(A, 3)
        key = one.post(A, 4)
        await one.resume()
        assert (await one.outcome(key)).seq == 4
        await publish_all(A, [5])
        for each in (one, two):
            await has_all(each, 5)
        one.assert_applied_once(key)


def subscribed(url: str, group: str) -> bool:
    """Whether Redis serves a subscription of this group."""
    with Redis.from_url(url) as redis:
        return bool(redis.pubsub_channels(f"live*{group}"))


@pytest.mark.servers
@pytest.mark.parametrize("backend", [CORE, PUBSUB], ids=["core", "pubsub"])
async def test_entries_of_another_process_come_through_redis(
    backend: str,
    redis_url: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., None],
    told: list[NamedTuple],
):
    use_layer(settings, backend, hosts=[redis_url], prefix="live")
    configure(HEAD_CHECK=60)
    async with client() as one:
        one.subscribe(A)
        await one.live(A)
        if backend == PUBSUB:  # its layer doesn't wait for Redis's answer
            await eventually(partial(subscribed, redis_url, announcement.group_name(A)))
        monkeypatch.setattr(healing, "AFTER_BURST", 60)
        with another_process(backend, redis_url) as publish:
            for n in range(1, 21):
                await asyncio.to_thread(publish, n)
            await has_all(one, 20)
        assert not [event for event in told if isinstance(event, HoleHealed)]
        assert [entry.payload for entry in one.applied[A]] == list(range(1, 21))


class Node:
    """Another event loop with a hub of its own, as another process has."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()  # here, since the layers close their connections with it

    async def run(self, work: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def __aenter__(self) -> "Node":
        self._thread.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.run(close_hub())
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self._thread.join)


async def test_two_hubs_tell_each_other_through_redis(redis_url: str, settings: Any):
    # The core layer's receive() refuses a second event loop in one process.
    use_layer(settings, PUBSUB, hosts=[redis_url], prefix="live")

    async def opened() -> StreamCommunicator:
        there = client()
        there.subscribe(A)
        await there.connect()
        await there.live(A)
        return there

    async with Node() as node, client() as here:
        here.subscribe(A)
        await here.live(A)
        there = await node.run(opened())
        with unheard():
            for n in range(1, 11):
                await here.send(A, n)
                await node.run(there.send(A, -n))
        await has_all(here, 20)
        await node.run(has_all(there, 20))
        assert here.session.trackers[A].position == there.session.trackers[A].position
        await node.run(there.close())


@pytest.mark.servers
@pytest.mark.parametrize("backend", [CORE, PUBSUB], ids=["core", "pubsub"])
async def test_a_redis_that_is_killed_and_comes_back_empty_drops_no_socket(
    backend: str, redis_server: Server, settings: Any, configure: Callable[..., None], quick: None
):
    use_layer(settings, backend, hosts=[url_of(redis_server)], prefix="live")
    configure(HEAD_CHECK=0.1)

    class Alone(NotesConsumer):
        channel_layer_alias = None

    async with StreamCommunicator(Alone.as_asgi(), "/ws/") as one:
        one.subscribe(A)
        await one.live(A)
        socket = one.socket
        await publish_all(A, [1])
        await asyncio.to_thread(redis_server.kill)
        with unheard():
            await publish_all(A, [2])
        await has_all(one, 2)  # the log goes on without the layer
        await asyncio.to_thread(redis_server.start)
        with unheard():
            await publish_all(A, [3])
        await has_all(one, 3)
        assert one.socket is socket
        assert socket is not None
        assert socket.closed is None
        assert announcement.listeners

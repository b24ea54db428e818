"""A stream's state folded by `reduce`, over sockets and HTTP (design 7.7)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from reconnect_channels import folding, publish_many, retention
from reconnect_channels.live.hub import get_hub
from reconnect_channels.log import log_for
from reconnect_channels.models import StoredSnapshot
from reconnect_channels.testing import StreamCommunicator
from tests.live.peer import Peer, eventually, position_at, publish_all
from tests.live.test_snapshots import Publishing
from tests.log.folded import TallyConsumer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "tally:a"


@pytest.fixture(autouse=True)
async def _sync_thread() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def tally() -> Any:
    return type("Tally", (TallyConsumer,), {"reduced": []})


async def published(count: int) -> None:
    def publish() -> None:
        for start in range(0, count, 500):
            publish_many((A, n) for n in range(start, min(start + 500, count)))

    await sync_to_async(publish)()


async def test_a_newcomer_to_a_stream_of_5000_entries_gets_the_fold_of_them(tally: Any):
    await published(5_000)
    async with StreamCommunicator(tally.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        assert client.states[A] == {"of": A, "at": 5_000, "all": list(range(5_000))}
        assert not client.applied[A]
    assert tally.reduced == list(range(1, 5_001))
    assert await StoredSnapshot.objects.filter(stream=A, seq=5_000).aexists()


async def test_the_next_one_costs_only_what_came_since(tally: Any):
    await published(2_000)
    async with Peer(tally) as peer:
        await peer.greet({A: None})
        await peer.sync(A)
    await publish_all(A, range(2_000, 2_010))
    get_hub().forget_snapshot(get_hub().feeds[A])
    del tally.reduced[:]
    async with Peer(tally) as peer:
        await peer.greet({A: None})
        frame = await peer.sync(A)
    assert (frame["seq"], frame["exact"], frame["payload"]["at"]) == (2_010, True, 2_010)
    assert frame["checksum"] == (await position_at(A, 2_010)).checksum
    assert tally.reduced == list(range(2_001, 2_011))


async def test_state_and_entries_join_without_a_seam_under_publishing_and_trimming(
    tally: Any, configure: Any
):
    configure(SNAPSHOT_EVERY=20)

    def trim() -> int:
        return retention.trim_stream(A, max_entries=10, spared=timedelta(0))

    async with Publishing(A):
        for _ in range(12):
            async with StreamCommunicator(tally.as_asgi(), "/ws/") as client:
                client.subscribe(A)
                await client.live(A)
                count = len(client.applied[A])
                await client.until(lambda count=count: len(client.applied[A]) > count + 3)
                await sync_to_async(trim)()
                tail = [entry.payload for entry in client.applied[A]]
                state = client.states[A]
                assert state["all"] + tail == list(range(state["at"] + len(tail)))
            get_hub().forget_snapshot(get_hub().feeds[A])
    assert (await sync_to_async(log_for(A).heads)([A]))[A].floor > 1


async def test_who_comes_from_below_the_floor_gets_the_folded_state(tally: Any):
    await published(40)
    position = await position_at(A, 5)
    await sync_to_async(retention.trim_stream)(A, max_entries=10, spared=timedelta(0))
    async with Peer(tally) as peer:
        await peer.greet({A: position})
        frame = await peer.sync(A)
    assert (frame["reason"], frame["seq"], frame["exact"]) == ("trimmed", 40, True)
    assert frame["payload"]["all"] == list(range(40))


async def test_a_state_that_cannot_be_said_is_unavailable_and_nobody_else_suffers(tally: Any):
    await published(10)
    await sync_to_async(log_for(A).trim)(A, 5)
    async with Peer(tally) as peer:
        await peer.greet({A: None, "tally:b": None})
        await eventually(lambda: {"ERROR", "SYNC_DELTA"} <= set(peer.kinds()))
        [error] = [frame for frame in peer.heard if frame["type"] == "ERROR"]
        assert (error["code"], error["streams"]) == (503, [A])
        assert peer.kinds("tally:b") == ["SYNC_SNAPSHOT", "SYNC_DELTA"]


async def test_the_event_loop_is_free_while_a_state_is_folded(tally: Any):
    await published(30)
    loop_thread_free = asyncio.Event()

    class Slow(tally):
        @classmethod
        def reduce(cls, state: Any, entry: Any) -> Any:
            asyncio.run_coroutine_threadsafe(_set(loop_thread_free), loop).result(5)
            return super().reduce(state, entry)

    loop = asyncio.get_running_loop()
    async with Peer(Slow) as peer:
        await peer.greet({A: None})
        assert (await peer.sync(A))["seq"] == 30
    assert loop_thread_free.is_set()


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_the_http_delta_serves_the_folded_state(async_client: Any):
    await published(12)
    response = await async_client.get(f"/reconnect/streams/{A}/delta")
    assert response.status_code == 200, response.content
    frame = response.json()
    assert (frame["type"], frame["seq"], frame["exact"]) == ("SYNC_SNAPSHOT", 12, True)
    assert frame["payload"] == {"of": A, "at": 12, "all": list(range(12))}
    assert folding.folds(TallyConsumer)

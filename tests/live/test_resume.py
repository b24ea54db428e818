"""A consumer in this process, and clients whose connection breaks."""

import asyncio
from typing import Any

import pytest

from reconnect_channels import apublish
from reconnect_channels.client.errors import Refused, Rejected
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer, SyncNotesConsumer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def communicator(consumer: Any = NotesConsumer) -> StreamCommunicator:
    return StreamCommunicator(consumer.as_asgi(), "/ws/")


async def test_what_was_published_during_a_cut_is_applied_once_in_order():
    async with communicator() as client, communicator() as other:
        client.subscribe("notes:a")
        await client.live("notes:a")
        first = await client.send("notes:a", {"n": 1})
        await client.cut()
        for n in range(2, 5):
            await other.send("notes:a", {"n": n})
        key = client.post("notes:a", {"n": 5})
        await client.resume()
        answer = await client.outcome(key)
        await client.until(lambda: len(client.applied["notes:a"]) == 5)
        assert [entry.payload["n"] for entry in client.applied["notes:a"]] == [1, 2, 3, 4, 5]
        assert (first.seq, answer.seq) == (1, 5)
        client.assert_applied_once(key)


async def test_an_ack_that_was_lost_is_replayed():
    async with communicator() as client:
        client.subscribe("notes:a")
        await client.live("notes:a")
        key = client.post("notes:a", {"n": 1})
        socket = client.half_open()
        await client.resume()
        answer = await client.outcome(key)
        await client.until(lambda: client.applied.get("notes:a"))
        client.assert_applied_once(key)
        assert answer.result == {"entry": client.applied["notes:a"][0].id}
        await socket.cancel()


async def test_a_refusal_is_final_replayed_and_leaves_nothing():
    async with communicator() as client:
        with pytest.raises(Rejected) as refusal:
            await client.send("notes:a", {"reject": "no such card"})
        assert (refusal.value.code, refusal.value.reason, refusal.value.detail) == (
            422,
            "no such card",
            {"why": "because"},
        )
        client.subscribe("notes:a")
        await client.live("notes:a")
        assert client.applied["notes:a"] == []


async def test_a_stream_that_may_not_be_read_is_refused_and_the_others_live():
    async with communicator() as client:
        client.subscribe("notes:secret")
        client.subscribe("notes:a")
        await client.live("notes:a")
        with pytest.raises(Refused):
            await client.live("notes:secret")


async def test_a_sync_consumer_joins_its_own_streams():
    async with communicator(SyncNotesConsumer) as client:
        await client.live("sync:own")
        await client.send("sync:own", "hello")
        await client.until(lambda: client.applied["sync:own"])


async def test_publishing_from_elsewhere_reaches_every_client():
    async with communicator() as a, communicator() as b:
        for client in (a, b):
            client.subscribe("notes:a")
            await client.live("notes:a")
        await asyncio.gather(*(apublish("notes:a", n) for n in range(50)))
        for client in (a, b):
            await client.until(lambda client=client: len(client.applied["notes:a"]) == 50)
        assert a.session.trackers["notes:a"].position == b.session.trackers["notes:a"].position

"""`manage.py reconnect_new_epoch` after a restore: live clients hear of it at once (design 5.7)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connections

from reconnect_channels.log import log_for
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.testing import StreamCommunicator
from tests.live.layers import CORE, PUBSUB, use_layer
from tests.live.peer import publish_all
from tests.live.test_snapshots import Exact

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


@pytest.fixture(autouse=True)
async def _sync_thread() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


class Notes(Exact):
    channel_layer_alias = None


def restore(head: int) -> None:
    """The log as it was at an entry; what came later is gone."""
    checksum = StreamEntry.objects.get(stream__name=A, seq=head).checksum
    StreamEntry.objects.filter(stream__name=A, seq__gt=head).delete()
    Stream.objects.filter(name=A).update(head=head, checksum=checksum)


def begin_epoch() -> None:
    call_command("reconnect_new_epoch", "--all", interactive=False, verbosity=0)
    connections.close_all()


@pytest.mark.redis
@pytest.mark.parametrize("backend", [CORE, PUBSUB])
async def test_clients_are_told_through_the_layer(
    settings: Any, configure: Any, redis_url: str, backend: str
):
    use_layer(settings, backend, hosts=[redis_url], prefix="epochs")
    configure(HEAD_CHECK=60)  # it would find it, but not within this test
    await publish_all(A, range(6))
    async with StreamCommunicator(Notes.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        assert client.states[A] == [0, 1, 2, 3, 4, 5]
        await sync_to_async(restore)(3)
        await sync_to_async(begin_epoch)()
        await client.until(lambda: client.states[A] == [0, 1, 2])
        [entry] = await publish_all(A, ["after"])
        assert entry.seq == 4
        await client.until(lambda: client.applied[A] and client.applied[A][-1].payload == "after")


async def test_the_head_check_finds_it_where_there_is_no_layer(configure: Any):
    configure(HEAD_CHECK=0.05)
    await publish_all(A, range(6))
    async with StreamCommunicator(Notes.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        await sync_to_async(restore)(3)
        await sync_to_async(begin_epoch)()
        await client.until(lambda: client.states[A] == [0, 1, 2])
    heads = await sync_to_async(log_for(A).heads)([A])
    assert heads[A].seq == 3

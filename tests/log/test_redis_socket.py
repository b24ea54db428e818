"""Durable and fast streams of one consumer, over real sockets."""

import asyncio
import uuid

import pytest
from asgiref.sync import sync_to_async
from redis import Redis

from reconnect_channels.client import connect
from reconnect_channels.models import StreamEntry
from tests.servers import asgi_server

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.redis,
    pytest.mark.servers,
]

FAST, DURABLE = "notes:fast:a", "notes:a"


async def test_one_socket_carries_durable_and_fast_streams_over_a_flush_and_a_restart(
    redis_url, tmp_path, sync_thread
):
    prefix = f"{uuid.uuid4()}:"
    server = asgi_server(
        "tests.live.app:application",
        tmp_path / "log",
        env={
            "DJANGO_SETTINGS_MODULE": "tests.log.fast_settings",
            "FAST_URL": redis_url,
            "FAST_PREFIX": prefix,
        },
    )
    seen = {FAST: [], DURABLE: []}
    snapshots = []

    def applied(stream):
        return lambda entries: seen[stream].extend(entry.payload for entry in entries)

    async def has(stream, payloads):
        async with asyncio.timeout(10):
            while seen[stream] != payloads:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)

    with server:
        async with connect(
            f"ws://127.0.0.1:{server.port}/ws/", origin=f"http://127.0.0.1:{server.port}"
        ) as client:
            for stream in (FAST, DURABLE):
                client.subscribe(
                    stream,
                    on_snapshot=lambda snapshot: snapshots.append(snapshot.reason),
                    on_entries=applied(stream),
                )
            for stream in (FAST, DURABLE):
                answers = [await client.send(stream, n) for n in range(3)]
                assert [answer.seq for answer in answers] == [1, 2, 3]
                await has(stream, [0, 1, 2])
            del snapshots[:]
            await sync_to_async(server.restart)()
            for stream in (FAST, DURABLE):
                assert (await client.send(stream, "after a restart")).seq == 4
                await has(stream, [0, 1, 2, "after a restart"])
            assert snapshots == []
            with Redis.from_url(redis_url) as redis:
                redis.delete(*redis.scan_iter(match=f"{prefix}*"))
            assert (await client.send(DURABLE, "beside")).seq == 5
            async with asyncio.timeout(10):
                while snapshots != ["epoch"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert (await client.send(FAST, "anew")).seq == 1
            await has(FAST, [0, 1, 2, "after a restart", "anew"])
            await has(DURABLE, [0, 1, 2, "after a restart", "beside"])
    names = [entry.stream.name async for entry in StreamEntry.objects.select_related("stream")]
    assert names == [DURABLE] * 5

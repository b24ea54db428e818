"""What operators order reaches the one client that it is about, on whichever node, also without news."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from reconnect_channels import news
from reconnect_channels.revocation import Cause, record
from reconnect_channels.sessions import session_key
from reconnect_channels.testing import get_hub
from tests.live.peer import Peer, publish_all
from tests.live.test_snapshots import Exact

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A, B = "notes:a", "notes:b"


@pytest.fixture(autouse=True)
async def _sync_thread() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


@contextmanager
def no_news() -> Iterator[None]:
    """The layer is down: an order is only a row."""
    receivers = set(news.receivers)
    news.receivers.clear()
    try:
        yield
    finally:
        news.receivers.update(receivers)


def key_of(peer: Peer) -> str:
    [held] = [s for s in get_hub().sockets if s.place and s.place.client_id == peer.client_id]  # type: ignore[attr-defined]
    return session_key(*held.place)  # type: ignore[attr-defined]


async def order(cause: Cause, key: str) -> None:
    await sync_to_async(record)(cause, session=key)


async def on_streams(peer: Peer) -> str:
    """A peer that is live on two streams; returns its session's key."""
    await peer.greet({A: None, B: None})
    await peer.socket.until(lambda: all("SYNC_DELTA" in peer.kinds(name) for name in (A, B)))
    return key_of(peer)


async def test_who_is_disconnected_may_come_back_and_nobody_else_notices():
    async with Peer(Exact) as one, Peer(Exact) as other:
        key = await on_streams(one)
        await on_streams(other)
        await order(Cause.DISCONNECT, key)
        bye, code = await one.goodbye()
        assert code == 4010
        assert bye["reconnect"]
        assert bye["retry_after_ms"] == [1_000, 3_000]
        await other.still_works(A)


async def test_who_is_disconnected_for_good_is_told_so():
    async with Peer(Exact) as peer:
        await order(Cause.DISMISS, await on_streams(peer))
        bye, code = await peer.goodbye()
        assert code == 4503
        assert not bye["reconnect"]


async def test_a_resync_sends_a_fresh_snapshot_of_every_stream():
    await publish_all(A, ["old"])
    async with Peer(Exact) as peer:
        key = await on_streams(peer)
        await order(Cause.RESYNC, key)
        for _ in (A, B):
            await peer.hear("SYNC_SNAPSHOT", reason="operator")
        await peer.socket.until(lambda: all(peer.kinds(name)[-1] == "SYNC_DELTA" for name in (A, B)))
        await publish_all(A, ["new"])
        await peer.until(lambda frame: [entry["payload"] for entry in frame.get("payload") or []] == ["new"])


async def test_a_node_that_missed_the_news_finds_the_row():
    async with Peer(Exact) as peer:
        key = await on_streams(peer)
        with no_news():
            await order(Cause.DISCONNECT, key)
            _, code = await peer.goodbye()
        assert code == 4010


async def test_who_came_back_after_the_order_is_spared():
    async with Peer(Exact) as before:
        key = await on_streams(before)
        identity = before.heard[0]["identity"]
        await order(Cause.DISCONNECT, key)
        await before.goodbye()
    async with Peer(Exact) as again:
        again.client_id = before.client_id
        await again.greet({A: None}, identity=identity, attempt=2)
        assert key_of(again) == key
        cut = {"pk": None, "identity": "", "session": key, "auth": "", "stream": "", "cause": "disconnect"}
        news.tell("revoked", **cut, created=1.0)
        await again.still_works(A)


async def test_an_order_for_nobody_is_no_harm(caplog: Any):
    async with Peer(Exact) as peer:
        await peer.greet({A: None})
        for cause in (Cause.DISCONNECT, Cause.DISMISS, Cause.RESYNC):
            await order(cause, "0" * 32)
        await peer.still_works(A)
    assert not caplog.records

"""Who is let in when many come at once, and how many sockets one may have (design 10.3, 13)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.live import admission
from reconnect_channels.live.admission import Admission, public_address
from reconnect_channels.live.hub import get_hub
from tests.app.consumers import NotesConsumer
from tests.live.peer import Frame, Peer, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

PUBLIC = {"client": ("8.8.8.8", 1)}


class Known(NotesConsumer):
    """Logged in, as the path says."""

    def get_identity(self) -> str:
        return f"user:{self.scope['path']}"


@asynccontextmanager
async def herd(number: int, consumer: Any = NotesConsumer, **options: Any) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        peers = [Peer(consumer, **options) for _ in range(number)]
        for peer in peers:
            await stack.enter_async_context(peer)
        yield peers


async def greeting(peer: Peer) -> Frame:
    """What HELLO is answered with."""
    peer.hello()
    return await peer.until(lambda frame: frame["type"] in ("WELCOME", "BYE"))


# -- how fast ----------------------------------------------------------------------------------------------


async def test_a_herd_within_the_burst_is_welcomed_at_once(configure: Any):
    configure(RESUME_RATE=1, RESUME_BURST=10)
    async with herd(10) as peers:
        answers = await asyncio.gather(*map(greeting, peers))
        assert {frame["type"] for frame in answers} == {"WELCOME"}


async def test_who_is_over_the_rate_waits_for_its_turn_though_its_hello_is_late_then(
    configure: Any, quick: None
):
    configure(RESUME_RATE=10, RESUME_BURST=1, HELLO_TIMEOUT=0.05)
    async with herd(8) as peers:
        started = time.monotonic()
        answers = await asyncio.gather(*map(greeting, peers))
        assert {frame["type"] for frame in answers} == {"WELCOME"}
        assert 0.65 <= time.monotonic() - started < 1.5


async def test_who_would_wait_too_long_is_sent_away_and_the_windows_follow_each_other(
    configure: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(admission, "PATIENCE", 0.1)
    configure(RESUME_RATE=10, RESUME_BURST=5)
    async with herd(30) as peers:
        began = time.monotonic()
        answers = await asyncio.gather(*map(greeting, peers))
        welcomed = [frame for frame in answers if frame["type"] == "WELCOME"]
        meanwhile = 10 * (time.monotonic() - began)  # a busy machine gives time for more
        away = [frame for frame in answers if frame["type"] == "BYE"]
        assert 5 <= len(welcomed) <= 7 + meanwhile
        assert {(frame["code"], frame["reconnect"]) for frame in away} == {(4013, True)}
        earliest = sorted(frame["retry_after_ms"][0] for frame in away)
        # They count from when each was told: what passed meanwhile is missing between them.
        assert all(later > earlier for earlier, later in pairwise(earliest))
        assert earliest[-1] - earliest[0] >= 90 * (len(away) - 1) - 100 * meanwhile
        assert all(frame["retry_after_ms"][1] > frame["retry_after_ms"][0] for frame in away)


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=400))
def test_nobody_is_sent_farther_away_than_a_clients_own_backoff(pauses: list[float]):
    bucket = Admission(0.0)
    bucket._bucket.burst = bucket._bucket._tokens = 1
    bucket._bucket.rate = bucket._rate = 5.0
    now = 0.0
    for pause in pauses:
        now += pause
        wait, window = bucket.turn(now)
        if window is None:
            assert wait <= admission.PATIENCE
        else:
            low, high = window
            assert admission.PATIENCE * 1000 <= low < high <= 20_000


async def test_who_leaves_while_it_waits_is_not_welcomed(configure: Any):
    configure(RESUME_RATE=2, RESUME_BURST=1)
    async with herd(2) as (first, second):
        assert (await greeting(first))["type"] == "WELCOME"
        second.hello()
        await second.socket.close()
        await eventually(lambda: len(get_hub().sockets) == 1)
        assert len(get_hub().holders) == 1


# -- how many ----------------------------------------------------------------------------------------------


async def test_an_identity_has_so_many_sockets_and_a_later_one_when_another_has_gone(configure: Any):
    configure(MAX_SOCKETS=3)
    async with herd(3, Known, path="/ws/1/") as peers, Peer(Known, "/ws/2/") as other:
        for peer in peers:
            assert (await greeting(peer))["type"] == "WELCOME"
        assert (await greeting(other))["type"] == "WELCOME"
        async with Peer(Known, "/ws/1/") as late:
            frame = await greeting(late)
            assert (frame["type"], frame["code"], frame["reconnect"]) == ("BYE", 4013, True)
            low, high = frame["retry_after_ms"]
            assert 10_000 <= low < high
        await peers[0].socket.close()
        async with Peer(Known, "/ws/1/") as late:
            assert (await greeting(late))["type"] == "WELCOME"


async def test_a_client_that_comes_back_takes_the_place_of_its_ghost(configure: Any):
    configure(MAX_SOCKETS=1)
    async with Peer(Known) as ghost, Peer(Known) as back:
        await greeting(ghost)
        back.client_id = ghost.client_id
        back.hello(attempt=2)
        await back.hear("WELCOME")
        assert (await ghost.goodbye())[1] == 4509


async def test_a_guest_is_counted_by_its_address(configure: Any):
    configure(MAX_SOCKETS=1, MAX_ADDRESS_SOCKETS=2)
    async with herd(2, scope=PUBLIC) as peers:
        for peer in peers:
            assert (await greeting(peer))["type"] == "WELCOME"
        async with Peer(scope=PUBLIC) as third, Peer(scope={"client": ("9.9.9.9", 1)}) as other:
            assert (await greeting(third))["code"] == 4013
            assert (await greeting(other))["type"] == "WELCOME"


async def test_guests_behind_a_proxy_are_not_counted_together(configure: Any):
    configure(MAX_ADDRESS_SOCKETS=1)
    async with herd(5, scope={"client": ("10.0.0.7", 1)}) as peers:
        for peer in peers:
            assert (await greeting(peer))["type"] == "WELCOME"


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("8.8.8.8", 5), "8.8.8.8"),
        (("2001:4860:4860::8888", 5), "2001:4860:4860::8888"),
        (("127.0.0.1", 5), None),
        (("192.168.1.4", 5), None),
        (("::1", 5), None),
        (("a.unix.socket", 5), None),
        (None, None),
    ],
)
def test_only_a_public_address_says_who_it_is(client: Any, address: str | None):
    assert public_address({"client": client}) == address


async def test_nothing_is_left_of_sockets_that_ended_however_they_did(configure: Any):
    async with herd(6, Known) as peers:
        for peer in peers:
            await greeting(peer)
        await peers[0].socket.close()
        await peers[1].socket.cancel()
        peers[2].socket.fail()
        peers[2].say("SUBSCRIBE", ref=1, streams={"notes:x": None})
        peers[3].say("HELLO", protocol="another", client_id="x")
    await eventually(lambda: not get_hub().sockets)
    assert get_hub().admission._sockets == {}
    assert len(get_hub().holders) == 0

"""Whoever notices clears up after a node that died: sessions, group members, its row (design 10.4)."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.models.functions import Now

from reconnect_channels import news, nodes, sessions
from reconnect_channels.announcement import group_name
from reconnect_channels.live import registrar as registrars
from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import ClientSession, Node, NodeStream
from reconnect_channels.sessions import State
from reconnect_channels.telemetry.events import CleanupFailed
from tests.app.consumers import NotesConsumer
from tests.live.layers import FaultyLayer
from tests.live.peer import Peer, elsewhere, eventually, publish_all
from tests.live.test_sessions import A, peer
from tests.live.test_sessions import row as seen_row
from tests.live.test_sessions_rows import row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

DEAD = "dead.channel!1"


@pytest.fixture(autouse=True)
async def soon(configure: Callable[..., None]) -> AsyncIterator[None]:
    configure(SESSION_FLUSH=0.02, NODE_TIMEOUT=1.0, PRESENCE_GRACE=0.1)
    yield
    await sync_to_async(connections.close_all)()


def die(name: str = "one", streams: tuple[str, ...] = (A,), channel: str = DEAD) -> None:
    """A node that was killed a while ago."""
    nodes.begin(name, channel)
    nodes.follow(name, streams, ())
    silence(name)


def silence(name: str) -> None:
    Node.objects.filter(name=name).update(seen=Now() - timedelta(seconds=60))


def is_gone(name: str = "one") -> bool:
    return not Node.objects.filter(name=name).exists()


@pytest.fixture
def errors(told: list[NamedTuple]) -> Callable[[], int]:
    return lambda: sum(isinstance(event, CleanupFailed) for event in told)


async def test_what_a_dead_node_left_is_cleared_up(faulty: FaultyLayer, errors: Callable[[], int]):
    streams = (A, "notes:b", "nobody:else")
    for group in (news.GROUP, *map(group_name, streams)):
        faulty.groups[group].add(DEAD)
    await sync_to_async(die)(streams=streams)
    await sync_to_async(sessions.write)([row(client=f"{n}", seen=-100) for n in range(3)])
    async with peer("here") as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(sync_to_async(is_gone))
        assert not [group for group, members in faulty.groups.items() if DEAD in members]
        assert group_name(A) in faulty.groups
        assert not await NodeStream.objects.filter(stream="nobody:else").aexists()
        ended = ClientSession.objects.filter(node="one", state=State.ENDED)
        await eventually(lambda: _all(ended, 3))
        assert (await seen_row("here")).state == "live"
    assert errors() == 0


async def _all(rows: Any, count: int) -> bool:
    return await rows.acount() == count  # type: ignore[no-any-return]


async def test_sessions_that_moved_on_stay(faulty: FaultyLayer):
    await sync_to_async(die)()
    await sync_to_async(sessions.write)([row(0, 1, client="c", identity="ada", seen=-100)])
    async with peer("c") as one:
        await one.greet({A: None}, attempt=2)
        await eventually(sync_to_async(is_gone))
        found = await seen_row("c")
        assert (found.state, found.attempt, found.node) == ("live", 2, get_hub().node)


async def test_a_node_that_lives_is_left_alone(configure: Callable[..., None]):
    configure(NODE_TIMEOUT=600)
    await sync_to_async(nodes.begin)("one", DEAD)
    await sync_to_async(sessions.write)([row()])
    assert await sync_to_async(nodes.claim_dead)() == []
    assert (await seen_row("c")).state == "live"


async def test_the_last_node_outlives_one_that_was_killed_a_moment_ago(configure: Callable[..., None]):
    """Long before that one is overdue: nobody else would clear up after it."""
    configure(GRACE=0.05)
    await sync_to_async(nodes.begin)("one", DEAD)
    async with peer("here") as one:
        await one.greet({A: None})
        await eventually(lambda: Node.objects.filter(name=get_hub().node).aexists())
    await eventually(lambda: _all(Node.objects.all(), 0))


async def test_a_node_of_ordinary_sockets_outlives_one_that_was_killed_while_they_were_there(
    faulty: FaultyLayer, configure: Callable[..., None]
):
    configure(GRACE=0.05)

    class Ordinary(NotesConsumer):
        async def entry_published(self, entry: Any) -> None:
            pass

        def get_streams(self) -> list[str]:
            return [A]

    page = Peer(Ordinary, subprotocols=())
    await page.socket.connect()
    await eventually(lambda: _all(NodeStream.objects.all(), 1))
    await sync_to_async(nodes.begin)("one", DEAD)
    await page.socket.close()
    await eventually(lambda: _all(Node.objects.all(), 0))


async def test_a_node_without_sockets_ends_beside_others_that_live(configure: Callable[..., None]):
    configure(GRACE=0.05)
    await sync_to_async(nodes.begin)("one", DEAD)

    async def live_on() -> bool:
        await Node.objects.filter(name="one").aupdate(seen=Now())
        return await _all(Node.objects.all(), 1)

    async with peer("here") as one:
        await one.greet({A: None})
        await eventually(lambda: _all(Node.objects.all(), 2))
    await eventually(live_on)
    assert not await sync_to_async(is_gone)()


def test_of_many_that_notice_one_takes_a_dead_node_on():
    die()
    found: list[Any] = []
    barrier = threading.Barrier(4)

    def notice() -> None:
        barrier.wait()
        try:
            found.extend(nodes.claim_dead())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=notice) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [nodes.Dead("one", DEAD, [A])]


def test_what_a_reaper_did_not_finish_another_does_later(monkeypatch: pytest.MonkeyPatch):
    die()
    assert nodes.claim_dead()
    assert nodes.claim_dead() == []
    monkeypatch.setattr(nodes, "RECLAIM", timedelta(0))
    assert nodes.claim_dead() == [nodes.Dead("one", DEAD, [A])]
    nodes.bury("one")
    assert nodes.claim_dead() == []
    assert not NodeStream.objects.exists()


async def test_a_layer_that_fails_is_counted_and_tried_again(
    faulty: FaultyLayer, errors: Callable[[], int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nodes, "RECLAIM", timedelta(0))
    discard = faulty.group_discard

    async def fail(group: str, channel: str) -> None:
        if channel == DEAD:
            raise ConnectionError
        await discard(group, channel)

    monkeypatch.setattr(faulty, "group_discard", fail)
    faulty.groups[group_name(A)].add(DEAD)
    await sync_to_async(die)()
    async with peer("here") as one:
        await one.greet({A: None})
        await eventually(lambda: errors() >= 2)
        assert not await sync_to_async(is_gone)()
        await one.still_works()
        monkeypatch.setattr(faulty, "group_discard", discard)
        await eventually(sync_to_async(is_gone))
        assert DEAD not in faulty.groups[group_name(A)]


async def test_after_an_outage_of_the_database_nobody_takes_the_others_for_dead(
    monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
):
    configure(NODE_TIMEOUT=2.0)
    monkeypatch.setattr(registrars, "BACKOFF", (0.01, 0.05))
    async with peer("here") as one:
        await one.greet({A: None})
        node = await Node.objects.aget() if await seen_row("here") else None
        assert node is not None
        await asyncio.sleep(2.1)  # sound for long enough to reap
        beat = nodes.beat
        failed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def fail(*beat: object) -> None:
            loop.call_soon_threadsafe(failed.set)
            raise ConnectionError

        monkeypatch.setattr(nodes, "beat", fail)
        await failed.wait()
        await sync_to_async(nodes.begin)("two", DEAD)
        await sync_to_async(silence)("two")  # it couldn't write, either
        monkeypatch.setattr(nodes, "beat", beat)
        await asyncio.sleep(1.2)  # several times what it looks after
        assert not await sync_to_async(is_gone)("two")
        await eventually(sync_to_async(is_gone_two))


def is_gone_two() -> bool:
    return is_gone("two")


@pytest.mark.parametrize("found", ["reaped", "gone"])
async def test_a_node_that_was_taken_for_dead_begins_a_new_life(
    found: str, faulty: FaultyLayer, configure: Callable[..., None]
):
    configure(HEAD_CHECK=60)
    async with peer("c") as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await seen_row("c", state="live")
        old = get_hub().node
        channel = await _channel(faulty)

        def reap() -> None:
            silence(old)
            dead = nodes.claim_dead()
            assert [each.name for each in dead] in ([old], [])
            sessions.end_absent()
            if found == "gone":
                nodes.bury(old)

        await sync_to_async(reap)()
        for members in faulty.groups.values():
            members.discard(channel)
        await eventually(lambda: get_hub().node != old)
        again = await seen_row("c", state="live", node=get_hub().node)
        assert (again.connects, again.attempt) == (1, 1)
        await eventually(lambda: faulty.groups.get(group_name(A)))
        assert await _channel(faulty) != channel
        with elsewhere():
            await publish_all(A, [1])
        await one.hear("SYNC_DELTA", to=1)  # by the layer
        await eventually(sync_to_async(lambda: is_gone(old) or found == "reaped"))


async def _channel(layer: FaultyLayer) -> str:
    await eventually(lambda: len(layer.groups.get(group_name(A), ())) == 1)
    return next(iter(layer.groups[group_name(A)]))


def test_sessions_whose_end_was_lost_are_found(settings: Any):
    settings.RECONNECT_CHANNELS = {"SESSION_REFRESH": 10}
    nodes.begin("one", "")
    sessions.write([row(client="lost", seen=-60), row(client="there", seen=60)])
    assert nodes.find_lost() == 1
    assert ClientSession.objects.get(state="away").client_id == "lost"

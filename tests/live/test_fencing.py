"""The newest (term, attempt) of a client stays; the socket that it supersedes is told (design 10.4)."""

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.live.fencing import Holders, Rank, Session
from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import ProcessedMessage, StreamEntry
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all
from tests.live.test_exits import EXITS, Exits, Fragile

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.usefixtures("quick")]

A = "notes:a"


class Known(NotesConsumer):
    """Everybody says who they are."""

    def get_identity(self) -> str | None:
        return self.scope.get("who", "ada")  # type: ignore[no-any-return]


def peer(consumer: Any = Known, **scope: Any) -> Peer:
    """One of several sockets of the same client."""
    one = Peer(consumer, scope=scope)
    one.client_id = "the client"
    return one


async def superseded(peer: Peer, term: int) -> None:
    bye, code = await peer.goodbye()
    assert bye == {
        "type": "BYE",
        "code": 4509,
        "reason": "superseded",
        "reconnect": False,
        "retry_after_ms": [0, 0],
        "term": term,
    }
    assert code == 4509


NEWER = {
    "a newer term": ((3, 9), (4, 1)),
    "a newer attempt": ((3, 1), (3, 2)),
    "a solo client's next attempt": ((0, 1), (0, 2)),
    "the same again, a race": ((3, 2), (3, 2)),
}


@pytest.mark.parametrize(("older", "newer"), NEWER.values(), ids=NEWER.keys())
async def test_an_older_socket_is_superseded(older: tuple[int, int], newer: tuple[int, int]):
    async with peer() as first, peer() as second:
        await first.greet({A: None}, term=older[0], attempt=older[1])
        await first.hear("SYNC_DELTA", complete=True)
        await second.greet({A: None}, term=newer[0], attempt=newer[1])
        await superseded(first, newer[0])
        await second.still_works()
        await publish_all(A, [1])
        await second.hear("SYNC_DELTA", to=1)
        assert first.kinds(A) == ["SYNC_SNAPSHOT", "SYNC_DELTA"]
        assert len(get_hub().holders) == 1


@pytest.mark.parametrize(("older", "newer"), list(NEWER.values())[:3], ids=list(NEWER)[:3])
async def test_an_older_socket_that_comes_late_is_refused_and_joins_nothing(
    older: tuple[int, int], newer: tuple[int, int]
):
    async with peer() as first, peer() as late:
        await first.greet({A: None}, term=newer[0], attempt=newer[1])
        late.hello({"notes:late": None}, term=older[0], attempt=older[1])
        late.message(A, "late")
        await superseded(late, newer[0])
        assert late.kinds() == ["BYE"]
        assert "notes:late" not in get_hub().feeds
        await first.still_works()
        assert not await StreamEntry.objects.filter(stream__name=A).aexists()
        assert len(get_hub().holders) == 1


async def test_superseded_again_and_again_one_is_left():
    peers = [peer() for _ in range(6)]
    for term, one in enumerate(peers):
        await one.socket.connect()
        await one.greet({A: None}, term=term)
    for term, one in enumerate(peers[:-1]):
        await superseded(one, term + 1)
    await peers[-1].still_works()
    for one in peers:
        await one.socket.close()
    assert not len(get_hub().holders)


APART = {
    "other identities": ({"who": "ada"}, {"who": "eve"}, {}, {}),
    "other clients": ({"who": "ada"}, {"who": "ada"}, {}, {"client_id": "another"}),
    "two guests": ({"who": None}, {"who": None}, {}, {}),
    "a forged guest": ({"who": None}, {"who": None}, {}, {"identity": "forged:token"}),
}


@pytest.mark.parametrize(("one", "other", "hello", "stranger"), APART.values(), ids=APART.keys())
async def test_nobody_fences_the_socket_of_somebody_else(one: Any, other: Any, hello: Any, stranger: Any):
    async with peer(**one) as first, peer(**other) as second:
        await first.greet(**hello)
        await second.greet(term=2**53, attempt=2**53, **stranger)
        await first.still_works()
        await second.still_works()
        assert len(get_hub().holders) == 2


async def test_a_guest_fences_the_ghost_of_its_own_socket():
    async with peer(who=None) as ghost, peer(who=None) as again:
        welcome = await ghost.greet()
        await again.greet(identity=welcome["identity"], attempt=2)
        await superseded(ghost, 0)
        await again.still_works()


async def test_once_a_socket_is_gone_an_older_one_may_come():
    async with peer() as first:
        await first.greet(term=9)
    async with peer() as second:
        await second.greet(term=1)
        await second.still_works()


async def test_a_socket_that_was_told_to_go_holds_its_place_no_longer():
    async with peer() as first, peer() as second:
        await first.greet(term=9)
        first.say("SUBSCRIBE", ref=1, streams={A: {"nonsense": 1}})
        assert (await first.goodbye())[1] == 4000
        await second.greet(term=1)
        await second.still_works()


async def test_a_socket_that_is_superseded_while_it_is_greeted_is_not_welcomed():
    gate, arrived = asyncio.Event(), asyncio.Event()

    class Slow(Known):
        async def get_streams(self) -> list[str]:  # type: ignore[override]
            if self.scope.get("slow"):
                arrived.set()
                await gate.wait()
            return []

    async with peer(Slow, slow=True) as slow, peer(Slow) as quick:
        slow.hello(term=1)
        slow.message(A, "never")
        await arrived.wait()
        await quick.greet(term=2)
        gate.set()
        await superseded(slow, 2)
        assert slow.kinds() == ["BYE"]
        await quick.still_works()
    assert not await StreamEntry.objects.filter(stream__name=A).aexists()


async def test_a_socket_that_is_closed_while_it_is_greeted_takes_no_place():
    class Closing(Known):
        async def get_streams(self) -> list[str]:  # type: ignore[override]
            await self.close(4503)
            return [A]

    async with peer() as first, peer(Closing) as second:
        await first.greet(term=1)
        second.hello(term=2)
        assert (await second.goodbye())[1] == 4503
        await first.still_works()
        assert len(get_hub().holders) == 1
        assert A not in get_hub().feeds


# -- messages ------------------------------------------------------------------------------------------


class Held:
    """Keeps a handler at work until it is let go."""

    def __init__(self) -> None:
        self.entered: list[Any] = []
        self.opened = threading.Event()


class Working(Known):
    def receive_message(self, message: Any) -> Any:
        held: Held = self.scope["held"]
        held.entered.append(message.payload)
        if message.payload == "first":
            held.opened.wait(5)
        return super().receive_message(message)


class WorkingAsync(Known):
    async def receive_message(self, message: Any) -> Any:
        held: Held = self.scope["held"]
        held.entered.append(message.payload)
        while message.payload == "first" and not held.opened.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return message.payload


@pytest.mark.parametrize("consumer", [Working, WorkingAsync], ids=["def", "async def"])
async def test_what_is_being_worked_on_is_stored_and_what_was_not_begun_is_left_to_the_new_socket(
    consumer: Any,
):
    held = Held()
    async with peer(consumer, held=held) as first, peer(consumer, held=held) as second:
        await first.greet(term=1)
        working, waiting = first.message(A, "first"), first.message(A, "second")
        await eventually(lambda: held.entered)
        await second.greet(term=2)
        await superseded(first, 2)
        held.opened.set()
        await eventually(ProcessedMessage.objects.filter(key=working, status="acked").aexists)
        assert held.entered == ["first"]
        second.producer = first.producer
        again = [second.message(A, "first", id=working), second.message(A, "second", id=waiting)]
        answers = [await second.answer(key) for key in again]
        assert [(answer["type"], answer["duplicate"]) for answer in answers] == [
            ("ACK", True),
            ("ACK", False),
        ]
        assert held.entered == ["first", "second"]
        assert [frame["type"] for frame in first.heard if frame.get("id")] == []


async def test_a_message_whose_right_is_being_asked_for_is_not_begun_any_more():
    gate, arrived, handled = asyncio.Event(), asyncio.Event(), []

    class Asking(Known):
        async def can_send(self, stream: str, message: Any) -> bool:  # type: ignore[override]
            arrived.set()
            await gate.wait()
            return True

        async def receive_message(self, message: Any) -> Any:
            handled.append((self.scope["name"], message.payload))

    async with peer(Asking, name="old") as first, peer(Asking, name="new") as second:
        await first.greet(term=1)
        key = first.message(A, 1)
        await arrived.wait()
        await second.greet(term=2)
        gate.set()
        second.producer = first.producer
        assert (await second.answer(second.message(A, 1, id=key)))["type"] == "ACK"
        assert handled == [("new", 1)]


# -- endings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", EXITS)
async def test_however_a_socket_ends_its_place_is_free(way: str):
    doomed = asyncio.Event()
    scope = {"doomed": doomed, "waits": threading.Event(), "raising": way == "raises"}
    peer = Peer(Fragile, scope=scope)
    await peer.socket.connect()
    await peer.greet({A: None})
    await peer.hear("SYNC_DELTA", complete=True)
    assert len(get_hub().holders) == 1
    await getattr(Exits(), way)(peer)
    assert not len(get_hub().holders)


async def test_a_socket_that_ends_after_it_was_superseded_does_not_free_the_place_of_the_newer():
    async with peer() as second:
        async with peer() as first:
            await first.greet(term=1)
            await second.greet(term=2)
            await superseded(first, 2)
        assert len(get_hub().holders) == 1
        async with peer() as late:
            late.hello(term=1)
            await superseded(late, 2)
    assert not len(get_hub().holders)


async def test_a_peer_that_takes_nothing_is_superseded_all_the_same():
    async with peer() as stuck, peer() as second:
        await stuck.greet({A: None}, term=1)
        await stuck.hear("SYNC_DELTA", complete=True)
        stuck.socket.block()
        await publish_all(A, [1])
        await second.greet({A: None}, term=2)
        await second.still_works()
        assert len(get_hub().holders) == 1
        stuck.socket.unblock()
        await superseded(stuck, 2)


# -- the registry alone --------------------------------------------------------------------------------


class Recorded:
    def __init__(self) -> None:
        self.ended: list[int] = []

    def supersede(self, term: int) -> None:
        self.ended.append(term)


ranks = st.builds(Rank, st.integers(0, 3), st.integers(0, 3))
sessions = st.builds(Session, st.sampled_from("ab"), st.sampled_from("xy"))


@given(st.lists(st.tuples(sessions, ranks, st.booleans()), max_size=30))
def test_of_each_session_the_highest_rank_that_is_open_is_the_only_one(steps: list[Any]):
    holders, opened = Holders(), {}
    for session, rank, leaves in steps:
        if leaves:
            if session in opened:
                holders.leave(session, opened.pop(session)[1])
            continue
        socket = Recorded()
        newer = holders.enter(session, rank, socket)
        held = opened.get(session)
        if held is not None and held[0] > rank:
            assert newer == held[0]
            assert not held[1].ended
            holders.leave(session, socket)  # never was the session's: changes nothing
        else:
            assert newer is None
            assert held is None or held[1].ended == [rank.term]
            opened[session] = rank, socket
        assert len(holders) == len(opened)
        assert not any(socket.ended for _, socket in opened.values())


def test_another_node_s_newer_socket_ends_ours_and_an_older_one_does_not():
    holders, ours, session = Holders(), Recorded(), Session("a", "x")
    holders.enter(session, Rank(2, 5), ours)
    assert holders.fence(session, Rank(2, 4)) == Rank(2, 5)
    assert not ours.ended
    assert holders.fence(session, Rank(3, 1)) is None
    assert ours.ended == [3]
    assert not len(holders)

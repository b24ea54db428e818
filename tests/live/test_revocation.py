"""What is revoked ends at once on open sockets, by news or by the row alone (design 10.5, P8)."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, transaction
from django.utils import timezone

from reconnect_channels import arevoke, news, publish, revocation, revoke, workers
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.live import rights
from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import Revocation
from reconnect_channels.testing import Socket
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A, B, OWN = "rights:a", "rights:b", "rights:own"


class Room(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Everybody may read; `get_streams` gives one more."""

    def get_streams(self) -> list[str]:
        return [OWN]

    def can_subscribe(self, stream: str) -> bool:
        return stream in (A, B)


class Old(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """For ordinary pages."""

    def get_streams(self) -> list[str]:
        return [A, B]

    async def entry_published(self, entry: Any) -> None:
        await self.send_json([entry.stream, entry.payload])


@pytest.fixture
async def ada() -> Any:
    return await get_user_model().objects.acreate_user("ada", password="secret")


@pytest.fixture
async def eve() -> Any:
    return await get_user_model().objects.acreate_user("eve", password="secret")


@contextmanager
def silent() -> Iterator[None]:
    """What happens inside is told to nobody: as in another process, while the layer is down."""
    receivers, news.receivers = set(news.receivers), set()  # type: ignore[misc]
    try:
        yield
    finally:
        news.receivers = receivers  # type: ignore[misc]


def of(user: Any, consumer: Any = Room) -> Peer:
    return Peer(consumer, scope={"user": user})


async def live(peer: Peer, *streams: str) -> None:
    await peer.greet(dict.fromkeys(streams))
    for stream in streams:
        await peer.hear("SYNC_DELTA", stream=stream, complete=True)


async def says_nothing(peer: Peer) -> None:
    """Publishes; what is dead may not even hear of it."""
    before = len(peer.socket.sent)
    await publish_all(A, ["after"])
    await publish_all(OWN, ["after"])
    await asyncio.sleep(0.1)
    assert len(peer.socket.sent) == before


async def test_a_revoked_user_s_sockets_are_closed_for_good(ada: Any, eve: Any):
    async with of(ada) as one, of(ada) as two, of(eve) as other:
        for peer in (one, two, other):
            await live(peer, A)
        await arevoke(ada)
        for peer in (one, two):
            bye, code = await peer.goodbye()
            assert (bye["code"], bye["reason"], bye["reconnect"], code) == (4503, "revoked", False, 4503)
            await says_nothing(peer)
        await publish_all(A, ["news"])
        await other.hear("SYNC_DELTA", stream=A, to=3)


@pytest.mark.parametrize("name", ["instance", "pk", "text of the pk", "identity"])
async def test_a_user_may_be_named_in_many_ways(ada: Any, name: str):
    named = {"instance": ada, "pk": ada.pk, "text of the pk": str(ada.pk), "identity": f"user:{ada.pk}"}
    async with of(ada) as peer:
        await live(peer, A)
        await arevoke(named[name])
        assert (await peer.goodbye())[1] == 4503


async def test_an_identity_of_the_consumer_s_own_is_found(ada: Any):
    class Tenants(Room):
        def get_identity(self) -> str:
            return "tenant 7: ada"

    async with of(ada, Tenants) as peer:
        await live(peer, A)
        await arevoke("tenant 7: ada")
        assert (await peer.goodbye())[1] == 4503


async def test_the_row_alone_is_found_within_a_second(ada: Any):
    async with of(ada) as peer:
        await live(peer, A)
        with silent():
            await arevoke(ada)
        began = time.monotonic()
        assert (await peer.goodbye())[1] == 4503
        assert time.monotonic() - began < 1.5
        await says_nothing(peer)


async def test_nothing_is_revoked_before_commit_nor_by_a_rollback(ada: Any):
    async with of(ada) as peer:
        await live(peer, A)

        def rolled_back() -> None:
            with transaction.atomic():
                revoke(ada)
                transaction.set_rollback(True)

        await sync_to_async(rolled_back)()
        await asyncio.sleep(1.1)
        await peer.still_works(A)

        def committed() -> None:
            with transaction.atomic():
                revoke(ada)
                publish(A, "before the commit")

        await sync_to_async(committed)()
        assert (await peer.goodbye())[1] == 4503


async def test_a_stream_is_taken_from_one_user(ada: Any, eve: Any):
    async with of(ada) as peer, of(eve) as other:
        await live(peer, A, B)
        await live(other, A)
        await arevoke(ada, stream=A)
        error = await peer.hear("ERROR")
        assert (error["code"], error["streams"]) == (403, [A])
        await publish_all(A, ["secret"])
        await publish_all(B, ["public"])
        await other.hear("SYNC_DELTA", stream=A, to=1)
        await peer.hear("SYNC_DELTA", stream=B, to=1)
        assert "secret" not in str(peer.heard)


async def test_a_stream_of_get_streams_is_taken_away_and_not_given_back_unasked(ada: Any):
    async with of(ada) as peer:
        await live(peer, OWN)
        await arevoke(ada, stream=OWN)
        assert (await peer.hear("ERROR"))["streams"] == [OWN]
        peer.say("SUBSCRIBE", ref=1, streams={OWN: None})
        await peer.hear("SUBSCRIBED", ref=1)
        assert (await peer.hear("ERROR", ref=1))["code"] == 403


async def test_a_message_to_a_stream_that_was_taken_away_is_refused_for_good(ada: Any):
    members = {A, B}

    class Members(Room):
        def can_subscribe(self, stream: str) -> bool:
            return stream in members

    async with of(ada, Members) as peer:
        await live(peer, A, B)
        await peer.still_works(A)
        members.discard(A)
        await arevoke(ada, stream=A)
        await peer.hear("ERROR")
        answer = await peer.answer(peer.message(A, "too late"))
        assert (answer["type"], answer["code"], answer["retry"]) == ("REJECT", 403, False)
        await peer.still_works(B)


async def test_a_stream_may_be_taken_from_everybody(ada: Any, eve: Any):
    async with of(ada) as one, of(eve) as two, of(AnonymousUser()) as guest:
        for peer in (one, two, guest):
            await live(peer, A, B)
        await arevoke(stream=A)
        for peer in (one, two, guest):
            assert (await peer.hear("ERROR"))["streams"] == [A]
            await peer.still_works(B)


async def test_who_comes_later_is_not_cut_by_it(ada: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rights, "DOUBT", 0.2)
    async with of(ada) as first:
        await live(first, A)
        await arevoke(ada)
        await first.goodbye()
    await asyncio.sleep(0.3)
    async with of(ada) as peer:
        await live(peer, A)
        get_hub().rights.apply(await sync_to_async(revocation.read_after)(0, []))
        await asyncio.sleep(1.1)
        await peer.still_works(A)


async def test_who_comes_while_it_is_unclear_what_was_read_comes_once_more(ada: Any):
    async with of(ada) as first:
        await live(first, A)
        await arevoke(ada)
        await first.goodbye()
        async with of(ada) as second:
            second.hello({A: None})
            bye, code = await second.goodbye()
            assert (bye["reconnect"], code) == (True, 4010)
            assert bye["retry_after_ms"][0] >= 1000
            assert second.kinds() == ["BYE"]


async def test_a_socket_from_after_the_row_but_before_its_commit_comes_once_more(ada: Any):
    inserted, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic():
            revoke(ada)
            inserted.set()
            assert go_on.wait(10)

    work = asyncio.create_task(workers.run(slowly))
    await asyncio.to_thread(inserted.wait)
    async with of(ada) as peer:
        await peer.greet({})
        go_on.set()
        await work
        bye, code = await peer.goodbye()
        assert (bye["reconnect"], code) == (True, 4010)


class Gate:
    """A hook stands in it until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.opened.wait(10)

    async def reached(self) -> None:
        await asyncio.to_thread(self.entered.wait, 10)


async def test_a_right_that_is_revoked_while_it_is_asked_for_is_not_given(ada: Any):
    gate = Gate()

    class Slow(Room):
        def can_subscribe(self, stream: str) -> bool:
            gate.pass_through()
            return True

    async with of(ada, Slow) as peer:
        await live(peer, OWN)
        peer.say("SUBSCRIBE", ref=1, streams={A: None})
        await gate.reached()
        await arevoke(ada, stream=A)
        assert (await peer.hear("ERROR", ref=1))["streams"] == [A]
        gate.opened.set()
        await peer.hear("SUBSCRIBED", ref=1)
        await publish_all(A, ["secret"])
        await peer.still_works(OWN)
        assert not [frame for frame in peer.heard if frame.get("stream") == A]


async def test_a_revocation_during_the_greeting_ends_it(ada: Any):
    gate = Gate()

    class Slow(Room):
        def get_streams(self) -> list[str]:
            gate.pass_through()
            return [A]

    async with of(ada, Slow) as peer:
        peer.hello({})
        await gate.reached()
        await arevoke(ada)
        gate.opened.set()
        await peer.goodbye()
        assert peer.kinds() == ["BYE"]


async def test_a_message_that_waits_for_its_right_is_refused(ada: Any):
    gate = Gate()
    began: list[Any] = []

    class Slow(Room):
        def can_send(self, stream: str, message: Any) -> bool:  # type: ignore[override]
            gate.pass_through()
            return True

        def receive_message(self, message: Any) -> Any:
            began.append(message.payload)

    async with of(ada, Slow) as peer:
        await live(peer, A)
        peer.message(A, 1)
        await gate.reached()
        await arevoke(ada)
        gate.opened.set()
        await peer.goodbye()
        await asyncio.sleep(0.1)
        assert not began


async def test_a_message_that_waits_for_a_thread_does_not_begin(
    ada: Any, configure: Callable[..., None], caplog: pytest.LogCaptureFixture
):
    gate = Gate()
    began: list[Any] = []

    class Busy(Room):
        def receive_message(self, message: Any) -> Any:
            began.append(message.payload)
            gate.pass_through()

    configure(THREADS=1)
    async with of(ada, Busy) as peer:
        await live(peer, A, B)
        first, second = peer.message(B, "first"), peer.message(A, "second")
        await gate.reached()
        get_hub().rights.apply([revocation.Cut(None, "", "", "", A, "revoked", time.time())])
        assert (await peer.hear("ERROR"))["streams"] == [A]
        gate.opened.set()
        assert (await peer.answer(first))["type"] == "ACK"
        answer = await peer.answer(second)
        assert (answer["type"], answer["retry"]) == ("REJECT", True)
        assert began == ["first"]


async def test_frames_that_wait_for_a_slow_peer_are_dropped(ada: Any):
    async with of(ada) as peer:
        await live(peer, A, B)
        peer.socket.block()
        await publish_all(A, ["the server holds this one"])
        for ref in range(5):
            peer.say("SUBSCRIBE", ref=ref, streams={B: None})
        await asyncio.sleep(0.1)
        await arevoke(ada)
        heard = len(peer.heard)
        peer.socket.unblock()
        await peer.goodbye()
        assert [frame["type"] for frame in peer.heard[heard:]][-1] == "BYE"
        assert len(peer.heard) <= heard + 2


async def test_ordinary_pages_are_closed_too(ada: Any, eve: Any):
    pages = [Socket(Old.as_asgi(), "/ws/", subprotocols=(), scope={"user": user}) for user in (ada, ada, eve)]
    for page in pages:
        await page.connect()
    await eventually(lambda: A in get_hub().feeds and len(get_hub().feeds[A].live) == 3)
    await arevoke(ada, stream=B)
    await eventually(lambda: len(get_hub().feeds[B].live) == 1)
    await publish_all(B, ["secret"])
    await publish_all(A, ["public"])
    for page in pages:
        await page.until(lambda page=page: "public" in str(page.sent))
        assert ("secret" in str(page.sent)) is (page is pages[2])
    await arevoke(ada)
    for page in pages[:2]:
        await page.until(lambda page=page: page.closed)
        assert page.closed is not None
        assert page.closed["code"] == 4503
    await publish_all(A, ["for the rest"])
    await pages[2].until(lambda: "for the rest" in str(pages[2].sent))
    assert not any("for the rest" in str(page.sent) for page in pages[:2])
    for page in pages:
        await page.close()
    assert not len(get_hub().rights)


async def test_a_failing_database_is_asked_until_it_answers(
    ada: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    real, failures = rights.read_after, []

    def read(*args: Any) -> Any:
        if len(failures) < 2:
            failures.append(args)
            raise DatabaseError("down")
        return real(*args)

    monkeypatch.setattr(rights, "LOOK", 0.1)
    async with of(ada) as peer:
        await live(peer, A)
        await asyncio.sleep(0.2)
        monkeypatch.setattr(rights, "read_after", read)
        with silent():
            await arevoke(ada)
        assert (await peer.goodbye())[1] == 4503
    assert len(failures) == 2
    assert caplog.text.count("Revocations couldn't be read") == 1


async def test_ids_that_are_committed_late_are_found(ada: Any, eve: Any):
    if (await sync_to_async(_vendor)()) == "sqlite":
        pytest.skip("one writer at a time: ids are committed in their order")
    inserted, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic():
            revoke(ada)
            inserted.set()
            assert go_on.wait(10)

    async with of(ada) as late, of(eve) as early:
        await live(late, A)
        await live(early, A)
        with silent():
            work = asyncio.create_task(workers.run(slowly))
            await asyncio.to_thread(inserted.wait)
            await arevoke(eve)
            assert (await early.goodbye())[1] == 4503
            go_on.set()
            await work
            assert (await late.goodbye())[1] == 4503


def _vendor() -> str:
    from django.db import connection

    return connection.vendor


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [({}, "needs"), ({"stream": "no stream"}, "stream name"), ({"user": AnonymousUser()}, "anybody")],
)
def test_bad_calls_are_refused(arguments: Any, wrong: str):
    with pytest.raises(ValueError, match=wrong):
        revoke(**arguments)


def test_old_revocations_are_forgotten_in_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(revocation, "BATCH", 2)
    revoke("kept")
    for n in range(5):
        Revocation.objects.create(identity=str(n), created=timezone.now() - timedelta(days=2))
    assert list(revocation.forget_revocations()) == [2, 2, 1]
    assert [row.identity for row in Revocation.objects.all()] == ["kept"]


async def test_nothing_is_read_while_nobody_is_there(ada: Any):
    assert not len(get_hub().rights)
    async with of(ada) as peer:
        await live(peer, A)
        assert len(get_hub().rights) == 1
    await eventually(lambda: not len(get_hub().rights))
    assert not get_hub().rights._services


async def test_revocations_are_found_again_after_the_table_was_restored(
    ada: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rights, "LOOK", 0.05)
    monkeypatch.setattr(rights, "RECENT", 0.5)
    async with of(ada) as peer:
        await live(peer, A)
        with silent():
            last = await Revocation.objects.acreate(pk=10_000, identity="somebody")
            await asyncio.sleep(0.2)
            await last.adelete()
            await Revocation.objects.acreate(pk=5, identity=f"user:{ada.pk}")
        assert (await peer.goodbye())[1] == 4503

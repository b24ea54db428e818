"""Snapshots over the socket: exact, shared, in parts, and never another's (design 7.7)."""

import asyncio
import json
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from reconnect_channels import publish
from reconnect_channels.live.hub import get_hub
from reconnect_channels.live.tap import PART, PARTS_AHEAD
from reconnect_channels.log import log_for
from reconnect_channels.models import StreamEntry
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, position_at, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


def payloads(stream: str) -> list[Any]:
    rows = StreamEntry.objects.filter(stream__name=stream).order_by("seq").values_list("text", flat=True)
    return [json.loads(text) for text in rows]


class Exact(NotesConsumer):
    """The state is the list of everything that was published."""

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return payloads(stream)


class AsyncExact(NotesConsumer):
    @classmethod
    async def get_snapshot(cls, stream: str) -> Any:
        return await sync_to_async(payloads)(stream)


def counting() -> tuple[list[str], Any]:
    """A consumer that notes every build."""
    builds: list[str] = []

    class Counting(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            builds.append(stream)
            return payloads(stream)

    return builds, Counting


async def snapshot(consumer: Any, stream: str = A, **scope: Any) -> dict[str, Any]:
    async with Peer(consumer, scope=scope) as peer:
        await peer.greet({stream: None})
        frame = await peer.sync(stream)
        assert frame["type"] == "SYNC_SNAPSHOT"
        return frame


class Publishing:
    """Publishes consecutive numbers from a thread of its own while the block runs."""

    def __init__(self, stream: str = A) -> None:
        self._stream = stream
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        from django.db import connections

        n = 0
        while not self._over.is_set():
            with transaction.atomic():
                for _ in range(1 + n % 3):
                    publish(self._stream, n)
                    n += 1
            self._over.wait(0.001)
        connections.close_all()

    async def __aenter__(self) -> "Publishing":
        self._thread.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over.set()
        await asyncio.to_thread(self._thread.join)


async def test_a_snapshot_is_the_fold_of_exactly_the_entries_up_to_its_seq():
    async with Publishing():
        for _ in range(60):
            frame = await snapshot(Exact)
            assert frame["exact"]
            assert frame["payload"] == list(range(frame["seq"]))
            assert frame["checksum"] == (await position_at(A, frame["seq"])).checksum
            get_hub().forget_snapshot(get_hub().feeds[A])


@pytest.mark.parametrize("consumer", [Exact, AsyncExact], ids=["def", "async def"])
async def test_state_and_entries_join_without_a_seam_under_publishing(consumer: Any):
    async with Publishing():
        for _ in range(10):
            async with StreamCommunicator(consumer.as_asgi(), "/ws/") as client:
                client.subscribe(A)
                await client.live(A)
                count = len(client.applied[A])
                await client.until(lambda count=count: len(client.applied[A]) > count + 3)
                tail = [entry.payload for entry in client.applied[A]]
                state = client.states[A]
                first = client.applied[A][0].seq - 1
                assert state[:first] + tail == list(range(first + len(tail)))
                assert len(state) >= first  # inexact: the state may know more than its position says
            get_hub().forget_snapshot(get_hub().feeds[A])


async def test_an_async_snapshot_is_exact_where_nothing_came_between():
    await publish_all(A, range(3))
    frame = await snapshot(AsyncExact)
    assert (frame["payload"], frame["seq"], frame["exact"]) == ([0, 1, 2], 3, True)


@pytest.mark.parametrize(("disturbed", "exact"), [(1, True), (2, True), (3, False)])
async def test_an_async_snapshot_is_tried_three_times(disturbed: int, exact: bool):
    calls = 0

    class Disturbed(NotesConsumer):
        @classmethod
        async def get_snapshot(cls, stream: str) -> Any:
            nonlocal calls
            calls += 1
            state = await sync_to_async(payloads)(stream)
            if calls <= disturbed:
                await publish_all(stream, [calls])
            return state

    frame = await snapshot(Disturbed)
    assert (frame["exact"], calls) == (exact, min(disturbed + 1, 3))
    assert frame["seq"] == len(frame["payload"]) == min(disturbed, 2)


async def test_one_build_serves_all_who_ask():
    builds, consumer = counting()
    await publish_all(A, range(3))
    frames = await asyncio.gather(*(snapshot(consumer) for _ in range(30)))
    assert {frame["seq"] for frame in frames} == {3}
    assert len(builds) == 1


async def test_a_snapshot_is_used_again_while_its_delta_is_short(configure: Any):
    configure(SNAPSHOT_REUSE=10)
    builds, consumer = counting()
    await publish_all(A, range(3))
    assert (await snapshot(consumer))["seq"] == 3
    await publish_all(A, range(10))
    assert (await snapshot(consumer))["seq"] == 3
    async with StreamCommunicator(consumer.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        assert [entry.seq for entry in client.applied[A]] == list(range(4, 14))
    await publish_all(A, [1])
    assert (await snapshot(consumer))["seq"] == 14
    assert len(builds) == 2


async def test_a_snapshot_whose_position_was_trimmed_is_built_anew():
    builds, consumer = counting()
    await publish_all(A, range(3))
    await snapshot(consumer)
    await publish_all(A, range(5))
    await sync_to_async(log_for(A).trim)(A, 6)
    assert (await snapshot(consumer))["seq"] == 8
    assert len(builds) == 2


async def test_a_snapshot_of_another_epoch_is_built_anew():
    builds, consumer = counting()
    [entry] = await publish_all(A, [1])
    await snapshot(consumer)
    head = await sync_to_async(log_for(A).new_epoch)(A, entry.epoch)
    assert (await snapshot(consumer))["epoch"] == head.epoch
    assert len(builds) == 2


async def test_another_version_or_class_has_its_own_snapshot():
    builds, consumer = counting()
    await snapshot(consumer)
    await snapshot(type("Other", (consumer,), {}))
    consumer.snapshot_version = 2
    await snapshot(consumer)
    assert len(builds) == 3


async def test_at_most_a_few_builds_run_at_once(configure: Any):
    configure(SNAPSHOT_BUILDS=2)
    running, most = 0, 0

    class Busy(NotesConsumer):
        @classmethod
        async def get_snapshot(cls, stream: str) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await eventually(lambda: most >= 2)
            running -= 1
            return stream

    frames = await asyncio.gather(*(snapshot(Busy, f"notes:{n}") for n in range(8)))
    assert [frame["payload"] for frame in frames] == [f"notes:{n}" for n in range(8)]
    assert most == 2


async def test_nobody_sees_the_snapshot_of_another():
    class Inbox(NotesConsumer):
        def get_streams(self) -> list[str]:
            return [f"inbox:{self.scope['name']}"]

        def can_subscribe(self, stream: str) -> bool:
            return False

        @classmethod
        async def get_snapshot(cls, stream: str) -> Any:
            await asyncio.sleep(0)
            return {"secret of": stream}

    async def visit(name: str) -> None:
        async with Peer(Inbox, scope={"name": name}) as peer:
            await peer.greet({f"inbox:{other}": None for other in ("anna", "bert")})
            await peer.hear("ERROR", code=403)
            await peer.sync(f"inbox:{name}")
            await peer.hear("SYNC_DELTA")
            other = "bert" if name == "anna" else "anna"
            assert f"secret of': 'inbox:{other}" not in str(peer.heard)
            assert f"secret of': 'inbox:{name}" in str(peer.heard)

    await asyncio.gather(*(visit(name) for name in ["anna", "bert"] * 10))


@pytest.mark.parametrize("text", ["x" * 700_000, 'é"\\😀' * 80_000], ids=["ascii", "escapes and emoji"])
async def test_a_large_snapshot_comes_in_parts_few_of_them_ahead_of_the_acks(text: str):
    class Large(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return {"text": text}

    await publish_all(A, [1])
    async with Peer(Large) as peer:
        await peer.greet({A: None})
        chunks: list[str] = []
        while True:
            frame = await peer.sync(A)
            assert (frame["type"], frame["seq"], frame["reason"]) == ("SYNC_SNAPSHOT", 1, "new")
            assert "payload" not in frame
            assert frame["part"] == len(chunks) + 1
            chunks.append(frame["chunk"])
            assert len(frame["chunk"]) <= PART
            ahead = min(frame["part"] - 1 + PARTS_AHEAD, frame["parts"])
            await eventually(lambda ahead=ahead: peer.kinds(A).count("SYNC_SNAPSHOT") >= ahead)
            assert peer.kinds(A).count("SYNC_SNAPSHOT") == ahead  # nothing more comes unasked
            if frame["part"] == frame["parts"]:
                break
            peer.say("ACK", streams={}, parts={A: frame["part"]})
        assert json.loads("".join(chunks)) == {"text": text}
        await publish_all(A, [2])
        await peer.hear("SYNC_DELTA", to=2)


async def test_a_client_puts_the_parts_together_whatever_is_published_meanwhile():
    class Large(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return ["x" * 1_000] * 1_000 + payloads(stream)

    async with Publishing(), StreamCommunicator(Large.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        await client.until(lambda: len(client.applied[A]) > 5)
        numbers = client.states[A][1_000:] + [entry.payload for entry in client.applied[A]]
        assert numbers == list(range(len(numbers)))


async def test_parts_that_are_not_acknowledged_end_with_4008(monkeypatch: pytest.MonkeyPatch, quick: None):
    from reconnect_channels.live import connection
    from reconnect_channels.protocol.limits import Limits

    monkeypatch.setattr(connection, "_limits", lambda: Limits(ack_timeout=0.1))

    class Large(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return "x" * 600_000

    async with Peer(Large) as peer:
        await peer.greet({A: None})
        assert (await peer.goodbye())[1] == 4008
        assert peer.kinds(A) == ["SYNC_SNAPSHOT"] * PARTS_AHEAD


@pytest.mark.parametrize(("size", "allowed"), [(4 << 20, True), ((4 << 20) + 1, False)])
async def test_a_snapshot_above_4_mib_is_refused_and_the_other_streams_live(size: int, allowed: bool):
    class Huge(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return "x" * (size - 2) if stream == A else None

    async with Peer(Huge) as peer:
        await peer.greet({A: None, "notes:b": None})
        await peer.hear("SYNC_DELTA", stream="notes:b", complete=True)
        await eventually(lambda: peer.kinds(A) or "ERROR" in peer.kinds())
        if allowed:
            assert set(peer.kinds(A)) == {"SYNC_SNAPSHOT"}
        else:
            [error] = [frame for frame in peer.heard if frame["type"] == "ERROR"]
            assert (error["code"], error["reason"]) == (413, "SNAPSHOT_SIZE")
            assert error["streams"] == [A]
            assert not peer.kinds(A)
        await peer.still_works("notes:b")


@pytest.mark.parametrize("state", [object(), "\ud800"], ids=["an object", "a lone surrogate"])
async def test_a_snapshot_that_cannot_be_sent_is_unavailable(state: Any):
    class Odd(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return state

    await expect_unavailable(Odd)


async def test_a_failing_get_snapshot_is_unavailable_and_tried_again():
    fails = True

    class Failing(NotesConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            if fails:
                raise RuntimeError("the hook's defect")
            return "state"

    await expect_unavailable(Failing)
    fails = False
    assert (await snapshot(Failing))["payload"] == "state"


async def expect_unavailable(consumer: Any) -> None:
    async with Peer(consumer) as peer:
        await peer.greet({A: None})
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"], error["streams"]) == (503, "UNAVAILABLE", [A])
        assert error["retry_after_ms"] > 0
        assert "defect" not in str(error)
        await peer.still_works()

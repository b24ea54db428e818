"""Drift is known while it lasts, healed by a snapshot, and bounded for whoever claims it (design 5.5, 12)."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from reconnect_channels import drift
from reconnect_channels.live.hub import close_hub
from reconnect_channels.models import ClientSession, DriftReport
from reconnect_channels.protocol.position import Position
from reconnect_channels.telemetry import events
from reconnect_channels.telemetry.events import Sampled
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Board(NotesConsumer):
    """With a snapshot hook, whose calls are counted."""

    channel_layer_alias = None
    builds: list[str] = []

    def get_identity(self) -> str | None:
        return self.scope.get("who", "ada")  # type: ignore[no-any-return]

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        cls.builds.append(stream)
        return {}


@pytest.fixture(autouse=True)
async def often(configure: Callable[..., None]) -> AsyncIterator[None]:
    configure(SESSION_FLUSH=0.02)
    Board.builds.clear()
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def told() -> Iterator[list[NamedTuple]]:
    """What operators are told."""
    heard: list[NamedTuple] = []
    events.listeners.append(heard.append)
    yield heard
    events.listeners.remove(heard.append)


def peer(client_id: str = "c", /, **scope: Any) -> Peer:
    one = Peer(Board, scope=scope)
    one.client_id = client_id
    return one


def wrong(position: Position) -> Position:
    return position._replace(checksum=(position.checksum + 1) % 1_000_000)


def sampled(told: list[NamedTuple], *wanted: int) -> Callable[[], bool]:
    """Whether the newest sample is as wanted: live, diverged, lagging, drifted."""
    return lambda: [one for one in told if isinstance(one, Sampled)][-1:] == [Sampled(*wanted)]


async def drifts(client: str, drift: str) -> None:
    await eventually(ClientSession.objects.filter(client_id=client, state="live", drift=drift).aexists)


async def test_a_session_is_diverged_until_it_acknowledges_the_snapshot(told: list[NamedTuple]):
    last = (await publish_all(A, range(3)))[-1].position
    async with peer() as one:
        await one.greet({A: last})
        await one.sync(A)
        await eventually(sampled(told, 1, 0, 0, 0))
        one.say("PONG", t=1, streams={A: wrong(last)})
        assert (await one.sync(A))["reason"] == "diverged"
        await eventually(sampled(told, 1, 1, 0, 1))
        await drifts("c", "diverged")
        one.say("ACK", streams={A: last})
        await eventually(sampled(told, 1, 0, 0, 0))
        await drifts("c", "")
    moves = [event.drift for event in told if isinstance(event, events.DriftMoved)]
    assert moves == ["diverged", ""]


@pytest.mark.usefixtures("quick")
async def test_a_real_client_whose_position_was_damaged_heals_by_its_heartbeat(
    told: list[NamedTuple], configure: Callable[..., None]
):
    configure(HEARTBEAT=0.1)
    await publish_all(A, range(3))
    async with StreamCommunicator(Board.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        await client.live(A)
        tracker = client.session.trackers[A]
        assert tracker.position is not None
        right = tracker.position
        tracker.position = tracker.applied = wrong(right)
        await client.until(lambda: tracker.position == right)
        await eventually(lambda: [event for event in told if event[1:] == ("",)])
    moves = [event.drift for event in told if isinstance(event, events.DriftMoved)]
    assert moves == ["diverged", ""]
    assert len([event for event in told if isinstance(event, events.Drifted)]) == 1


async def test_who_comes_back_diverged_is_counted_and_its_report_names_the_trace(told: list[NamedTuple]):
    last = (await publish_all(A, range(3)))[-1].position
    async with peer() as one:
        await one.greet({A: wrong(last)}, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        await one.sync(A)
        await eventually(sampled(told, 1, 1, 0, 1))
        one.say("ACK", streams={A: last})
        await eventually(sampled(told, 1, 0, 0, 0))
    await eventually(DriftReport.objects.filter(trace_id=TRACE, identity="ada").aexists)


async def test_who_speaks_but_leaves_entries_unacknowledged_lags(
    told: list[NamedTuple], configure: Callable[..., None]
):
    configure(LAG_GRACE=0.001)
    start = (await publish_all(A, [1]))[-1].position
    async with peer() as one:
        await one.greet({A: start})
        await one.hear("SYNC_DELTA", complete=True)
        last = (await publish_all(A, [2]))[-1].position
        await one.hear("SYNC_DELTA", to=2)

        def lags() -> bool:
            one.say("PONG", t=1, streams={A: start})
            return sampled(told, 1, 0, 1, 1)()

        await eventually(lags)
        await drifts("c", "lagging")
        one.say("PONG", t=1, streams={A: last})
        await eventually(sampled(told, 1, 0, 0, 0))
    assert not await DriftReport.objects.aexists()


async def test_who_is_silent_or_has_nothing_to_acknowledge_does_not_lag(
    told: list[NamedTuple], configure: Callable[..., None]
):
    configure(LAG_GRACE=0.001)
    async with peer("silent") as silent, peer("idle") as idle:
        for one in (silent, idle):
            await one.greet({A: None})
            await one.hear("SYNC_DELTA", complete=True)
        last = (await publish_all(A, [1]))[-1].position
        for one in (silent, idle):
            await one.hear("SYNC_DELTA", to=1)
        for _ in range(3):
            idle.say("PONG", t=1, streams={A: last})
            told.clear()
            await eventually(sampled(told, 2, 0, 0, 0))
    assert not [event for event in told if isinstance(event, events.DriftMoved)]


async def test_many_sockets_of_one_identity_are_one_that_drifts(told: list[NamedTuple]):
    last = (await publish_all(A, range(3)))[-1].position
    async with peer("1") as one, peer("2") as two, peer("3", who="bob") as three:
        for each in (one, two, three):
            await each.greet({A: wrong(last)})
            await each.sync(A)
        await eventually(sampled(told, 3, 3, 0, 2))
        await one.socket.close()
        await three.socket.close()
        await eventually(sampled(told, 1, 1, 0, 1))


async def test_guests_at_one_address_are_one_that_drifts(told: list[NamedTuple]):
    last = (await publish_all(A, range(3)))[-1].position
    scope = {"who": None, "client": ("8.8.8.8", 1)}
    async with peer("1", **scope) as one, peer("2", **scope) as two:
        for each in (one, two):
            await each.greet({A: wrong(last)})
            await each.sync(A)
        await eventually(sampled(told, 2, 2, 0, 1))


async def test_a_node_that_ends_leaves_zeros(told: list[NamedTuple]):
    async with peer() as one:
        await one.greet({A: None})
        await eventually(sampled(told, 1, 0, 0, 0))
        await close_hub()
        assert sampled(told, 0, 0, 0, 0)()


async def test_a_client_that_drifts_again_and_again_gets_429_and_its_socket_lives(told: list[NamedTuple]):
    last = (await publish_all(A, range(3)))[-1].position
    async with peer() as one:
        await one.greet({A: last})
        await one.sync(A)
        for _ in range(drift.HEALS):
            one.say("PONG", t=1, streams={A: wrong(last)})
            one.say("PONG", t=1, streams={A: wrong(last)})  # the same drift still
            await one.hear("SYNC_SNAPSHOT", stream=A, reason="diverged")
            one.say("ACK", streams={A: last})
        one.say("PONG", t=1, streams={A: wrong(last)})
        error = await one.hear("ERROR")
        assert (error["code"], error["streams"], error["retry_after_ms"]) == (429, [A], 60_000)
        await one.still_works()
    assert len([event for event in told if isinstance(event, events.Drifted)]) == 1


async def test_an_identity_with_endless_clients_asks_for_few_rows_and_one_build():
    last = (await publish_all(A, range(3)))[-1].position
    for client in range(drift.REPORTS + 10):
        async with peer(f"c{client}") as one:
            await one.greet({A: wrong(last)})
            assert (await one.sync(A))["reason"] == "diverged"
    await close_hub()
    assert 0 < await DriftReport.objects.acount() <= drift.REPORTS + 5  # some more a minute
    assert Board.builds == [A]


# -- rows ------------------------------------------------------------------------------------------


def report(client: str, identity: str = "ada", stream: str = A) -> None:
    drift.report(stream, identity, client, Position("e", 1, 1), None)


def clients(**wanted: Any) -> list[str]:
    return list(DriftReport.objects.filter(**wanted).order_by("pk").values_list("client_id", flat=True))


def test_of_one_identity_the_oldest_reports_are_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drift, "PER_IDENTITY", 3)
    report("bob's", "bob")
    for client in "abcdef":
        report(client)
        report(client)
    report("d")
    assert clients(identity="ada") == ["d", "e", "f"]
    assert clients(identity="bob") == ["bob's"]


def test_of_all_reports_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drift, "IN_ALL", 3)
    for client in "abcde":
        report(client, f"guest:{client}")
    assert clients() == ["c", "d", "e"]


def test_a_client_id_that_no_column_takes_is_reported_all_the_same():
    report("\0" + "x" * 300 + "\ud800", "y" * 300)
    assert DriftReport.objects.get().client_id.startswith("\ufffdxxx")


# -- memory ----------------------------------------------------------------------------------------


def test_drifts_are_counted_by_client_and_stream_for_a_minute():
    watch = drift.Watch()
    assert [watch.times("c", A, at) for at in (0.0, 1.0, 59.9)] == [1, 2, 3]
    assert watch.times("c", "notes:b", 1.0) == 1
    assert watch.times("d", A, 1.0) == 1
    assert [watch.times("c", A, at) for at in (60.0, 61.0)] == [1, 2]


def test_one_crowd_asks_for_few_rows_and_takes_none_from_others():
    watch = drift.Watch()
    asked = [watch.may_report("identity ada", 0.0) for _ in range(1_000)]
    assert asked.count(True) == drift.REPORTS
    assert watch.may_report("identity bob", 0.0)
    assert [watch.may_report("identity ada", 60.0) for _ in range(1_000)].count(True) == drift.REPORTS


def test_memory_of_endless_clients_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drift, "REMEMBERED", 10)
    watch = drift.Watch()
    for i in range(100):
        assert watch.times(i, A, 0.0) == 1
        assert watch.may_report(str(i), 0.0)
    assert len(watch._seen) == len(watch._reports) == 10

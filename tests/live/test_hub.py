"""The hub against a channel layer with faults, against bursts, and against slow sockets (design 9)."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async

from reconnect_channels import announcement, news
from reconnect_channels.live import healing
from reconnect_channels.live.feed import Feed
from reconnect_channels.live.hub import get_hub
from reconnect_channels.log import log_for
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.models import Stream
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.window import Page
from reconnect_channels.telemetry.events import HoleHealed
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.layers import FaultyLayer
from tests.live.peer import Peer, eventually, position_at, publish_all, publish_elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


class Alone(NotesConsumer):
    """Without a channel of its own on the layer: a consumer of streams needs none."""

    channel_layer_alias = None


async def follow(client: StreamCommunicator, stream: str = A) -> None:
    client.subscribe(stream)
    await client.live(stream)


async def has_all(client: StreamCommunicator, count: int, stream: str = A) -> None:
    """The client has applied entries 1…count, each once, in order, and holds the log's position."""
    await client.until(lambda: len(client.applied.get(stream, ())) >= count)
    assert [entry.seq for entry in client.applied[stream]] == list(range(1, count + 1))
    assert client.session.trackers[stream].position == await position_at(stream, count)


async def announce(entries: list[Entry]) -> None:
    """As another process announces: by the layer alone."""
    await sync_to_async(announcement.announce)(entries)


async def grouped(layer: FaultyLayer, stream: str = A) -> None:
    await eventually(lambda: layer.groups.get(announcement.group_name(stream)))


def client() -> StreamCommunicator:
    return StreamCommunicator(NotesConsumer.as_asgi(), "/ws/")


# -- the layer's faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [{}, {"drop": 0.3}, {"repeat": 0.5}, {"swap": 0.5}, {"drop": 0.3, "repeat": 0.3, "swap": 0.3}],
    ids=["none", "drops", "repeats", "reorders", "all"],
)
async def test_what_the_layer_does_changes_nothing_in_what_clients_apply(
    faults: dict[str, float], faulty: FaultyLayer, quick: None
):
    for name, share in faults.items():
        setattr(faulty, name, share)
    async with client() as one, client() as two:
        for each in (one, two):
            await follow(each)
        await grouped(faulty)
        sizes = random.Random(2)
        for n in range(40):
            await publish_elsewhere(A, [n] * sizes.choice((1, 1, 3)))
        head = (await sync_to_async(log_for(A).heads)([A]))[A].seq
        for each in (one, two):
            await has_all(each, head)
        assert one.session.metrics["heals"] == two.session.metrics["heals"] == 0  # the hub healed, not they


async def test_a_hole_is_filled_from_the_log_once_for_all_sockets(
    faulty: FaultyLayer, patient: None, monkeypatch: pytest.MonkeyPatch, told: list[NamedTuple]
):
    peers = [Peer() for _ in range(20)]
    for peer in peers:
        await peer.socket.connect()
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
    await grouped(faulty)
    calls = count_calls(monkeypatch)
    lost = await unannounced([1, 2])
    await publish_elsewhere(A, [3])
    for peer in peers:
        frame = await peer.sync(A)
        while frame["to"] < 3:
            frame = await peer.sync(A)
        await peer.socket.close()
    assert lost[0].seq == 1
    assert calls["read"] <= 2
    assert HoleHealed(A) in told


async def unannounced(payloads: list[Any]) -> list[Entry]:
    """Committed, but its process died before it told anybody."""
    announce, announcement.announce = announcement.announce, lambda entries: None
    try:
        from reconnect_channels import publication

        publication.announce = announcement.announce
        return await publish_all(A, payloads)
    finally:
        announcement.announce = publication.announce = announce


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]) -> None:
    """No head check heals anything within the test."""
    monkeypatch.setattr(healing, "AFTER_BURST", 60)
    configure(HEAD_CHECK=60)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the calls on the log from here on."""
    calls = dict.fromkeys(("heads", "read", "checksum_at"), 0)
    for name in calls:
        original = getattr(DatabaseLog, name)

        def counted(*args: Any, _name: str = name, _original: Any = original) -> Any:
            calls[_name] += 1
            return _original(*args)

        monkeypatch.setattr(DatabaseLog, name, counted)
    return calls


async def test_a_lost_tail_is_found_by_the_head_check(configure: Callable[..., None]):
    configure(HEAD_CHECK=0.05)
    async with client() as one:
        await follow(one)
        await unannounced([1, 2, 3])
        await has_all(one, 3)


async def test_the_end_of_a_burst_is_looked_for_soon(faulty: FaultyLayer, quick: None):
    async with client() as one:
        await follow(one)
        await grouped(faulty)
        faulty_messages = [await publish_elsewhere(A, [1])]
        await unannounced([2])
        await has_all(one, 2)
        assert faulty_messages


async def test_a_large_batch_is_a_mere_wake_up(faulty: FaultyLayer, patient: None):
    async with client() as one:
        await follow(one)
        await grouped(faulty)
        entries = await publish_elsewhere(A, ["x" * 30_000] * 3)
        assert announcement.layer_message(entries)["entries"] is None
        await has_all(one, 3)


async def test_an_entry_of_another_history_is_not_applied(faulty: FaultyLayer, quick: None):
    async with client() as one:
        await follow(one)
        await grouped(faulty)
        [entry] = await publish_elsewhere(A, [1])
        await has_all(one, 1)
        await announce([entry._replace(seq=2, id="0" * 36, checksum=5)])
        await announce([entry._replace(seq=9, epoch="other")])
        await announce([entry._replace(seq=1, checksum=5)])
        await publish_elsewhere(A, [2])
        await has_all(one, 2)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"stream": A, "entries": [[1, 2]]},
        {"stream": A, "entries": 7},
        {"stream": A, "entries": [["e", "1", "id", "x", None, None, 5]]},
        {"stream": 5, "entries": None},
    ],
    ids=["nothing", "few fields", "no list", "wrong types", "no name"],
)
async def test_a_layer_message_that_cannot_be_read_stops_nothing(
    message: dict[str, Any], faulty: FaultyLayer, patient: None
):
    async with client() as one:
        await follow(one)
        await grouped(faulty)
        await faulty.group_send(announcement.group_name(A), {"type": announcement.MESSAGE_TYPE, **message})
        await publish_elsewhere(A, [1])
        await has_all(one, 1)


async def test_a_layer_that_fails_drops_no_socket_and_is_joined_again(
    faulty: FaultyLayer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(healing, "AFTER_BURST", 0.01)
    async with StreamCommunicator(Alone.as_asgi(), "/ws/") as one:
        await follow(one)
        await grouped(faulty)
        faulty.fail()
        await publish_elsewhere(A, [1])
        async with StreamCommunicator(Alone.as_asgi(), "/ws/") as two:  # a newcomer while the layer is down
            await follow(two)
            await has_all(two, 1)
            faulty.repair()
            await grouped(faulty)
            await has_all(one, 1)
            monkeypatch.setattr(healing, "AFTER_BURST", 60)
            await publish_elsewhere(A, [2])
            for each in (one, two):
                await has_all(each, 2)
                assert each.socket is not None
                assert each.socket.closed is None


async def test_a_group_that_could_not_be_joined_is_joined_with_the_next_head_check(
    faulty: FaultyLayer, configure: Callable[..., None]
):
    configure(HEAD_CHECK=0.05)
    async with client() as one:
        await follow(one, "notes:first")
        await grouped(faulty, "notes:first")
        faulty.broken = True  # who waits for a message doesn't notice, as with Redis' pub/sub
        await follow(one)
        faulty.repair(forget=False)
        await grouped(faulty)


async def test_without_any_layer_the_log_is_enough(settings: Any, configure: Callable[..., None]):
    settings.CHANNEL_LAYERS = {}
    configure(HEAD_CHECK=0.05)

    async with StreamCommunicator(Alone.as_asgi(), "/ws/") as one:
        await follow(one)
        await publish_all(A, [1])
        await publish_elsewhere(A, [2])
        await has_all(one, 2)


async def test_a_new_epoch_made_by_another_node_resyncs_live_clients(configure: Callable[..., None]):
    configure(HEAD_CHECK=0.05)
    await publish_all(A, [1, 2])
    async with Peer() as peer:
        await peer.greet({A: await position_at(A, 2)})
        await peer.hear("SYNC_DELTA", complete=True)
        epoch = (await Stream.objects.aget(name=A)).epoch
        head = await sync_to_async(log_for(A).new_epoch)(A, epoch)
        frame = await peer.sync(A)
        assert (frame["type"], frame["reason"], frame["epoch"]) == ("SYNC_SNAPSHOT", "epoch", head.epoch)
        await publish_all(A, [3])
        await peer.hear("SYNC_DELTA", to=3, complete=True)
        assert peer.kinds(A).count("SYNC_SNAPSHOT") == 1


async def test_a_dropped_stream_begins_anew(configure: Callable[..., None]):
    configure(HEAD_CHECK=0.05)
    await publish_all(A, [1, 2])
    async with Peer() as peer:
        await peer.greet({A: await position_at(A, 2)})
        await peer.hear("SYNC_DELTA", complete=True)
        await sync_to_async(log_for(A).drop)(A)
        frame = await peer.sync(A)
        assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "epoch", 0)
        await publish_all(A, [1])
        await peer.hear("SYNC_DELTA", to=1)


# -- fan-out ------------------------------------------------------------------------------------------------


async def test_entries_that_come_together_go_out_together():
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        await publish_all(A, range(300))
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"], frame["complete"]) == (0, 300, True)


async def test_entries_that_pile_up_while_the_loop_is_busy_go_out_as_one_frame():
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        entries = await unannounced(list(range(50)))
        for entry in entries:  # fifty announcements between two turns of the loop
            get_hub().healing.receive(A, [entry])
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"]) == (0, 50)
        await publish_all(A, ["alone"])
        assert (await peer.sync(A))["from"] == 50


async def test_everybody_gets_the_same_frame_made_once():
    peers = [Peer() for _ in range(3)]
    for peer in peers:
        await peer.socket.connect()
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
    await publish_all(A, [1])
    for peer in peers:
        await peer.hear("SYNC_DELTA", to=1)
    assert len({id(peer.socket.sent[-1]) for peer in peers}) == 1
    for peer in peers:
        await peer.socket.close()


async def test_a_batch_larger_than_the_ring_reaches_everybody_from_the_log():
    async with client() as one:
        await follow(one)
        await publish_all(A, range(2_500))
        await has_all(one, 2_500)


@pytest.mark.parametrize("missed", [600, 2_500], ids=["filled", "jumped"])
async def test_a_hub_that_was_deaf_catches_up(missed: int, configure: Callable[..., None]):
    configure(HEAD_CHECK=0.05)
    async with client() as one:
        await follow(one)
        await publish_elsewhere(A, range(missed))
        await has_all(one, missed)


async def test_a_blocked_socket_delays_nobody_and_catches_up():
    async with Peer() as slow, client() as other:
        await slow.greet({A: None})
        await slow.hear("SYNC_DELTA", complete=True)
        await follow(other)
        slow.socket.block()
        sent = len(slow.socket.sent)
        for n in range(20):
            await publish_all(A, [n])
        await has_all(other, 20)
        assert len(slow.socket.sent) == sent
        slow.socket.unblock()
        seqs: list[int] = []
        while not seqs or seqs[-1] < 20:
            seqs += [entry["seq"] for entry in (await slow.sync(A))["payload"]]
        assert seqs == list(range(1, 21))


@pytest.mark.parametrize(
    ("payload", "count"), [("small", 1_300), ("x" * 40_000, 35)], ids=["1000 entries", "1 MiB"]
)
async def test_an_unacknowledged_window_holds_back_its_stream_alone(payload: str, count: int):
    async with Peer() as peer:
        await peer.greet({A: None, "notes:b": None})
        for _ in range(2):
            await peer.hear("SYNC_DELTA", complete=True)
        entries = []
        for start in range(0, count, 50):
            entries += await publish_all(A, [payload] * min(50, count - start))
        await publish_all("notes:b", ["other"])
        await peer.hear("SYNC_DELTA", stream="notes:b", to=1)
        got = [entry for frame in frames(peer) for entry in frame["payload"]]
        assert len(got) < count
        assert len(got) <= 1_050  # the batch that began within the window
        assert sum(len(str(entry)) for entry in got) < (1 << 20) + 50 * 41_000
        held = len(frames(peer))
        peer.say("ACK", streams={A: entries[len(got) - 1].position})
        while frames(peer)[-1]["to"] < count:
            last = await peer.sync(A)
            peer.say("ACK", streams={A: entries[last["to"] - 1].position})
        assert len(frames(peer)) > held
        seqs = [entry["seq"] for frame in frames(peer) for entry in frame["payload"]]
        assert seqs == list(range(1, count + 1))
        await publish_all(A, ["live again"])
        assert (await peer.hear("SYNC_DELTA", to=count + 1))["from"] == count


def frames(peer: Peer) -> list[dict[str, Any]]:
    return [f for f in peer.heard if f["type"] == "SYNC_DELTA" and f["stream"] == A]


async def test_who_falls_behind_owing_no_acknowledgement_is_asked_for_one():
    """More than a page is un-ACKed, and less than what makes a client acknowledge of its own accord."""
    async with client() as one:
        await follow(one)
        for n in range(0, 200, 50):
            await publish_all(A, ["x" * 100] * 50)
            await has_all(one, n + 50)
        assert one.socket is not None
        one.socket.block()
        for n in range(2):  # the first waits in the server, the second is left to the log
            await publish_all(A, [n])
        one.socket.unblock()
        await has_all(one, 202)


async def test_what_comes_while_a_last_page_is_on_its_way_follows_at_once(monkeypatch: pytest.MonkeyPatch):
    """That page says `complete`, so no ACK is owed for it, and it alone is more than is sent unasked."""
    await publish_all(A, ["x" * 20_000])
    hub, late = get_hub(), iter([["late"]])
    page = hub.page

    async def overtaken(feed: Feed, *args: Any) -> Page:
        found = await page(feed, *args)
        for payloads in late:
            await publish_all(A, payloads)
            await eventually(lambda: feed.position.seq == 2)
        return found

    monkeypatch.setattr(hub, "page", overtaken)
    async with client() as one:
        await follow(one)
        await has_all(one, 2)


async def test_a_sender_that_acknowledges_as_it_should_is_never_held_back():
    async with client() as one:
        await follow(one)
        for n in range(0, 3_000, 60):
            await publish_all(A, range(n, n + 60))
        await has_all(one, 3_000)


async def test_what_may_not_be_read_costs_neither_the_log_nor_the_layer(faulty: FaultyLayer, quick: None):
    async with Peer(Alone) as peer:
        await peer.greet({A: None, "notes:secret": None})
        peer.say("SUBSCRIBE", ref=1, streams={f"unknown:{n}": None for n in range(50)})
        await peer.hear("ERROR", code=403, ref=1)
        await peer.hear("SYNC_DELTA", complete=True)
        await unannounced([1])
        get_hub().healing.suspect(A)  # after it, every older suspicion was looked into too
        await peer.hear("SYNC_DELTA", to=1)
        assert [stream.name async for stream in Stream.objects.all()] == [A]
        assert set(faulty.groups) == {announcement.group_name(A), news.GROUP}


# -- life of a feed ------------------------------------------------------------------------------------------


async def test_a_stream_without_subscribers_is_left_after_the_grace(
    faulty: FaultyLayer, configure: Callable[..., None]
):
    configure(GRACE=0.1)
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        await grouped(faulty)
    assert A in get_hub().feeds
    async with Peer() as peer:  # a reload, within the grace
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
    assert announcement.group_name(A) in faulty.groups
    await eventually(lambda: not get_hub().feeds and not faulty.groups)
    assert not announcement.listeners
    async with Peer() as peer:  # and again, as new
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        await grouped(faulty)
        await publish_elsewhere(A, [1])
        await peer.hear("SYNC_DELTA", to=1)


async def test_a_herd_that_resumes_costs_a_bounded_number_of_reads(monkeypatch: pytest.MonkeyPatch):
    entries = await publish_all(A, range(400))
    herd = [client() for _ in range(200)]
    for each in herd:
        each.subscribe(A)
        each.session.trackers[A].position = entries[99].position
    calls = count_calls(monkeypatch)
    try:
        await asyncio.gather(*(each.connect(timeout=20) for each in herd))
        await asyncio.gather(*(each.live(A, timeout=20) for each in herd))
        for each in herd:
            assert [entry.seq for entry in each.applied[A]] == list(range(101, 401))
        assert sum(calls.values()) < 30, calls
    finally:
        for each in herd:
            await each.close()

"""Every row of the recovery decision (design 5.5), at its boundaries, over a socket and a real log."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from reconnect_channels import drift
from reconnect_channels.live.hub import close_hub, get_hub
from reconnect_channels.log import log_for
from reconnect_channels.models import DriftReport, Stream, StreamEntry
from reconnect_channels.protocol.position import MODULUS, Position
from reconnect_channels.publication import publish_many
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, position_at, publish_all, publish_elsewhere, unheard

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


class Board(NotesConsumer):
    """With a snapshot hook: how many entries there are."""

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return {"entries": StreamEntry.objects.filter(stream__name=stream).count()}


@sync_to_async
def trim(stream: str, floor: int) -> None:
    log_for(stream).trim(stream, floor)


@sync_to_async
@transaction.atomic
def roll_back(stream: str, head: int, refill: int = 0) -> None:
    """Restores an older state of the stream, as from a backup, and goes on with other entries."""
    row = Stream.objects.get(name=stream)
    row.entries.filter(seq__gt=head).delete()
    last = row.entries.filter(seq=head).first()
    Stream.objects.filter(pk=row.pk).update(head=head, checksum=last.checksum if last else row.floor_checksum)
    publish_many([(stream, "other")] * refill)


async def first_sync(position: Position | None, stream: str = A, consumer: Any = Board) -> dict[str, Any]:
    """What a resume with this position is answered first."""
    async with Peer(consumer) as peer:
        await peer.greet({stream: position}, client_id="first")
        return await peer.sync(stream)


async def test_gaps_up_to_5000_are_answered_with_deltas_and_larger_ones_with_a_snapshot():
    await publish_all(A, range(5_001))
    for gap, seq in ((4_999, 2), (5_000, 1)):
        frame = await first_sync(await position_at(A, seq))
        assert (frame["type"], frame["from"]) == ("SYNC_DELTA", seq), gap
        assert 100 < len(frame["payload"]) < 500  # the first page is a small one
        assert not frame["complete"]
    frame = await first_sync(await position_at(A, 0))
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "gap", 5_001)
    assert frame["payload"] == {"entries": 5_001}


async def test_a_client_5000_behind_catches_up_page_by_page_without_a_hole():
    await publish_all(A, range(5_000))
    start = await position_at(A, 0)
    async with Peer() as peer:
        await peer.greet({A: start})
        at, pages = start, 0
        while at.seq < 5_000:
            frame = await peer.sync(A)
            assert frame["from"] == at.seq
            for entry in frame["payload"]:
                at = at.then(entry["id"])
                assert (at.seq, at.checksum) == (entry["seq"], entry["checksum"])
            assert (frame["to"], frame["checksum"]) == (at.seq, at.checksum)
            assert len(frame["payload"]) <= 500
            assert frame["complete"] == (at.seq == 5_000)
            pages += 1
            peer.say("ACK", streams={A: at})
        assert 10 <= pages <= 13


async def test_the_next_page_goes_out_when_the_one_before_was_acknowledged():
    await publish_all(A, range(2_000))
    async with Peer() as peer:
        await peer.greet({A: await position_at(A, 0)})
        page = await peer.sync(A)
        await publish_all("notes:other", [1])
        peer.say("SUBSCRIBE", ref=1, streams={"notes:other": None})  # whatever could come would come before
        await peer.hear("SYNC_DELTA", stream="notes:other", complete=True)
        assert peer.kinds(A) == ["SYNC_DELTA"]
        peer.say("ACK", streams={A: await position_at(A, page["to"])})
        frame = await peer.sync(A)
        assert frame["from"] == page["to"]
        assert len(frame["payload"]) > len(page["payload"])  # the client is quick


async def test_pages_grow_while_acks_are_quick_and_keep_to_256_kib():
    await publish_all(A, ["x" * 60_000] * 20)
    async with Peer() as peer:
        await peer.greet({A: await position_at(A, 0)})
        counts = []
        while sum(counts) < 20:
            frame = await peer.sync(A)
            counts.append(len(frame["payload"]))
            peer.say("ACK", streams={A: await position_at(A, frame["to"])})
        assert (counts[0], max(counts)) == (1, 4)


@pytest.mark.parametrize(
    ("seq", "answer"),
    [(3, ("SYNC_SNAPSHOT", "trimmed")), (4, ("SYNC_SNAPSHOT", "trimmed")), (5, None), (6, None)],
)
async def test_around_the_floor(seq: int, answer: tuple[str, str] | None):
    entries = await publish_all(A, range(10))
    await trim(A, 6)
    frame = await first_sync(entries[seq - 1].position)
    if answer is None:
        assert (frame["type"], frame["from"], frame["to"]) == ("SYNC_DELTA", seq, 10)
    else:
        assert (frame["type"], frame["reason"]) == answer


async def test_below_the_floor_even_a_wrong_checksum_is_only_trimmed():
    entries = await publish_all(A, range(10))
    await trim(A, 6)
    frame = await first_sync(entries[2].position._replace(checksum=1))
    assert frame["reason"] == "trimmed"
    assert not await DriftReport.objects.aexists()


async def test_at_the_head_the_answer_is_an_empty_delta():
    entries = await publish_all(A, range(3))
    frame = await first_sync(entries[-1].position)
    assert (frame["type"], frame["from"], frame["to"], frame["payload"]) == ("SYNC_DELTA", 3, 3, [])
    assert frame["complete"]
    assert frame["checksum"] == entries[-1].checksum


async def test_everything_trimmed_and_at_the_head_is_current():
    entries = await publish_all(A, range(3))
    await trim(A, 4)
    frame = await first_sync(entries[-1].position)
    assert (frame["type"], frame["payload"], frame["complete"]) == ("SYNC_DELTA", [], True)


async def test_above_the_head_is_invalid():
    entries = await publish_all(A, range(3))
    async with Peer(Board) as peer:
        await peer.greet({A: entries[-1].position._replace(seq=4), "notes:b": None})
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"], error["streams"]) == (400, "INVALID_SEQ", [A])
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4000, True, 4000)


async def test_all_streams_with_impossible_positions_are_named_at_once():
    entries = await publish_all(A, range(3))
    beyond = entries[-1].position._replace(seq=9)
    await publish_all("notes:b", [1])
    b = (await position_at("notes:b", 1))._replace(seq=2)
    async with Peer(Board) as peer:
        await peer.greet({"notes:b": b, "notes:c": None, A: beyond})
        assert (await peer.hear("ERROR"))["streams"] == [A, "notes:b"]
        await peer.goodbye()


async def test_another_epoch_is_answered_with_a_snapshot():
    entries = await publish_all(A, range(3))
    frame = await first_sync(entries[-1].position._replace(epoch="other", seq=99))
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "epoch", 3)


@pytest.mark.parametrize("seq", [0, 2, 3], ids=["before the first", "in the middle", "at the head"])
async def test_a_wrong_checksum_is_answered_with_a_snapshot_and_reported(seq: int):
    entries = await publish_all(A, range(3))
    right = await position_at(A, seq)
    wrong = right._replace(checksum=(right.checksum + 1) % MODULUS)
    frame = await first_sync(wrong)
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "diverged", 3)
    assert frame["checksum"] == entries[-1].checksum
    await drift_reports(1)
    report = await DriftReport.objects.aget()
    assert (report.stream, report.client_id, report.epoch, report.seq) == (A, "first", wrong.epoch, seq)
    assert (report.client_checksum, report.server_checksum) == (wrong.checksum, right.checksum)


async def test_drift_is_answered_with_few_snapshots_a_minute_and_counted_in_one_report(
    monkeypatch: pytest.MonkeyPatch,
):
    entries = await publish_all(A, range(3))
    wrong = entries[-1].position._replace(checksum=7)
    client_id = "the same"
    async with Peer(Board) as peer:
        welcome = await peer.greet({A: wrong}, client_id=client_id)
        await peer.sync(A)
    await drift_reports(1)
    for _ in range(drift.HEALS - 1):
        async with Peer(Board) as peer:
            await peer.greet({A: wrong}, client_id=client_id, identity=welcome["identity"])
            assert (await peer.sync(A))["reason"] == "diverged"
    for _ in range(3):
        async with Peer(Board) as peer:
            await peer.greet({A: wrong}, client_id=client_id, identity=welcome["identity"])
            error = await peer.hear("ERROR")
            assert (error["code"], error["streams"], error["retry_after_ms"]) == (429, [A], 60_000)
    monkeypatch.setattr(drift.Watch, "times", lambda *_: 1)  # as on another node
    async with Peer(Board) as peer:
        await peer.greet({A: wrong}, client_id=client_id, identity=welcome["identity"])
        assert (await peer.sync(A))["reason"] == "diverged"
    await close_hub()
    assert await DriftReport.objects.acount() == 1
    assert (await DriftReport.objects.aget()).count == 1  # within a minute
    await DriftReport.objects.aupdate(last_seen="2020-01-01T00:00Z")
    async with Peer(Board) as peer:
        await peer.greet({A: wrong}, client_id=client_id, identity=welcome["identity"])
        await peer.sync(A)
        await eventually(DriftReport.objects.filter(count=2).aexists)


async def drift_reports(count: int) -> None:
    async def counted() -> bool:
        return await DriftReport.objects.acount() == count

    await eventually(counted)


async def test_an_ack_of_another_history_is_answered_with_a_snapshot_and_reported():
    entries = await publish_all(A, range(3))
    async with Peer(Board) as peer:
        await peer.greet({A: entries[-1].position})
        await peer.sync(A)
        peer.say("ACK", streams={A: entries[-1].position._replace(checksum=7)})
        assert (await peer.sync(A))["reason"] == "diverged"
        await drift_reports(1)
        report = await DriftReport.objects.aget()
        assert (report.client_checksum, report.server_checksum) == (7, entries[-1].checksum)


# -- nothing known -----------------------------------------------------------------------------------


async def test_a_newcomer_gets_the_snapshot():
    await publish_all(A, range(3))
    frame = await first_sync(None)
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "new", 3)
    assert (frame["payload"], frame["exact"], frame["partial"]) == ({"entries": 3}, True, False)


async def test_without_a_hook_a_newcomer_gets_the_whole_log():
    entries = await publish_all(A, range(3))
    async with Peer() as peer:
        await peer.greet({A: None})
        frame = await peer.sync(A)
        assert (frame["type"], frame["reason"], frame["seq"], frame["payload"]) == (
            "SYNC_SNAPSHOT",
            "new",
            0,
            None,
        )
        assert (frame["exact"], frame["partial"]) == (True, False)
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"], frame["checksum"]) == (0, 3, entries[-1].checksum)


@pytest.mark.parametrize(("floor", "starts"), [(2, 50), (100, 99)], ids=["the last 100", "fewer are kept"])
async def test_without_a_hook_a_newcomer_of_a_trimmed_log_gets_its_end_and_is_told(floor: int, starts: int):
    await publish_all(A, range(150))
    await trim(A, floor)
    async with Peer() as peer:
        await peer.greet({A: None})
        frame = await peer.sync(A)
        assert (frame["type"], frame["seq"], frame["payload"]) == ("SYNC_SNAPSHOT", starts, None)
        assert frame["partial"]
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"], frame["complete"]) == (starts, 150, True)


async def test_a_stream_that_nobody_published_to_is_current_at_once():
    frame = await first_sync(None, consumer=NotesConsumer)
    assert (frame["type"], frame["seq"], frame["checksum"]) == ("SYNC_SNAPSHOT", 0, 0)


# -- malformed -----------------------------------------------------------------------------------------

GOOD = {"epoch": "e", "last_seq_id": 1, "checksum": 1}
MALFORMED: dict[str, Any] = {
    "notes:text": "1",
    "notes:number": 1,
    "notes:list": [],
    "notes:true": True,
    "notes:empty": {},
    **{
        f"notes:{field}.{i}": {**GOOD, field: value}
        for field, values in {
            "epoch": (None, 1, "", "e" * 65, ["e"]),
            "last_seq_id": (None, -1, 1.5, "5", True, 2**53 + 2.0, [1]),
            "checksum": (None, -1, MODULUS, 1.5, "1", False),
        }.items()
        for i, value in enumerate(values)
    },
}


async def test_malformed_positions_are_all_named_before_one_close():
    async with Peer() as peer:
        peer.hello({"notes:good": None, **MALFORMED})
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"]) == (400, "INVALID_SEQ")
        assert error["streams"] == sorted(MALFORMED)
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reason"], bye["reconnect"], code) == (4000, "INVALID_SEQ", True, 4000)
        assert peer.kinds() == ["ERROR", "BYE"]


@pytest.mark.parametrize("stream", sorted(MALFORMED))
async def test_a_malformed_position_of_a_subscribe_ends_the_socket(stream: str):
    async with Peer() as peer:
        await peer.greet()
        peer.say("SUBSCRIBE", ref=7, streams={stream: MALFORMED[stream]})
        error = await peer.hear("ERROR")
        assert (error["reason"], error["ref"], error["streams"]) == ("INVALID_SEQ", 7, [stream])
        assert (await peer.goodbye())[1] == 4000


# -- rewritten logs --------------------------------------------------------------------------------------


async def test_a_rolled_back_log_resyncs_its_live_subscribers(quick: None, configure: Any):
    configure(HEAD_CHECK=0.05)
    entries = await publish_all(A, range(5))
    async with Peer(Board) as live:
        await live.greet({A: entries[-1].position})
        await live.sync(A)
        await roll_back(A, 3)
        frame = await live.sync(A)
        assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "rewound", 3)
        assert frame["epoch"] != entries[0].epoch
        [entry] = await publish_all(A, ["next"])
        frame = await live.hear("SYNC_DELTA", to=4)
        assert (frame["epoch"], frame["checksum"]) == (entry.epoch, entry.checksum)
        assert live.kinds(A).count("SYNC_SNAPSHOT") == 1


async def test_a_client_that_resumes_on_a_rolled_back_log_gets_one_snapshot_of_the_new_epoch():
    entries = await publish_all(A, range(5))
    async with Peer(Board) as witness:
        await witness.greet({A: entries[-1].position})
        await witness.sync(A)
        await roll_back(A, 3)
        async with Peer(Board) as peer:
            await peer.greet({A: entries[-1].position})
            frame = await peer.sync(A)
            assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "rewound", 3)
            assert frame["epoch"] != entries[0].epoch
            await publish_all(A, ["next"])
            await peer.hear("SYNC_DELTA", to=4)
            assert peer.kinds(A).count("SYNC_SNAPSHOT") == 1
            assert (await witness.sync(A))["reason"] == "rewound"


async def test_without_a_witness_a_position_past_a_rolled_back_head_is_invalid():
    entries = await publish_all(A, range(5))
    await roll_back(A, 3)
    async with Peer(Board) as peer:
        await peer.greet({A: entries[-1].position})
        assert (await peer.hear("ERROR"))["reason"] == "INVALID_SEQ"
        await peer.goodbye()
    assert (await Stream.objects.aget(name=A)).epoch == entries[0].epoch  # a claim never bumps it


@pytest.mark.parametrize(
    "refill", [1, 2, 9], ids=["below the old head", "to the old head", "past the old head"]
)
async def test_a_refilled_log_is_found_by_the_head_check(refill: int, quick: None, configure: Any):
    configure(HEAD_CHECK=0.05)
    entries = await publish_all(A, range(5))
    async with Peer(Board) as live:
        await live.greet({A: entries[-1].position})
        await live.sync(A)
        with unheard():
            await roll_back(A, 3, refill)
        frame = await live.sync(A)
        assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "rewound", 3 + refill)
        assert frame["epoch"] != entries[0].epoch


async def test_an_announcement_on_a_refilled_log_is_not_applied_blindly():
    entries = await publish_all(A, range(5))
    async with Peer(Board) as live:
        await live.greet({A: entries[-1].position})
        await live.sync(A)
        await roll_back(A, 4)
        await publish_elsewhere(A, ["other"])
        await publish_all(A, ["announced"])  # seq 6, as the hub expects; its checksum is of another history
        frame = await live.sync(A)
        assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "rewound", 6)


async def test_a_refilled_log_is_found_by_a_client_that_resumes():
    entries = await publish_all(A, range(5))
    await roll_back(A, 3)
    await publish_elsewhere(A, ["other"] * 9)
    frame = await first_sync(entries[-1].position)
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "diverged", 12)
    frame = await first_sync(entries[2].position)
    assert (frame["type"], frame["from"], frame["to"]) == ("SYNC_DELTA", 3, 12)  # the common past is proven


@sync_to_async
@transaction.atomic
def publish_with_a_hole() -> None:
    publish_many([(A, n) for n in range(4)])
    StreamEntry.objects.filter(seq=5).delete()


async def test_a_log_with_a_missing_entry_gets_a_new_epoch_and_not_an_endless_search(quick: None):
    entries = await publish_all(A, range(3))
    async with Peer(Board) as live:
        await live.greet({A: entries[-1].position})
        await live.sync(A)
        with unheard():
            await publish_with_a_hole()
        get_hub().healing.suspect(A)
        frame = await live.sync(A)
        while frame["type"] == "SYNC_DELTA":  # what lies before the hole may come
            assert frame["to"] <= 4
            frame = await live.sync(A)
        assert (frame["type"], frame["seq"]) == ("SYNC_SNAPSHOT", 7)
        assert frame["epoch"] != entries[0].epoch
        await publish_all(A, ["next"])
        await live.hear("SYNC_DELTA", to=8)


async def test_a_resume_across_a_missing_entry_gets_a_snapshot():
    entries = await publish_all(A, range(6))
    await StreamEntry.objects.filter(seq=4).adelete()
    async with Peer(Board) as peer:
        await peer.greet({A: entries[1].position})
        frame = await peer.sync(A)
        while frame["type"] == "SYNC_DELTA":
            assert frame["to"] <= 3
            frame = await peer.sync(A)
        assert (frame["type"], frame["seq"]) == ("SYNC_SNAPSHOT", 6)


# -- trimming under readers (F37) ----------------------------------------------------------------------------


async def test_trimming_while_a_client_pages_ends_in_a_snapshot_never_in_a_hole():
    entries = await publish_all(A, range(2_500))
    async with Peer(Board) as peer:
        await peer.greet({A: entries[0].position})
        frame, at = await peer.sync(A), 1
        await trim(A, 2_000)
        while frame["type"] == "SYNC_DELTA":  # what was read before may still be served
            assert frame["from"] == at
            at = frame["to"]
            peer.say("ACK", streams={A: entries[at - 1].position})
            frame = await peer.sync(A)
        assert at < 2_000
        assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "trimmed", 2_500)


async def test_clients_that_resume_while_the_log_is_trimmed_again_and_again_miss_nothing():
    await publish_all(A, range(1_000))
    start = await position_at(A, 1)
    over = asyncio.Event()

    async def trimming() -> None:
        for floor in range(2, 900, 60):
            await trim(A, floor)
            await publish_all(A, range(5))
        over.set()

    task = asyncio.create_task(trimming())
    async with StreamCommunicator(Board.as_asgi(), "/ws/") as client:
        client.subscribe(A)
        client.session.trackers[A].position = start
        await client.live(A)
        while not over.is_set():
            await client.cut()
            await client.resume()
            await client.live(A)
        await task
        head = await position_at(A, 1_075)
        await client.until(lambda: client.session.trackers[A].position == head)
    seqs = [entry.seq for entry in client.applied[A]]
    assert seqs == list(range(head.seq - len(seqs) + 1, head.seq + 1))  # since the last snapshot


async def test_without_a_hook_a_damaged_log_is_unavailable_and_not_sent_for_ever():
    await publish_all(A, range(6))
    await StreamEntry.objects.filter(seq=4).adelete()
    async with Peer() as peer:
        await peer.greet({A: None, "notes:sound": None})
        error = await peer.hear("ERROR", code=503)
        assert error["streams"] == [A]
        assert error["retry_after_ms"] > 0
        assert peer.kinds(A).count("SYNC_SNAPSHOT") <= 5
        await peer.still_works("notes:sound")

"""Snapshots that take long or fail, and reads of a herd: the database is left alone (design 9.5, 10.1)."""

import asyncio
import threading
from typing import Any

import pytest
from django.db import OperationalError

from reconnect_channels.live import reads as kept_reads
from reconnect_channels.live.hub import get_hub
from reconnect_channels.live.reads import MAX_BYTES, Reads
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, position_at, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


def consumer() -> Any:
    class Building(NotesConsumer):
        builds: list[str] = []
        broken: set[str] = set()
        error: type[Exception] = OperationalError
        gate = threading.Event()

        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            cls.builds.append(stream)
            if "slow" in stream:
                cls.gate.wait(10)
            if stream in cls.broken:
                raise cls.error("the snapshot's defect")
            return "state"

    return Building


async def answer(kind: Any, stream: str) -> str:
    """What a newcomer gets."""
    async with Peer(kind) as peer:
        await peer.greet({stream: None})
        frame = await peer.until(
            lambda frame: frame["type"] == "SYNC_SNAPSHOT" or frame.get("code") == 503, "a snapshot or 503"
        )
        return "snapshot" if frame["type"] == "SYNC_SNAPSHOT" else "503"


async def test_who_waits_too_long_is_told_so_and_finds_the_finished_build_later(configure: Any):
    configure(SNAPSHOT_TIMEOUT=0.1)
    kind = consumer()
    assert await answer(kind, "notes:slow") == "503"
    assert await answer(kind, "notes:slow") == "503"
    kind.gate.set()

    async def later() -> bool:
        return await answer(kind, "notes:slow") == "snapshot"

    await eventually(later)
    assert kind.builds == ["notes:slow"]


async def test_streams_that_fail_one_after_the_other_open_the_breaker_and_a_success_closes_it(
    monkeypatch: pytest.MonkeyPatch,
):
    kind = consumer()
    kind.broken = {f"notes:{n}" for n in range(9)}
    assert [await answer(kind, f"notes:{n}") for n in range(5)] == ["503"] * 5
    assert [await answer(kind, f"notes:{n}") for n in range(5, 9)] == ["503"] * 4
    assert await answer(kind, "notes:good") == "503"
    assert len(kind.builds) == 5
    monkeypatch.setattr(get_hub()._builds._breaker, "_next_probe", 0.0)
    assert await answer(kind, "notes:good") == "snapshot"
    assert await answer(kind, "notes:better") == "snapshot"


@pytest.mark.parametrize("error", [OperationalError, KeyError])
async def test_one_stream_whose_snapshot_fails_again_and_again_fails_alone(error: type[Exception]):
    kind = consumer()
    kind.broken, kind.error = {"notes:bad"}, error
    assert [await answer(kind, "notes:bad") for _ in range(7)] == ["503"] * 7
    assert await answer(kind, "notes:good") == "snapshot"


async def test_an_application_s_own_defects_open_nothing():
    kind = consumer()
    kind.broken, kind.error = {f"notes:{n}" for n in range(7)}, KeyError
    assert [await answer(kind, f"notes:{n}") for n in range(7)] == ["503"] * 7
    assert await answer(kind, "notes:good") == "snapshot"


# -- reads of the log ----------------------------------------------------------------------------------------


async def test_a_herd_behind_the_window_reads_each_page_once(monkeypatch: pytest.MonkeyPatch):
    from reconnect_channels.log.database import DatabaseLog

    reads: list[int] = []
    read = DatabaseLog.read

    def counted(log: Any, stream: str, after: Any, limit: int) -> Any:
        reads.append(after.seq)
        return read(log, stream, after, limit)

    monkeypatch.setattr(DatabaseLog, "read", counted)
    monkeypatch.setattr(kept_reads, "KEPT", 60)  # a busy machine needs more than a second for a hundred
    await publish_all(A, [{"text": "x" * 150}] * 300)
    positions = [await position_at(A, seq) for seq in range(0, 100, 5)]

    async def come(number: int) -> None:
        await asyncio.sleep(number * 0.005)  # they trickle in
        async with Peer() as peer:
            await peer.greet({A: positions[number % len(positions)]})
            while not (frame := await peer.hear("SYNC_DELTA"))["complete"]:
                at = {"epoch": frame["epoch"], "last_seq_id": frame["to"], "checksum": frame["checksum"]}
                peer.say("ACK", streams={A: at})

    first = asyncio.create_task(come(0))
    await eventually(lambda: reads == [0])
    await asyncio.gather(first, *map(come, range(1, 100)))
    # Whoever stands among what was read is served from it; only who comes while a read runs may need its own.
    assert len(reads) <= len(positions)


async def test_what_is_kept_is_bounded_in_bytes_and_forgotten_when_another_history_holds():
    hub = get_hub()
    reads = Reads(hub.spawn, hub.loop)
    calls: list[int] = []

    async def read(number: int) -> int:
        calls.append(number)
        return number

    async def ask(number: int, size: int = MAX_BYTES // 4) -> None:
        assert await reads.once((A, "page", number), lambda _: size, read, number) == number

    for number in range(8):
        await ask(number)
    assert reads._size <= MAX_BYTES
    await ask(7)
    assert calls == list(range(8))
    await ask(0)
    assert calls[-1] == 0
    reads.forget(A)
    assert (reads._size, reads.kept(A, "page")) == (0, [])
    await ask(7, size=0)
    await ask(7, size=0)
    assert calls[-2:] == [7, 7]

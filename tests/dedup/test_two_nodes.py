"""The same message at two nodes: one effect, one answer (design 8; faults F23 to F25)."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from redis import Redis

from reconnect_channels.dedup import base
from tests.servers import HOST, Server

from . import pair
from .pair import Frame, Outbox, Pair, line, to_both

pytestmark = [pytest.mark.servers, pytest.mark.redis]

LANES = 8  # producers at the same time
LEASE = 2.0


@pytest.fixture(scope="module")
def nodes(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two nodes whose leases are short, the first of them mortal."""
    folder = tmp_path_factory.mktemp("pair")
    with pair.running(postgres_url, folder, CLAIM_SECONDS=str(LEASE), MORTAL_0="yes") as running:
        yield running


def long(*parameters: Any) -> list[Any]:
    """Whose tests `make test` leaves out."""
    return [pytest.param(each, marks=pytest.mark.slow) for each in parameters]


def said(frames: list[Frame]) -> list[Any]:
    """What answers say, but which of them is the copy's."""
    return [{**frame, "duplicate": None} for frame in frames]


async def rounds(nodes: Pair, kind: str, stream: str, count: int, seconds: float = 0) -> Counter[str]:
    """Messages of eight producers, each sent to both nodes at once; judges the answers.

    :param count: how many must be sent to the second node within 1 ms after the first.
    :param seconds: go on for so long at least.
    """
    seen: Counter[str] = Counter()
    ends = time.monotonic() + seconds

    async def lane(number: int) -> None:
        outbox = Outbox(stream)
        async with AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line(node, kind)) for node in nodes.nodes]
            while seen["within 1 ms"] < count or time.monotonic() < ends:
                message = outbox.message({"text": "at once", "lane": number})
                if outbox.n % 2:
                    lines.reverse()
                frames, apart = await to_both(lines, message)
                first, second = frames
                assert first["type"] == second["type"] == "ACK", frames
                assert said([first]) == said([second])
                seen["sent"] += 1
                seen["within 1 ms"] += apart < 0.001
                seen["both duplicates"] += first["duplicate"] and second["duplicate"]
                assert first["duplicate"] or second["duplicate"], frames

    async with asyncio.TaskGroup() as tasks:
        for number in range(LANES):
            tasks.create_task(lane(number))
    return seen


def took_effect_once(nodes: Pair, stream: str, sent: int) -> None:
    effects = nodes.effects(stream)
    assert Counter(effects.values()) == {1: sent}
    if "fast" not in stream:
        entries = nodes.entries(stream)
        assert (len(entries), set(entries)) == (sent, set(effects))


@pytest.mark.parametrize("stream", ["def:once", *long("async:once", "def:fast.once"), "async:fast.once"])
async def test_the_same_message_to_two_nodes_at_once_takes_effect_once_and_both_are_told_the_same(
    nodes: Pair, stream: str
):
    seen = await rounds(nodes, stream.partition(":")[0], stream, 200)
    assert seen["both duplicates"] == 0
    took_effect_once(nodes, stream, seen["sent"])


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stream", ["def:many", "async:many", "def:fast.many", "async:fast.many"])
async def test_ten_thousand_times(nodes: Pair, stream: str):
    seen = await rounds(nodes, stream.partition(":")[0], stream, 10_000)
    assert seen["both duplicates"] == 0
    took_effect_once(nodes, stream, seen["sent"])
    print(stream, dict(seen))


def flushed(redis: Server) -> None:
    for _ in range(20):
        Redis(host=HOST, port=redis.port).flushall()
        time.sleep(0.05)


def killed(redis: Server) -> None:
    redis.kill()
    time.sleep(1)
    redis.start()
    time.sleep(1)


def frozen(redis: Server) -> None:
    for _ in range(2):
        redis.freeze()
        time.sleep(0.7)
        redis.thaw()
        time.sleep(0.7)


@pytest.mark.faults
@pytest.mark.parametrize("fault", [killed, *long(flushed, frozen)], ids=lambda fault: fault.__name__)
async def test_a_redis_that_fails_makes_no_second_effect(nodes: Pair, fault: Callable[[Server], None]):
    breaking = asyncio.create_task(asyncio.to_thread(fault, nodes.redis))
    streams = [f"{kind}:{fault.__name__}" for kind in ("def", "async")]
    try:
        seen = await asyncio.gather(
            *(rounds(nodes, stream.partition(":")[0], stream, 50, seconds=3) for stream in streams)
        )
    finally:
        await breaking
    for stream, counted in zip(streams, seen, strict=True):
        took_effect_once(nodes, stream, counted["sent"])


# -- killed and slow handlers ----------------------------------------------------------------------------

STREAMS = ["def:s", "async:s", "def:fast.s", "async:fast.s"]


@pytest.mark.parametrize("stream", [STREAMS[0], *long(*STREAMS[1:3]), STREAMS[3]])
async def test_a_message_whose_node_was_killed_takes_effect_at_the_other_within_the_lease(
    nodes: Pair, stream: str
):
    """Killed between the claim and the first write: nothing happened, and no retry is called a duplicate."""
    kind = stream.partition(":")[0]
    message = Outbox(stream + ".killed").message({"dies": True})
    async with line(nodes.nodes[0], kind) as first:
        await first.socket.send(msgspec.json.encode(message).decode())
        process = nodes.nodes[0].process
        assert process is not None
        await asyncio.to_thread(process.wait, 10)
    try:
        killed_at = time.monotonic()
        async with line(nodes.nodes[1], kind) as second:
            answer = await second.final(message)
            took = time.monotonic() - killed_at
            again = await second.ask(message)
        assert (answer["type"], answer["duplicate"], answer["seq"]) == ("ACK", False, 1)
        assert again == {**answer, "duplicate": True}
        assert took < LEASE + base.IN_PROGRESS.retry_after_ms / 1000 + 1
        assert nodes.effects(message["stream"]) == {message["id"]: 1}
    finally:
        nodes.nodes[0].restart()


async def test_a_handler_that_is_slower_than_its_lease_runs_once(nodes: Pair):
    async def slow(stream: str) -> None:
        kind = stream.partition(":")[0]
        message = Outbox(stream + ".slow").message({"seconds": 2.2 * LEASE})
        async with line(nodes.nodes[0], kind) as first, line(nodes.nodes[1], kind) as second:
            frames, _ = await to_both([first, second], message)
        assert said(frames[:1]) == said(frames[1:])
        assert sorted(frame["duplicate"] for frame in frames) == [False, True]
        assert nodes.effects(message["stream"]) == {message["id"]: 1}

    await asyncio.gather(*(slow(stream) for stream in STREAMS))


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_refusal_and_a_key_of_another_payload_are_answered_alike_by_both(nodes: Pair, stream: str):
    kind = stream.partition(":")[0]
    message = Outbox(stream + ".refused").message({"refuse": "no"})
    async with line(nodes.nodes[0], kind) as first, line(nodes.nodes[1], kind) as second:
        refusal = await first.final(message)
        assert (refusal["type"], refusal["reason"], refusal["retry"]) == ("REJECT", "no", False)
        assert await second.final(message) == refusal
        for opened in (first, second):
            other = await opened.ask({**message, "payload": {"refuse": "perhaps"}})
            assert (other["type"], other["reason"]) == ("REJECT", "KEY_REUSED")

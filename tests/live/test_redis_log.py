"""One consumer with durable streams and fast ones, which Redis may forget: losses are found (design 7.5)."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from reconnect_channels.live.hub import get_hub
from reconnect_channels.log import log_for
from reconnect_channels.log.redis import RedisLog
from reconnect_channels.models import StreamEntry
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, position_at, publish_all, publish_elsewhere
from tests.servers import Server
from tests.services import redis_url as url_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.redis,
]

FAST, DURABLE = "notes:fast:a", "notes:a"
SOON = 10  # seconds within which every loss is answered


class Notes(NotesConsumer):
    """Without a channel of its own on the layer: a consumer of streams needs none."""

    channel_layer_alias = None


@pytest.fixture
def on(configure: Callable[..., None]) -> Iterator[Callable[..., RedisLog]]:
    """Puts the fast streams on a Redis, and looks at heads often."""
    made: list[RedisLog] = []

    def on(location: Any, **options: Any) -> RedisLog:
        fast = {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": location,
            "KEY_PREFIX": f"{uuid.uuid4()}:",
            "PREFIXES": ["notes:fast:"],
            **options,
        }
        durable = {"BACKEND": "reconnect_channels.log.database.DatabaseLog"}
        configure(HEAD_CHECK=0.1, STREAM_LOGS={"default": durable, "fast": fast})
        log = log_for(FAST)
        assert isinstance(log, RedisLog)
        made.append(log)
        return log

    yield on
    for log in made:
        log.endpoint.close()


@pytest.fixture
def fast(on: Callable[..., RedisLog], redis_url: str) -> RedisLog:
    return on(redis_url)


@pytest.fixture
async def follower(fast: RedisLog) -> AsyncIterator[StreamCommunicator]:
    """A live client of both streams that has applied three entries of each."""
    async with StreamCommunicator(Notes.as_asgi(), "/ws/") as client:
        for stream in (FAST, DURABLE):
            client.subscribe(stream)
            await client.live(stream)
            await publish_all(stream, ["one", "two", "three"])
        for stream in (FAST, DURABLE):
            await client.until(lambda stream=stream: len(client.applied.get(stream, ())) == 3)  # type: ignore[misc]
        yield client


async def follow_both(peer: Peer) -> None:
    """Both streams are live, whichever log was quicker."""
    await peer.greet({FAST: None, DURABLE: None})
    for _ in range(2):
        await peer.until(
            lambda frame: frame["type"] == "SYNC_DELTA" and frame["complete"], "two live streams"
        )


async def stands_where_the_log_does(client: StreamCommunicator, stream: str = FAST) -> None:
    async def there() -> bool:
        head = (await sync_to_async(log_for(stream).heads)([stream]))[stream]
        return client.session.trackers[stream].position == head.position

    await eventually(there, SOON)


async def hears_from_now_on(client: StreamCommunicator) -> None:
    for stream in (FAST, DURABLE):
        [entry] = await publish_all(stream, ["from now on"])
        await client.until(lambda e=entry, s=stream: e.position == client.session.trackers[s].position)  # type: ignore[misc]
        assert client.applied[stream][-1].payload == "from now on"


def payloads(client: StreamCommunicator, stream: str) -> list[Any]:
    return [entry.payload for entry in client.applied.get(stream, ())]


# -- one consumer, two logs ----------------------------------------------------------------------------------


async def test_one_socket_carries_durable_and_fast_streams(fast: RedisLog):
    async with Peer(Notes) as peer:
        await follow_both(peer)
        for stream in (FAST, DURABLE):
            sent = peer.message(stream, {"on": stream})
            both = [await peer.until(lambda f: f.get("id") == sent or f.get("payload")) for _ in range(2)]  # noqa: B023
            [frame, answer] = sorted(both, key=lambda frame: frame["type"], reverse=True)
            assert (answer["type"], answer["seq"], frame["to"]) == ("ACK", 1, 1)
            assert [(e["payload"], e["key"]) for e in frame["payload"]] == [({"on": stream}, sent)]
    assert [e.stream.name async for e in StreamEntry.objects.select_related("stream")] == [DURABLE]
    assert (await position_at(FAST, 1)).seq == 1


async def test_who_was_away_resumes_both_by_deltas(follower: StreamCommunicator):
    await follower.cut()
    for stream in (FAST, DURABLE):
        await publish_elsewhere(stream, ["missed", "these"])
    await follower.resume()
    for stream in (FAST, DURABLE):
        await stands_where_the_log_does(follower, stream)
        assert payloads(follower, stream) == ["one", "two", "three", "missed", "these"]
    await hears_from_now_on(follower)


async def test_what_another_process_appends_is_found_by_the_head_check(follower: StreamCommunicator):
    await publish_elsewhere(FAST, list(range(1200)))
    await stands_where_the_log_does(follower)
    assert payloads(follower, FAST) == ["one", "two", "three", *range(1200)]


# -- losses --------------------------------------------------------------------------------------------------


def dumped(log: RedisLog) -> dict[str, Any]:
    return {key: log.endpoint.client.dump(key) for key in log.keys(FAST)}


def restore(log: RedisLog, kept: dict[str, Any]) -> None:
    with log.endpoint.client.pipeline() as transaction:
        for key, value in kept.items():
            transaction.restore(key, 0, value, replace=True)
        transaction.execute()


async def lose_the_tail(log: RedisLog, refill: int) -> None:
    """As a failover to a replica that was behind: the newest entries are gone, perhaps replaced."""
    kept = await sync_to_async(dumped)(log)
    await publish_all(FAST, ["lost", "lost too"])
    await asyncio.sleep(0)
    await sync_to_async(restore)(log, kept)
    await publish_elsewhere(FAST, [f"again {n}" for n in range(refill)])


async def flush(log: RedisLog) -> None:
    await sync_to_async(lambda: log.endpoint.client.delete(*log.keys(FAST)))()


async def delete_meta(log: RedisLog) -> None:
    await sync_to_async(lambda: log.endpoint.client.delete(log.keys(FAST)[0]))()


@pytest.mark.parametrize(
    ("lose", "reasons"),
    [
        pytest.param(lambda log: lose_the_tail(log, 0), {"rewound"}, id="the tail"),
        pytest.param(lambda log: lose_the_tail(log, 1), {"rewound"}, id="the tail, half refilled"),
        pytest.param(lambda log: lose_the_tail(log, 2), {"rewound"}, id="the tail, refilled"),
        pytest.param(lambda log: lose_the_tail(log, 9), {"rewound"}, id="the tail, refilled and more"),
        pytest.param(flush, {"epoch"}, id="everything"),
        pytest.param(delete_meta, {"epoch"}, id="the meta key"),
    ],
)
async def test_a_loss_is_answered_with_a_new_epoch_while_the_client_is_live(
    fast: RedisLog, lose: Callable[[RedisLog], Any], reasons: set[str]
):
    async with Peer(Notes) as peer:
        await follow_both(peer)
        entries = await publish_all(FAST, ["one", "two", "three"])
        await peer.hear("SYNC_DELTA", stream=FAST, to=3)
        await lose(fast)
        frame = await peer.until(
            lambda frame: frame["type"] == "SYNC_SNAPSHOT" and frame["stream"] == FAST, "resync", SOON
        )
        assert frame["reason"] in reasons
        assert frame["epoch"] != entries[0].epoch
        [durable] = await publish_all(DURABLE, ["undisturbed"])
        await peer.hear("SYNC_DELTA", stream=DURABLE, to=durable.seq)
        assert "SYNC_SNAPSHOT" not in peer.kinds(DURABLE)[1:]
        assert peer.socket.closed is None


@pytest.mark.parametrize("refill", [0, 1, 2, 9])
async def test_a_client_that_saw_a_lost_tail_ends_where_the_log_does(
    follower: StreamCommunicator, fast: RedisLog, refill: int
):
    await lose_the_tail(fast, refill)
    await follower.until(lambda: "lost" not in payloads(follower, FAST), SOON)
    await stands_where_the_log_does(follower)
    assert payloads(follower, FAST) == ["one", "two", "three", *(f"again {n}" for n in range(refill))]
    assert payloads(follower, DURABLE) == ["one", "two", "three"]
    await hears_from_now_on(follower)


@pytest.mark.parametrize("refill", [1, 2, 9])
async def test_a_client_that_was_away_while_the_tail_was_lost_and_refilled_is_found_out(
    follower: StreamCommunicator, fast: RedisLog, refill: int
):
    kept = await sync_to_async(dumped)(fast)
    await publish_all(FAST, ["lost", "lost too"])
    await follower.until(lambda: len(payloads(follower, FAST)) == 5)
    await follower.cut()
    await sync_to_async(restore)(fast, kept)
    await publish_elsewhere(FAST, [f"again {n}" for n in range(refill)])
    await follower.resume()
    await stands_where_the_log_does(follower)
    assert payloads(follower, FAST) == ["one", "two", "three", *(f"again {n}" for n in range(refill))]


# -- Redis away ----------------------------------------------------------------------------------------------


@pytest.mark.faults
async def test_a_redis_that_dies_and_comes_back_empty_drops_no_socket(
    on: Callable[..., RedisLog], redis_server: Server
):
    on(url_of(redis_server))
    async with Peer(Notes) as peer:
        await follow_both(peer)
        await publish_all(FAST, ["one"])
        await peer.hear("SYNC_DELTA", stream=FAST)
        await sync_to_async(redis_server.kill)()
        for n in range(1, 6):
            await publish_all(DURABLE, [n])
            await peer.hear("SYNC_DELTA", stream=DURABLE, to=n)
            await asyncio.sleep(0.1)  # a head check fails meanwhile
        answer = await peer.answer(peer.message(FAST, "nowhere"))
        assert (answer["type"], answer["retry"]) == ("REJECT", True)
        await sync_to_async(redis_server.start)()
        frame = await peer.until(
            lambda frame: frame["type"] == "SYNC_SNAPSHOT" and frame["stream"] == FAST, "resync", SOON
        )
        assert frame["reason"] == "epoch"
        [entry] = await publish_all(FAST, ["again"])
        await peer.hear("SYNC_DELTA", stream=FAST, to=entry.seq)
        assert peer.socket.closed is None


@pytest.mark.faults
async def test_a_fast_stream_without_its_redis_is_an_error_of_its_own(
    on: Callable[..., RedisLog], redis_server: Server
):
    on(url_of(redis_server))
    await sync_to_async(redis_server.kill)()
    async with Peer(Notes) as peer:
        await peer.greet({FAST: None, DURABLE: None})
        both = [await peer.until(lambda f: f["type"] in ("ERROR", "SYNC_SNAPSHOT")) for _ in range(2)]
        [error, _] = sorted(both, key=lambda frame: frame["type"])
        assert (error["code"], error["streams"]) == (503, [FAST])
        await publish_all(DURABLE, [1])
        await peer.hear("SYNC_DELTA", stream=DURABLE)


@pytest.mark.faults
async def test_a_frozen_redis_delays_no_durable_stream(on: Callable[..., RedisLog], redis_server: Server):
    on(url_of(redis_server))
    async with StreamCommunicator(Notes.as_asgi(), "/ws/") as client:
        for stream in (FAST, DURABLE):
            client.subscribe(stream)
            await client.live(stream)
        await sync_to_async(redis_server.freeze)()
        try:
            await client.cut()
            await publish_all(DURABLE, ["missed"])
            await client.resume()
            await client.until(lambda: payloads(client, DURABLE) == ["missed"], 3)
            for n in range(3):
                await publish_all(DURABLE, [n])
                await client.until(lambda n=n: payloads(client, DURABLE)[-1] == n, 1)  # type: ignore[misc]
        finally:
            await sync_to_async(redis_server.thaw)()
        [entry] = await eventually_publishes(FAST)
        await client.until(lambda: client.session.trackers[FAST].position == entry.position, SOON)


async def eventually_publishes(stream: str) -> list[Any]:
    done: list[Any] = []

    async def attempt() -> bool:
        try:
            done.extend(await publish_all(stream, ["thawed"]))
        except Exception:
            return False
        return True

    await eventually(attempt)
    return done


async def test_a_log_that_hangs_delays_no_head_of_another(
    fast: RedisLog, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    configure(READ_TIMEOUT=10)
    answering = threading.Event()
    heads = RedisLog.heads
    monkeypatch.setattr(RedisLog, "heads", lambda *args: answering.wait(10) and heads(*args))
    hub = get_hub()
    slow = asyncio.ensure_future(hub.head(FAST))
    await asyncio.sleep(0)
    try:
        for _ in range(3):
            async with asyncio.timeout(2):
                await hub.head(DURABLE)
        assert not slow.done()
    finally:
        answering.set()
    assert (await slow).seq == 0

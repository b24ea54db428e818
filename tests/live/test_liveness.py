"""Whatever sockets, the layer and the log suffer, nobody waits for the next heartbeat to go on."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from reconnect_channels.log import log_for
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.layers import FaultyLayer
from tests.live.peer import publish_all, publish_elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

STREAMS = "notes:a", "notes:b"
SIZES = 100, 200, 300, 400, 18_000, 60_000  # so that little is owed an ACK, or a page alone is too much
SOCKETS = [*["here"] * 4, *["block", "unblock", "unblock"] * 2, "elsewhere", "cut"]
TROUBLE = {"sockets": SOCKETS, "all": [*SOCKETS, "freeze", "trim", "renew"]}
SOON = 4.0  # seconds; a heartbeat is 15


class Large(NotesConsumer):
    """With snapshots that come in parts."""

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return "s" * 40_000


@pytest.mark.parametrize("kinds", TROUBLE)
@pytest.mark.parametrize("seed", range(10))
async def test_everybody_is_current_soon_after_the_last_trouble(
    seed: int, kinds: str, faulty: FaultyLayer, quick: None, configure: Callable[..., None]
):
    configure(HEAD_CHECK=0.2)
    chance = random.Random(seed)
    faulty.drop = chance.choice([0, 0, 0.2])
    kind = chance.choice([NotesConsumer, Large])
    clients = [StreamCommunicator(kind.as_asgi(), "/ws/") for _ in range(3)]
    for client in clients:
        await client.connect()
        for stream in STREAMS:
            client.subscribe(stream)
    for _ in range(40):
        await trouble(chance.choice(TROUBLE[kinds]), chance, chance.choice(clients), chance.choice(STREAMS))
    for client in clients:
        client.socket.unblock()  # type: ignore[union-attr]
    heads = await sync_to_async(log_for(STREAMS[0]).heads)(list(STREAMS))
    for client in clients:
        for stream, head in heads.items():
            tracker = client.session.trackers[stream]
            await client.until(lambda at=tracker, to=head: at.live and at.position == to.position, SOON)  # type: ignore[misc]
        await client.close()


async def trouble(what: str, chance: random.Random, client: StreamCommunicator, stream: str) -> None:
    assert client.socket is not None
    size = chance.choice(SIZES)
    payloads = ["x" * size] * chance.randint(1, max(1, min(60, 100_000 // size)))
    match what:
        case "here":
            await publish_all(stream, payloads)
        case "elsewhere":
            await publish_elsewhere(stream, payloads)
        case "block":
            client.socket.block()
        case "unblock":
            client.socket.unblock()
        case "cut":
            await client.cut()
            await client.resume()
        case "freeze":
            client.half_open()
            await client.resume()
        case "trim" | "renew":
            await sync_to_async(change)(what, stream)


def change(what: str, stream: str) -> None:
    """Retention, or a restore from a backup."""
    log = log_for(stream)
    head = log.heads([stream]).get(stream)
    if head is not None and what == "trim":
        log.trim(stream, max(head.floor, head.seq - 5))
    elif head is not None:
        log.new_epoch(stream, head.epoch)

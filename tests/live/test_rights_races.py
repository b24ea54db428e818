"""Random orders of subscribing, asking, revoking and publishing: what is published after is never seen."""

import asyncio
import random
import time
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.live.hub import get_hub
from reconnect_channels.revocation import Cut
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

STEPS = ["subscribe", "unsubscribe", "publish", "send", "pause", "pause"]


class Truth:
    def __init__(self, chance: random.Random, stream: str) -> None:
        self.chance, self.stream = chance, stream
        self.held = True
        self.handled_late: list[Any] = []

    async def read(self) -> bool:
        """A hook that knows late what it read early."""
        answer = self.held
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(self.chance.choice([0, 0, 0.001]))
        return answer


def consumer_of(truth: Truth) -> Any:
    class Racing(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
        channel_layer_alias = None

        async def get_streams(self) -> list[str]:
            return [truth.stream] if await truth.read() else []

        async def can_subscribe(self, stream: str) -> bool:
            return await truth.read()

        async def receive_message(self, message: Any) -> Any:
            if not truth.held:
                truth.handled_late.append(message.payload)

    return Racing


@pytest.mark.parametrize("whole", [False, True], ids=["a stream", "a user"])
async def test_nothing_that_is_published_after_a_revocation_arrives(whole: bool):
    for seed in range(30):
        await race(seed, whole)


async def race(seed: int, whole: bool) -> None:
    chance = random.Random(f"{seed} {whole}")
    stream = f"races:{seed}"
    truth = Truth(chance, stream)

    class User:
        is_authenticated, is_active, pk = True, True, seed

    async with Peer(consumer_of(truth), scope={"user": User()}) as peer:
        peer.hello({stream: None} if chance.random() < 0.5 else {})
        ref, published = 0, 0
        steps = chance.choices(STEPS, k=chance.randrange(2, 14))
        steps.insert(chance.randrange(len(steps)), "revoke")
        for step in steps:
            match step:
                case "subscribe":
                    ref += 1
                    peer.say("SUBSCRIBE", ref=ref, streams={stream: None})
                case "unsubscribe":
                    ref += 1
                    peer.say("UNSUBSCRIBE", ref=ref, streams=[stream])
                case "send":
                    peer.message(stream, {"from": "peer"})
                case "publish":
                    published += 1
                    await publish_all(stream, ["before" if truth.held else "after"])
                case "pause":
                    await asyncio.sleep(chance.choice([0, 0.001, 0.005]))
                case "revoke":
                    truth.held = False
                    name = "" if whole else stream
                    get_hub().rights.apply([Cut(None, f"user:{seed}", "", "", name, "revoked", time.time())])
        await publish_all(stream, ["after", "after"])
        await asyncio.sleep(0.05)
        seen = [
            entry["payload"]
            for frame in peer.heard
            if frame["type"] == "SYNC_DELTA"
            for entry in frame["payload"]
        ]
        assert "after" not in seen, (seed, steps)
        assert not truth.handled_late, (seed, steps)
        feed = get_hub().feeds.get(stream)
        assert feed is None or not feed.live
        if whole:
            await eventually(lambda: peer.kinds()[-1] == "BYE")

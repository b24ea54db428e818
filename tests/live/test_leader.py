"""One socket that speaks for many tabs: many producers, many streams, every answer back by its id."""

import json
import threading
from collections import defaultdict
from typing import Any
from uuid import uuid4

import pytest

from reconnect_channels.models import StreamEntry
from reconnect_channels.protocol.codes import Reason
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"
TABS, FLIGHT = 20, 8


class Tab:
    """One producer; sends its messages in order, at most 8 unanswered, again when told so."""

    def __init__(self, leader: Peer, total: int, stream: str) -> None:
        self.leader, self.total, self.stream = leader, total, stream
        self.producer = str(uuid4())
        self.keys = [str(uuid4()) for _ in range(total)]
        self.flying: dict[str, int] = {}
        self.acked: list[int] = []
        self.refused: list[str] = []
        self.sent = 0

    def fill(self) -> None:
        while len(self.flying) < FLIGHT and self.sent < self.total:
            self.sent += 1
            self.transmit(self.sent)

    def transmit(self, n: int) -> None:
        key = self.keys[n - 1]
        self.flying[key] = n
        self.leader.message(
            self.stream, [self.producer, n], id=key, producer=self.producer, n=n, settled=len(self.acked)
        )

    def take(self, frame: dict[str, Any]) -> None:
        n = self.flying.pop(frame["id"])
        if frame["type"] == "ACK":
            self.acked.append(n)
        else:
            assert frame["retry"], frame
            self.refused.append(frame["reason"])
            if n not in self.acked:
                self.transmit(n)
        self.fill()


async def relay(leader: Peer, tabs: list[Tab]) -> None:
    """Hands every answer back to the tab whose message it is of."""
    owners = {key: tab for tab in tabs for key in tab.keys}
    for tab in tabs:
        tab.fill()
    while any(len(tab.acked) < tab.total for tab in tabs):
        frame = await leader.until(lambda frame: frame.get("id") in owners, "an answer", timeout=20)
        owners[frame["id"]].take(frame)


async def stored(stream: str) -> dict[str, list[int]]:
    """The numbers of each producer, in the order of the stream."""
    found: dict[str, list[int]] = defaultdict(list)
    async for entry in StreamEntry.objects.filter(stream__name=stream).order_by("seq"):
        producer, n = json.loads(entry.text)
        found[producer].append(n)
    return found


async def test_twenty_tabs_with_eight_in_flight_each_are_served_in_order_and_none_is_sent_away():
    async with Peer() as leader:
        await leader.greet(term=1)
        tabs = [Tab(leader, 12, A) for _ in range(TABS)]
        await relay(leader, tabs)
        assert [tab.refused for tab in tabs] == [[]] * TABS
        assert await stored(A) == {tab.producer: list(range(1, 13)) for tab in tabs}


@pytest.mark.parametrize("burst", [1, 30])
async def test_over_the_rate_nothing_is_reordered_and_no_tab_starves(burst: int, configure: Any):
    configure(RATE=400.0, BURST=burst)
    async with Peer() as leader:
        await leader.greet(term=1)
        tabs = [Tab(leader, 6, A) for _ in range(6)]
        await relay(leader, tabs)  # resends at once, as no good client would
        assert await stored(A) == {tab.producer: list(range(1, 7)) for tab in tabs}
        refused = {reason for tab in tabs for reason in tab.refused}
        assert Reason.RATE in refused
        assert refused <= {Reason.RATE, Reason.ORDER}


async def test_more_than_can_wait_is_sent_away_to_come_again_and_loses_nothing():
    class Shut(NotesConsumer):
        def receive_message(self, message: Any) -> Any:
            self.scope["opened"].wait(10)
            return super().receive_message(message)

    opened = threading.Event()
    async with Peer(Shut, scope={"opened": opened}) as leader:
        await leader.greet(term=1)
        keys = [leader.message(A, n) for n in range(300)]
        refused = [await leader.hear("REJECT", reason="UNAVAILABLE") for _ in range(300 - 256)]
        assert [frame["id"] for frame in refused] == keys[256:]
        assert all(frame["retry"] and frame["retry_after_ms"] for frame in refused)
        opened.set()
        await eventually(lambda: leader.kinds().count("ACK") == 256, timeout=30)


async def test_one_tab_s_refused_messages_do_not_hold_up_another_s():
    async with Peer() as leader:
        await leader.greet(term=1)
        one, other = str(uuid4()), str(uuid4())
        early = leader.message(A, "too early", producer=one, n=2)
        good = leader.message(A, "good", producer=other, n=1)
        # Two producers are served side by side: whose answer comes first is nobody's promise.
        answers = [await leader.until(lambda frame: frame.get("id") in (early, good)) for _ in range(2)]
        by_id = {frame["id"]: frame for frame in answers}
        assert by_id[early]["reason"] == "ORDER"
        assert by_id[good]["type"] == "ACK"

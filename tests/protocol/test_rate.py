"""Many producers over the rate of one socket: none is crowded out, and little is asked for in vain."""

from __future__ import annotations

import heapq
import json
import random
import uuid

import pytest

from reconnect_channels.protocol.actions import Deliver
from reconnect_channels.protocol.exchange import MAX_TURN, Exchange
from reconnect_channels.protocol.limits import Limits

from .talk import hello, message

RATE, FLIGHT = 50, 8


class Tab:
    """A producer that waits as long as it is told (and a little), and begins with its oldest message."""

    def __init__(self, total: int) -> None:
        self.producer = str(uuid.uuid4())
        self.total = total
        self.acked = 0
        self.acked_at = 0.0
        self.longest_pause = 0.0

    def ack(self, now: float) -> None:
        self.acked += 1
        self.longest_pause = max(self.longest_pause, now - self.acked_at)
        self.acked_at = now


def converse(tabs: list[Tab], burst: int, chance: random.Random) -> tuple[float, int]:
    """Lets them send until all is acked; returns how long that took (virtual seconds), and the frames."""
    exchange = Exchange(0.0, Limits(rate=RATE, burst=burst))
    exchange.receive(hello(), 0.0)
    agenda = [(chance.random() / 100, number, tab) for number, tab in enumerate(tabs)]
    heapq.heapify(agenda)
    now, frames, order = 0.0, 0, len(tabs)
    while agenda:
        now, _, tab = heapq.heappop(agenda)
        waits = [0.001]
        for n in range(tab.acked + 1, min(tab.acked + FLIGHT, tab.total) + 1):
            frames += 1
            (answer,) = exchange.receive(message(frames, n, n=n, producer=tab.producer), now)
            if not isinstance(answer, Deliver):
                waits.append(json.loads(answer.text)["retry_after_ms"] / 1000)
            elif n == tab.acked + 1:
                tab.ack(now)
            else:
                waits.append(0.1)  # ORDER
        if tab.acked < tab.total:
            order += 1
            wait = max(waits) * (1 + chance.random() / 2)
            heapq.heappush(agenda, (now + wait, order, tab))
    return now, frames


@pytest.mark.parametrize("burst", [1, 50, 1_000])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_all_get_through_at_nearly_the_rate_and_nobody_is_crowded_out(count, burst):
    tabs = [Tab(40) for _ in range(count)]
    took, frames = converse(tabs, burst, random.Random(7))
    total = 40 * count
    assert took <= 1.3 * max(0.0, (total - burst) / RATE) + 0.5
    assert max(tab.longest_pause for tab in tabs) <= 1.5 * MAX_TURN
    if burst >= RATE:
        assert frames <= 3 * total  # 60 to 150 a message if all were told to come for the next token

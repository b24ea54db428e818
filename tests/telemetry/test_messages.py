"""Every message that is answered is counted once, by its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from reconnect_channels.testing import closed_hub
from tests.live.peer import Peer

from .conftest import Gained

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


@pytest.fixture(autouse=True)
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield


def outcomes(gained: Gained, prefix: str = "notes:") -> dict[str, float]:
    names = "acked", "rejected", "retried", "duplicate"
    counts = {name: gained("reconnect_messages_total", outcome=name, prefix=prefix) for name in names}
    return {name: count for name, count in counts.items() if count}


async def ask(peer: Peer, payload: Any, stream: str = A, **fields: Any) -> dict[str, Any]:
    return await peer.answer(peer.message(stream, payload, **fields))


async def test_acks_copies_refusals_and_failures(gained: Gained):
    async with Peer() as peer:
        await peer.greet()
        acked = await ask(peer, "good")
        copy = await ask(peer, "good", id=acked["id"], n=1)
        assert copy["duplicate"]
        await ask(peer, {"reject": "no"}, n=2)
        await ask(peer, {"fail": True}, n=3)
    assert outcomes(gained) == {"acked": 1, "duplicate": 1, "rejected": 1, "retried": 1}
    assert gained("duplicate_msg_rejected_total", prefix="notes:") == 1
    assert gained("reconnect_message_seconds_count", prefix="notes:") == 4


async def test_those_that_no_handler_sees(gained: Gained, settings: Any):
    settings.RECONNECT_CHANNELS = {"RATE": 0.01, "BURST": 2}
    async with Peer() as peer:
        await peer.greet()
        assert (await ask(peer, "late", clock=2**50))["reason"] == "CLOCK"
        assert (await ask(peer, "hidden", "notes:secret"))["reason"] == "FORBIDDEN"
        assert (await ask(peer, "too many"))["reason"] == "RATE"
        assert (await ask(peer, "too many", "nobody:here"))["reason"] == "RATE"
    assert outcomes(gained) == {"rejected": 2, "retried": 1}
    assert outcomes(gained, "other") == {"retried": 1}

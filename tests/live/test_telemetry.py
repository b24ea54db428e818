"""TELEMETRY becomes a signal: bounded, without identity, and no receiver's defect is the socket's."""

from collections.abc import Iterator
from typing import Any

import pytest

from reconnect_channels import signals
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    reports: list[dict[str, Any]] = []

    def hear(**report: Any) -> None:
        reports.append(report)

    signals.telemetry.connect(hear)
    yield reports
    signals.telemetry.disconnect(hear)


async def report(peer: Peer, metrics: Any, **fields: Any) -> None:
    peer.say("TELEMETRY", metrics=metrics, **fields)
    peer.say("SUBSCRIBE", ref=99, streams={})
    await peer.hear("SUBSCRIBED", ref=99)


async def test_a_report_is_a_signal_with_known_names_in_their_ranges(heard: list[dict[str, Any]]):
    async with Peer() as peer:
        await peer.greet()
        metrics = {
            "ws_queue_depth": 12,
            "reconnect_flush_success_rate": 7,
            "reconnect_attempt_duration_seconds": -1,
            "reconnect_backoff_capped_total": 10**15,
            "a_series_of_my_own": 1,
            "reconnect_holes_healed_total": "many",
        }
        await report(peer, metrics, environment="firefox")
    assert heard == [
        {
            "signal": signals.telemetry,
            "sender": NotesConsumer,
            "environment": "firefox",
            "metrics": {
                "ws_queue_depth": 12.0,
                "reconnect_flush_success_rate": 1.0,
                "reconnect_attempt_duration_seconds": 0.0,
                "reconnect_backoff_capped_total": 10_000.0,
            },
        }
    ]


async def test_a_flood_of_reports_is_one_and_gets_no_answer(heard: list[dict[str, Any]]):
    async with Peer() as peer:
        await peer.greet()
        for depth in range(100):
            peer.say("TELEMETRY", metrics={"ws_queue_depth": depth})
        await report(peer, {"ws_queue_depth": 1})
        assert peer.kinds() == ["WELCOME", "SUBSCRIBED"]
    assert [one["metrics"] for one in heard] == [{"ws_queue_depth": 0.0}]


async def test_each_socket_has_its_own_share(heard: list[dict[str, Any]]):
    async with Peer() as one, Peer() as other:
        for peer in (one, other):
            await peer.greet()
            await report(peer, {"ws_queue_depth": 1})
    assert len(heard) == 2


async def test_a_receiver_s_defect_reaches_neither_the_others_nor_the_socket(heard: list[dict[str, Any]]):
    def greedy(metrics: dict[str, float], **_: Any) -> None:
        raise RuntimeError("the receiver's defect")

    signals.telemetry.connect(greedy)
    try:
        async with Peer() as peer:
            await peer.greet()
            await report(peer, {"ws_queue_depth": 1})
            await peer.still_works()
    finally:
        signals.telemetry.disconnect(greedy)
    assert heard[0]["metrics"] == {"ws_queue_depth": 1.0}


async def test_an_async_receiver_is_refused_in_the_log_and_the_socket_lives(
    caplog: pytest.LogCaptureFixture,
):
    async def wrong(**_: Any) -> None:
        raise AssertionError("never called")

    signals.telemetry.connect(wrong)
    try:
        async with Peer() as peer:
            await peer.greet()
            await report(peer, {"ws_queue_depth": 1})
            await peer.still_works()
    finally:
        signals.telemetry.disconnect(wrong)
    assert "telemetry couldn't be sent" in caplog.text


@pytest.mark.parametrize("metrics", [1, [], None, "x"], ids=repr)
async def test_metrics_of_a_wrong_type_are_an_error_as_ever(metrics: Any, heard: list[dict[str, Any]]):
    async with Peer() as peer:
        await peer.greet()
        await report(peer, metrics)
        assert [frame["reason"] for frame in peer.heard if frame["type"] == "ERROR"] == ["FRAME"]
    assert not heard

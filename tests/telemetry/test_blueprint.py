"""Every metric of the blueprint is in the running example's `/metrics` after an outage, and is the truth."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from websockets.asyncio.client import connect as open_socket

from example_project.board import cards
from reconnect_channels.client import Client, State, connect
from reconnect_channels.models import ClientSession, Node
from tests.live.peer import eventually
from tests.proxy import FaultProxy
from tests.servers import HOST, Server, asgi_server

from .scrape import Page, scrape

pytestmark = [
    *(pytest.mark.django_db(transaction=True), pytest.mark.database),
    *(pytest.mark.servers, pytest.mark.faults, pytest.mark.slow),
]

NAMES = re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", (Path(__file__).parent / "blueprint.txt").read_text())
STREAM = "board:launch"
MISSED, QUEUED = 7, 3
CLEANUP = "What a dead node left couldn't be cleared up"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    await sync_to_async(call_command)("load_boards", verbosity=0)
    servers = [asgi_server("example_project.asgi:application", tmp_path / name) for name in ("one", "two")]
    try:
        for server in servers:
            server.env["DJANGO_SETTINGS_MODULE"] = "tests.telemetry.example_settings"
            await asyncio.to_thread(server.start)
        yield servers[0], servers[1]
    finally:
        for server in servers:
            await asyncio.to_thread(server.kill)
        await sync_to_async(connections.close_all)()


class Raw:
    """A guest who says what the test wants to be said."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __aenter__(self) -> Self:
        at = f"{HOST}:{self._server.port}"
        origin: Any = f"http://{at}"
        self._socket = await open_socket(
            f"ws://{at}/ws/board/",
            subprotocols=["reconnect.v1"],
            origin=origin,
            proxy=None,  # type: ignore[list-item]
        )
        await self.say("HELLO", protocol="reconnect.v1", client_id=f"{id(self)}", streams={STREAM: None})
        await self.hear("SYNC_DELTA")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._socket.close()

    async def say(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (frame := json.loads(await self._socket.recv()))["type"] != kind:
                pass
        return frame  # type: ignore[no-any-return]

    async def drift(self) -> None:
        """Claims another history than the one that it was sent."""
        await self.say("SUBSCRIBE", ref=1, streams={STREAM: None})
        sent = await self.hear("SYNC_SNAPSHOT")
        position = {"epoch": sent["epoch"], "last_seq_id": sent["seq"], "checksum": sent["checksum"] + 1}
        await self.say("ACK", streams={STREAM: position})


class Watch:
    """When a client was without connection."""

    def __init__(self) -> None:
        self.left = self.back = 0.0

    def __call__(self, state: State) -> None:
        if state is State.DISCONNECTED:
            self.left = time.monotonic()
        elif state is State.CONNECTED:
            self.back = time.monotonic()


async def outage(client: Client, proxy: FaultProxy, other: Server) -> dict[str, float]:
    """The network is gone, entries are published, messages wait; it returns, and leads to another node."""
    began, node = time.monotonic(), client.node
    proxy.refuse()
    proxy.move(other.port)
    await eventually(lambda: client.state is not State.CONNECTED)
    for n in range(MISSED):
        await sync_to_async(cards.create)("launch", "todo", f"missed {n}")
    waiting = [asyncio.create_task(send(client, f"queued {n}")) for n in range(QUEUED)]
    await eventually(lambda: client.metrics["backoff_capped"] >= 2, 10)
    await eventually(ClientSession.objects.filter(state="away").aexists, 10)  # the old node wrote it down
    depth = client.waiting
    proxy.accept()
    await client.ready(20)
    await client.live(STREAM, 20)
    over = time.monotonic()
    flushed = [await task for task in waiting]
    assert client.node != node
    return {"depth": depth, "flushed": len(flushed), "longest_ms": (over - began) * 1_000}


async def settled(node: Server, holds: Callable[[Page], Any]) -> Page:
    """The first page of a node that fits: sessions are written, and sampled, a moment later."""
    async with asyncio.timeout(20):
        while not holds(page := await asyncio.to_thread(scrape, node)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return page


async def send(client: Client, title: str) -> Any:
    return await client.send(STREAM, {"op": "create", "column": "todo", "title": title})


async def test_each_metric_of_the_blueprint_tells_what_the_test_counted(nodes: tuple[Server, Server]):
    one, two = nodes
    watch = Watch()
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(one.port))
        url = f"ws://{HOST}:{proxy.port}/ws/board/"
        client = await stack.enter_async_context(connect(url, base=0.1, maximum=0.2, on_state=watch))
        client.subscribe(STREAM)
        await client.live(STREAM, 20)
        await settled(one, lambda page: page.value("reconnect_live_sessions"))
        before = await asyncio.to_thread(scrape, two)

        truth = await outage(client, proxy, two)
        handover_ms = (watch.back - watch.left) * 1_000
        after = await settled(two, lambda page: page.value("cross_node_handoff_latency_ms_count"))
        proxy.cut_at(b'"type":"ACK"')
        await send(client, "its answer is lost on the way")
        await client.live(STREAM, 20)

        guests = [await stack.enter_async_context(Raw(two)) for _ in range(3)]
        report = {
            "reconnect_fsm_invalid_transitions_total": client.metrics["invalid_transitions"] + 1,
            "reconnect_backoff_capped_total": client.metrics["backoff_capped"],
            "reconnect_attempt_duration_seconds": 0.75,
            "reconnect_attempt_duration_seconds_count": 2,
            "reconnect_attempt_duration_seconds_sum": 1.25,
            "ws_queue_depth": truth["depth"],
            "reconnect_flush_attempted_total": QUEUED + 1,
            "reconnect_flush_succeeded_total": truth["flushed"],
        }
        await guests[0].say("TELEMETRY", environment="python", metrics=report)
        for guest in guests[1:]:
            await guest.drift()
        await asyncio.to_thread(one.kill)  # two clears up alone, and can't for a channel that none can be
        long_ago = timezone.now() - timedelta(minutes=1)
        await Node.objects.acreate(name="dead", host="there", pid=1, channel="not a channel", seen=long_ago)

        second = await settled(
            two,
            lambda page: (
                page.value("stale_socket_cleanup_errors_total")
                and page.value("reconnect_live_sessions") == 4
                and page.value("reconnect_drifted_sessions") == 2
            ),
        )

        def gained(name: str, **labels: str) -> float:
            return second.value(name, **labels) - before.value(name, **labels)

        for name in NAMES:
            assert {name, f"{name}_total"} & second.names, f"{name} isn't exported"
        python = {"environment": "python"}
        assert gained("reconnect_fsm_invalid_transitions_total", **python) == 1
        assert gained("reconnect_attempt_duration_seconds_count", **python, outcome="connected") == 2
        assert gained("reconnect_attempt_duration_seconds_sum", **python, outcome="connected") == 1.25
        assert gained("reconnect_backoff_capped_total", **python) == client.metrics["backoff_capped"] >= 2
        assert gained("ws_queue_depth_count", **python) == 1
        assert gained("ws_queue_depth_sum", **python) == QUEUED
        assert second.value("reconnect_flush_success_rate", **python) == QUEUED / (QUEUED + 1)
        assert gained("duplicate_msg_rejected_total", prefix="board:") == client.metrics["duplicates"] == 1
        gap = {
            part: after.value(f"delta_sync_gap_size_{part}") - before.value(f"delta_sync_gap_size_{part}")
            for part in ("count", "sum")
        }
        assert gap == {"count": 1, "sum": MISSED}
        assert gained("cross_node_handoff_latency_ms_count") == 1
        assert handover_ms - 100 <= gained("cross_node_handoff_latency_ms_sum") <= truth["longest_ms"] + 100
        assert second.value("state_drift_percentage") == 50.0  # two of four
        assert second.value("stale_socket_cleanup_errors_total") == two.log.read_text().count(CLEANUP)

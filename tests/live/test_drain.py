"""A process that ends sends its sockets away first, spread over a window (design 10.2)."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.test import AsyncClient

from reconnect_channels.client import Client, State, connect
from reconnect_channels.live import drain as drains
from reconnect_channels.live.drain import Terminations, begin, drain
from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import Node
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually
from tests.servers import HOST, asgi_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"
READY = "/reconnect/ready"


async def open_peers(stack: AsyncExitStack, number: int) -> list[Peer]:
    peers = []
    for _ in range(number):
        peers.append(await stack.enter_async_context(Peer()))
        await peers[-1].greet({A: None})
    return peers


def when_closed(peers: list[Peer], started: float) -> list[asyncio.Task[float]]:
    async def closed(peer: Peer) -> float:
        await peer.socket.until(lambda: peer.socket.closed)
        return time.monotonic() - started

    return [asyncio.ensure_future(closed(peer)) for peer in peers]


async def test_the_sockets_are_sent_away_one_after_the_other_within_the_window():
    async with AsyncExitStack() as stack:
        peers = await open_peers(stack, 10)
        ends = when_closed(peers, time.monotonic())
        for peer in peers:
            ending = asyncio.ensure_future(peer.socket.ended())
            ending.add_done_callback(lambda _: None)
        draining = asyncio.ensure_future(drain(get_hub(), 1.0))
        times = sorted([await end for end in ends])
        assert times[0] < 0.15
        assert 0.7 < times[-1] < 1.2
        assert all(later - earlier < 0.3 for earlier, later in pairwise(times))
        for peer in peers:
            bye, code = await peer.goodbye()
            assert (bye["code"], code, bye["reconnect"]) == (4012, 4012, True)
            low, high = bye["retry_after_ms"]
            assert 0 < low < high
        assert len({tuple((await peer.goodbye())[0]["retry_after_ms"]) for peer in peers}) > 5
        for peer in peers:
            await peer.socket.close(4012)
        assert await draining == 10


async def test_a_few_sockets_are_sent_away_at_once_and_many_as_fast_as_others_greet_them(configure: Any):
    configure(RESUME_RATE=10)
    async with AsyncExitStack() as stack:
        peers = await open_peers(stack, 5)
        ends = when_closed(peers, time.monotonic())
        begin(get_hub())
        times = sorted([await end for end in ends])
        assert 0.3 < times[-1] < 0.8


async def test_readiness_fails_and_who_still_comes_is_turned_away():
    http = AsyncClient()
    async with Peer() as peer:
        await peer.greet()
        assert (await http.get(READY)).status_code == 200
        begin(get_hub(), 0.1)
        answer = await http.get(READY)
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "draining"})
        assert (await peer.goodbye())[1] == 4012
        async with Peer() as late:
            late.hello()
            bye, code = await late.goodbye()
            assert (bye["code"], code) == (4012, 4012)
            assert bye["retry_after_ms"][0] >= 1_000
        assert (await http.get(READY)).status_code == 503


async def test_a_socket_that_said_nothing_yet_is_sent_away_too():
    async with Peer() as silent:
        begin(get_hub(), 0.1)
        assert (await silent.goodbye())[1] == 4012


async def test_what_a_handler_is_working_on_is_finished_and_the_client_hears_of_it_elsewhere():
    working, go_on = asyncio.Event(), asyncio.Event()

    class Slow(NotesConsumer):
        async def receive_message(self, message: Any) -> Any:
            working.set()
            await go_on.wait()
            return {"done": True}

    async with Peer(Slow) as peer:
        await peer.greet()
        message = {"id": peer.message(A, {"x": 1}), "producer": peer.producer, "n": 1}
        await working.wait()
        draining = begin(get_hub(), 0.1)
        await peer.goodbye()
        go_on.set()
        await peer.socket.close(4012)
    await draining
    get_hub().draining = None
    async with Peer(Slow) as back:
        await back.greet()
        back.say("MESSAGE", stream=A, payload={"x": 1}, clock=0, **message)
        answer = await back.answer(message["id"])
        assert (answer["type"], answer["result"]) == ("ACK", {"done": True})


async def test_an_ordinary_socket_is_closed_as_the_standard_says():
    class Ordinary(NotesConsumer):
        async def entry_published(self, entry: Any) -> None:
            pass

        def get_streams(self) -> list[str]:
            return [A]

    peer = Peer(Ordinary, subprotocols=())
    async with peer:
        begin(get_hub(), 0.1)
        await peer.socket.until(lambda: peer.socket.closed)
        assert peer.socket.closed == {"type": "websocket.close", "code": 1012}


# -- by command --------------------------------------------------------------------------------------------


async def command(*args: str) -> str:
    out = StringIO()
    await sync_to_async(call_command)("reconnect_drain", *args, stdout=out)
    return out.getvalue()


async def test_the_command_drains_the_named_node_and_leaves_its_mark_in_the_row():
    async with Peer() as peer:
        await peer.greet({A: None})
        hub = get_hub()
        for name in (hub.node, "another"):
            await Node.objects.aupdate_or_create(name=name, defaults={"host": "here", "pid": 1})
        assert hub.node in await command()
        with pytest.raises(CommandError, match="no such node: nobody"):
            await command("--node", "nobody")
        await command("--node", "another")
        assert hub.draining is None
        await command("--node", hub.node, "--window", "0.1")
        assert (await peer.goodbye())[1] == 4012
        assert [node.draining async for node in Node.objects.all()] == [True, True]


async def test_the_command_waits_until_the_nodes_of_this_host_are_drained(configure: Any):
    configure(SESSION_FLUSH=0.05)
    async with Peer() as peer:
        await peer.greet({A: None})
        hub = get_hub()
        await eventually(Node.objects.filter(name=hub.node).aexists)
        await Node.objects.acreate(name="another", host="elsewhere", pid=1)
        with pytest.raises(CommandError, match="in time"):
            await command("--node", "another", "--wait", "0.1")
        assert "1 draining" in await command("--here", "--window", "0", "--wait", "10")
        assert [node.name async for node in Node.objects.all()] == ["another"]


async def test_a_node_that_heard_nothing_finds_it_in_its_row(configure: Any):
    configure(NODE_TIMEOUT=1.2, SESSION_FLUSH=0.05)
    async with Peer() as peer:
        await peer.greet({A: None})
        hub = get_hub()
        await eventually(Node.objects.filter(name=hub.node).aexists)
        await Node.objects.filter(name=hub.node).aupdate(draining=True)
        assert (await peer.goodbye())[1] == 4012


# -- by signal ---------------------------------------------------------------------------------------------


async def test_the_servers_handler_is_called_behind_the_drain_and_at_once_by_a_second_signal(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(drains, "ENDING", 0.05)
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        hub = get_hub()
        for number in (1, 2):
            async with AsyncExitStack() as stack:
                peers = await open_peers(stack, 4)
                draining = begin(hub, 0.3) if number == 2 else None
                os.kill(os.getpid(), signal.SIGTERM)
                if draining is not None:
                    await eventually(lambda: calls == [signal.SIGTERM] * 2)
                    assert not draining.done()
                for peer in peers:
                    assert (await peer.goodbye())[1] == 4012
                await eventually(lambda number=number: len(calls) == number)  # type: ignore[misc]
            hub.draining = None
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_process_that_has_no_handler_ends_as_ever_and_the_handler_is_given_back():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    terminations = Terminations(get_hub())
    terminations.watch()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def handler(*_: Any) -> None:
        pass

    before = signal.signal(signal.SIGTERM, handler)
    try:
        terminations.watch()
        assert signal.getsignal(signal.SIGTERM) != handler
        terminations.ignore()
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def status(port: int) -> int:
    try:
        with urlopen(f"http://{HOST}:{port}{READY}") as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


async def live_client(port: int, stack: AsyncExitStack, ends: list[Any]) -> Client:
    client = connect(f"ws://{HOST}:{port}/ws/", base=0.05, maximum=0.2)
    client.subscribe(A)
    await stack.enter_async_context(client)
    await client.live(A, timeout=10)
    run: Callable[..., Any] = client._session.close

    def close(code: int, now: float) -> Any:
        ending = run(code, now)
        ends.append(ending)
        return ending

    client._session.close = close  # type: ignore[method-assign]
    return client


@pytest.mark.servers
@pytest.mark.parametrize("server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
async def test_a_server_that_is_told_to_stop_says_goodbye_first_and_clients_go_on_elsewhere(
    server: str, tmp_path: Path
):
    env = {"RECONNECT_CHANNELS": '{"RESUME_RATE": 20}'}
    old = asgi_server("tests.live.app:application", tmp_path / "old", server=server, env=env)
    async with AsyncExitStack() as stack:
        stack.enter_context(old)
        ends: list[Any] = []
        clients = [await live_client(old.port, stack, ends) for _ in range(20)]
        assert await asyncio.to_thread(status, old.port) == 200
        process = old.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        await eventually(lambda: ends, timeout=5)
        assert await asyncio.to_thread(status, old.port) == 503
        await eventually(lambda: len([end for end in ends if end.code == 4012]) >= 20, timeout=10)
        assert all(end.window is not None for end in ends if end.code == 4012)
        assert time.monotonic() - started > 0.6
        await eventually(lambda: process.poll() is not None, timeout=15)
        old.process = None
        old._dismiss_guard()
        successor = asgi_server("tests.live.app:application", tmp_path / "new", server=server, port=old.port)
        stack.enter_context(successor)
        await asyncio.gather(*(client.live(A, timeout=20) for client in clients))
        assert {client.state for client in clients} == {State.CONNECTED}

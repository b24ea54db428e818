"""Nothing that a peer sends ends a connection that could live, or leaves a traceback (design 13)."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from tests.live.corpus import HARMLESS, bad_frames, frame, message
from tests.live.peer import Peer
from tests.servers import Server, asgi_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

CORPUS = bad_frames()


@pytest.fixture
async def peer(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Peer]:
    async with Peer() as peer:
        await peer.greet()
        yield peer
    assert "Traceback" not in caplog.text


async def test_every_bad_frame_gets_its_error_and_the_connection_goes_on(peer: Peer):
    for name, (text, (kind, code, reason)) in CORPUS.items():
        if isinstance(text, bytes):
            peer.socket.write(data=text)
        else:
            peer.socket.write(text)
        answer = await peer.until(lambda f: f["type"] in ("ERROR", "REJECT"), f"an answer to {name}")
        assert (answer["type"], answer["code"], answer["reason"]) == (kind, code, reason), name
        assert len(str(answer)) < 100_000 // 4 or name == "1000 subscriptions"
        if kind == "REJECT":
            assert not answer["retry"], name
    await peer.still_works()


async def test_frames_that_only_look_odd_are_taken(peer: Peer):
    for text in HARMLESS.values():
        peer.socket.write(text)
    await peer.still_works()
    assert "ERROR" not in peer.kinds()


async def test_an_empty_frame_is_answered(peer: Peer):
    peer.socket.write("")
    assert (await peer.hear("ERROR"))["reason"] == "JSON"
    await peer.still_works()


async def test_nothing_but_hello_is_taken_before_hello():
    async with Peer() as peer:
        for text in (
            message(),
            frame("SUBSCRIBE", ref=1, streams={"notes:a": None}),
            frame("ACK", streams={}),
        ):
            peer.socket.write(text)
            assert (await peer.hear("ERROR"))["reason"] == "HELLO"
        await peer.greet()
        await peer.still_works()


async def test_a_hello_with_too_many_streams_may_be_said_better():
    async with Peer() as peer:
        peer.hello({f"notes:{n}": None for n in range(101)})
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"]) == (413, "LIMIT")
        await peer.greet({f"notes:{n}": None for n in range(100)})
        await peer.hear("SYNC_DELTA", stream="notes:99", complete=True)


async def test_a_message_over_the_rate_is_told_when_to_come_back(configure: Any):
    configure(RATE=1, BURST=2)
    async with Peer() as peer:
        await peer.greet()
        for _ in range(2):
            assert (await peer.answer(peer.message("notes:a", 1)))["type"] == "ACK"
        late = await peer.answer(peer.message("notes:a", 1))
        assert (late["code"], late["reason"], late["retry"]) == (429, "RATE", True)
        assert 0 < late["retry_after_ms"] <= 1_001


async def test_a_peer_that_asks_and_never_reads_is_cut_off():
    async with Peer() as peer:
        await peer.greet()
        peer.socket.block()
        for _ in range(1_100):
            peer.say("nonsense")
        assert await peer.socket.ended() is None


KINDS = ["HELLO", "SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE", "ACK", "PONG", "TELEMETRY"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["notes:a", "e"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["ref", "streams", "id", "n", "producer", "stream", "payload", "parts", "t", "metrics", "clock"]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), VALUES)), max_size=20)
)
@settings(
    max_examples=settings.default.max_examples // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_random_fields_end_in_an_answer_or_in_one_close(frames: list[tuple[str, dict[str, Any]]]):
    async with Peer() as peer:
        await peer.greet()
        for kind, fields in frames:
            peer.socket.write(json.dumps({"type": kind, **fields}))
        key = peer.message("notes:still", 1)
        last = await peer.until(lambda f: f.get("id") == key or f["type"] == "BYE")
        if last["type"] == "BYE":  # a malformed position
            assert (await peer.goodbye())[1] == 4000


# -- over real servers -------------------------------------------------------------------------------------


@pytest.fixture(params=["uvicorn", "daphne"])
def server(request: pytest.FixtureRequest, tmp_path: Path, transactional_db: None) -> Iterator[Server]:
    with asgi_server("tests.live.app:application", tmp_path / "log", server=request.param) as server:
        yield server
    log = server.log.read_text(errors="replace")
    assert "Traceback" not in log, log[-5_000:]


class Talk:
    """A raw client of a real server."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def until(self, fits: Any) -> dict[str, Any]:
        while True:
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            if fits(frame):
                return frame

    async def greet(self) -> dict[str, Any]:
        await self.socket.send(frame("HELLO", protocol="reconnect.v1", client_id="c", streams={}))
        return await self.until(lambda f: f["type"] == "WELCOME")

    async def still_works(self) -> None:
        key = str(uuid4())
        await self.socket.send(message(id=key, producer=str(uuid4()), stream="notes:still"))
        answer = await self.until(lambda f: f.get("id") == key)
        assert answer["type"] == "ACK", answer


def dial(server: Server, **options: Any) -> Any:
    host = f"127.0.0.1:{server.port}"
    given: dict[str, Any] = {
        "origin": f"http://{host}",
        "subprotocols": ["reconnect.v1"],
        "compression": None,
    }
    return connect(f"ws://{host}/ws/", **{**given, **options})


@pytest.mark.servers
async def test_real_servers_pass_every_bad_frame_on_and_live(server: Server):
    async with dial(server) as socket:
        assert socket.subprotocol == "reconnect.v1"
        talk = Talk(socket)
        await talk.greet()
        for name, (data, (kind, code, reason)) in CORPUS.items():
            if name == "above 128 KiB":
                continue  # the server's own bound
            await socket.send(data)
            answer = await talk.until(lambda f: f["type"] in ("ERROR", "REJECT"))
            assert (answer["type"], answer["code"], answer["reason"]) == (kind, code, reason), name
        for text in HARMLESS.values():
            await socket.send(text)
        await socket.send("")  # Daphne swallows it
        await talk.still_works()
    async with dial(server) as socket:  # what the server itself may refuse
        talk = Talk(socket)
        await talk.greet()
        await socket.send(" " * 131_072)
        await talk.until(lambda f: f["type"] == "ERROR" and f["reason"] == "JSON")
        await socket.send(" " * 140_000)
        with suppress(websockets.ConnectionClosed):  # uvicorn's own bound is what we tell it
            await talk.until(lambda f: f["type"] == "ERROR" and f["reason"] == "SIZE")
            await talk.still_works()
        assert socket.close_code in (None, 1009)
    async with dial(server, origin="https://evil.example") as socket:
        talk = Talk(socket)
        bye = await talk.until(lambda f: f["type"] == "BYE")
        assert (bye["code"], bye["reason"], bye["reconnect"]) == (4503, "ORIGIN", False)
        with pytest.raises(websockets.ConnectionClosed) as refused:
            await socket.recv()
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 4503
    async with dial(server) as socket:
        await Talk(socket).greet()
        socket.transport.abort()  # without a goodbye
    async with dial(server) as socket:
        await Talk(socket).greet()
        await Talk(socket).still_works()

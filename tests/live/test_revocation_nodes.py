"""P8 over two real nodes: how long entries still arrive after each cause, with the layer up and down."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connections
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from reconnect_channels.protocol.frames import SUBPROTOCOL
from tests.live.rights_app import TICKS
from tests.servers import HOST, Server, asgi_server, free_port

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.redis,
    pytest.mark.servers,
]

SAME_NODE, OTHER_NODE, LATER = 1.0, 2.0, 60.0  # seconds: P8
SETTLED = 0.5  # of an entry that was read before the right ended, on its way through the sockets of this test

# What ends a socket, and the close codes that may say so; 0 = its stream alone ends.
CAUSES = {
    "logout": {4501},
    "password": {4010},
    "deactivate": {4501},
    "delete": {4501},
    "revoke": {4503},
    "revoke session": {4501},
    "revoke stream": {0},
    "group": {0},
}
SILENT_CAUSES = {"update": {4501}, "delete session": {4010}}


class Browser:
    """One login, kept in cookies."""

    def __init__(self, node: Server, user: str) -> None:
        self._cookies = HTTPCookieProcessor()
        self._open = build_opener(self._cookies).open
        self._node = node
        self.user = user

    def do(self, what: str) -> None:
        query = urlencode({"do": what, "user": self.user})
        self._open(f"http://{HOST}:{self._node.port}/act/?{query}", timeout=30).read()

    @property
    def cookie(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies.cookiejar)


@dataclass
class Watch:
    """A socket, and when it got its last entry."""

    last: float = 0.0
    entries: int = 0
    code: int | None = None
    said: list[Any] = field(default_factory=list)

    async def run(self, node: Server, browser: Browser, plain: bool = False) -> None:
        url = f"ws://{HOST}:{node.port}/{'old' if plain else 'ws'}/"
        protocols: Any = None if plain else [SUBPROTOCOL]
        origin: Any = f"http://{HOST}:{node.port}"
        headers = {"Cookie": browser.cookie}
        async with connect(url, subprotocols=protocols, origin=origin, additional_headers=headers) as socket:
            if not plain:
                hello = {"type": "HELLO", "protocol": SUBPROTOCOL, "client_id": browser.user, "attempt": 1}
                await socket.send(json.dumps({**hello, "client_id": str(id(self)), "streams": {TICKS: None}}))
            with suppress(ConnectionClosed):
                await self._read(socket)
            if self.code is None:
                self.code = socket.close_code

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "SYNC_DELTA":
                self.last, self.entries = time.monotonic(), self.entries + 1
                if "payload" in frame and self.entries % 100 == 0:
                    at = {"epoch": frame["epoch"], "last_seq_id": frame["to"], "checksum": frame["checksum"]}
                    await socket.send(json.dumps({"type": "ACK", "streams": {TICKS: at}}))
            else:
                self.said.append(frame)
                if frame["type"] == "ERROR":
                    self.code = 0


@contextmanager
def two_nodes(folder: Path, **environment: str) -> Iterator[list[Server]]:
    environment = {"DJANGO_SETTINGS_MODULE": "tests.live.rights_settings", **environment}
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                asgi_server("tests.live.rights_app:application", folder / f"{number}.log", env=environment)
            )
            for number in range(2)
        ]


def users(names: Any) -> None:
    readers = Group.objects.create(name="readers")
    for name in names:
        readers.user_set.add(get_user_model().objects.create_user(name, password="secret"))


async def measure(
    nodes: list[Server], causes: dict[str, set[int]], patience: float
) -> dict[tuple[str, str], float]:
    """By cause and socket: seconds from the answer of the request that caused it to the last entry."""
    here = nodes[0]
    await sync_to_async(users)(causes)
    await sync_to_async(connections.close_all)()
    browsers = {cause: Browser(here, cause) for cause in causes}
    for browser in browsers.values():
        await asyncio.to_thread(browser.do, "login")
    places = {"same node": (nodes[0], False), "other node": (nodes[1], False), "ordinary": (nodes[1], True)}
    watches: dict[tuple[str, str], Watch] = {}
    async with asyncio.TaskGroup() as tasks:
        for cause, browser in browsers.items():
            for place, (node, plain) in places.items():
                watch = watches[cause, place] = Watch()
                tasks.create_task(watch.run(node, browser, plain))
        for node in nodes:
            await asyncio.to_thread(Browser(node, "").do, "publish")
        async with asyncio.timeout(20):
            while not all(watch.entries > 20 for watch in watches.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        ended = {}
        for cause, browser in browsers.items():
            await asyncio.to_thread(browser.do, cause)
            ended[cause] = time.monotonic()
            mine = [watch for (of, _), watch in watches.items() if of == cause]
            assert all(ended[cause] - watch.last < SETTLED for watch in mine), "entries came up to the cause"
            await asyncio.sleep(0.3)
        await asyncio.sleep(patience)
        marks = {key: watch.entries for key, watch in watches.items()}
        await asyncio.sleep(1)
        assert {key: watch.entries for key, watch in watches.items()} == marks, "nothing arrives any more"
        for node in nodes:
            node.kill()
    for (cause, place), watch in watches.items():
        if place == "ordinary" and causes[cause] == {0}:
            continue  # is told nothing
        expected = (
            {1012 if code == 4010 else code for code in causes[cause]}
            if place == "ordinary"
            else causes[cause]
        )
        assert watch.code in expected, (cause, place, watch.code, watch.said[-3:])
    return {key: max(0.0, watch.last - ended[key[0]]) for key, watch in watches.items()}


def report(title: str, figures: dict[tuple[str, str], float]) -> None:
    print(f"\n{title}: seconds until nothing more arrives")
    for (cause, place), seconds in figures.items():
        print(f"  {cause:16} {place:12} {seconds:.3f}")


@pytest.mark.parametrize("layer", [pytest.param("up", marks=pytest.mark.slow), "down"])
async def test_what_is_revoked_ends_on_both_nodes_in_time(layer: str, tmp_path: Path, redis_url: str):
    url = redis_url if layer == "up" else f"redis://{HOST}:{free_port()}/0"
    with two_nodes(tmp_path, CHANNELS_REDIS_URL=url) as nodes:
        figures = await measure(nodes, CAUSES, patience=2.5)
    report(f"layer {layer}", figures)
    for (cause, place), seconds in figures.items():
        assert seconds <= (SAME_NODE if place == "same node" else OTHER_NODE), (cause, place, figures)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("layer", ["up", "down"])
async def test_what_nobody_tells_ends_within_a_minute(layer: str, tmp_path: Path, redis_url: str):
    url = redis_url if layer == "up" else f"redis://{HOST}:{free_port()}/0"
    with two_nodes(tmp_path, CHANNELS_REDIS_URL=url) as nodes:
        figures = await measure(nodes, SILENT_CAUSES, patience=LATER)
    report(f"layer {layer}", figures)
    assert all(seconds <= LATER for seconds in figures.values()), figures

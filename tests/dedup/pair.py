"""Two nodes on one PostgreSQL and one Valkey, and a client that sends them the same message at once."""

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import msgspec
import psycopg
from websockets.asyncio.client import ClientConnection, connect

from tests import services
from tests.servers import HOST, ROOT, Server, asgi_server

Frame = dict[str, Any]
PATIENCE = 60.0


class Pair(NamedTuple):
    nodes: list[Server]
    database: str
    redis: Server

    def effects(self, stream: str) -> dict[str, int]:
        """How often the handler of each message ran, as far as that is to be seen."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute(
                "SELECT key, count(*) FROM effects WHERE stream = %s GROUP BY key", [stream]
            )
            return dict(rows.fetchall())

    def entries(self, stream: str) -> list[str]:
        """The keys of a stream's entries in the database, in order."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute(
                "SELECT e.key::text FROM reconnect_channels_streamentry e "
                "JOIN reconnect_channels_stream s ON s.id = e.stream_id WHERE s.name = %s ORDER BY e.seq",
                [stream],
            )
            return [key for (key,) in rows]


@contextmanager
def running(postgres_url: str, folder: Path, **environment: str) -> Iterator[Pair]:
    """:param environment: see `node_settings`; what ends with `_0` is said to the first node alone."""
    base, _, _ = postgres_url.rpartition("/")
    name = f"pair_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with ExitStack() as stack:
        stack.callback(_drop, postgres_url, name)
        redis = stack.enter_context(services.redis())
        common = {
            "DJANGO_SETTINGS_MODULE": "tests.dedup.node_settings",
            "DATABASE_URL": f"{base}/{name}",
            "REDIS_URL": services.redis_url(redis),
            "ANSWERS": "yes",
            **{key: value for key, value in environment.items() if not key.endswith("_0")},
        }
        own_of_first = {key[:-2]: value for key, value in environment.items() if key.endswith("_0")}
        nodes = [
            asgi_server("tests.dedup.node:application", folder / f"node-{number}.log", env={**common, **own})
            for number, own in enumerate([own_of_first, {}])
        ]
        migration = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migration, cwd=ROOT, env=nodes[1].env, check=True)
        with psycopg.connect(f"{base}/{name}") as connection:
            connection.execute("CREATE TABLE effects (id bigserial, key text, stream text)")
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        yield Pair(nodes, f"{base}/{name}", redis)


def _drop(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Line:
    """A raw socket to one node: says what it is told to, and finds answers by the message's id."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        hello = {"type": "HELLO", "protocol": "reconnect.v1", "client_id": str(uuid4()), "attempt": 1}
        await self.socket.send(msgspec.json.encode(hello).decode())
        while msgspec.json.decode(await self.socket.recv())["type"] != "WELCOME":
            pass
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        async for text in self.socket:
            frame = msgspec.json.decode(text)
            if frame["type"] == "PING":
                await self.socket.send(msgspec.json.encode({"type": "PONG", "t": frame["t"]}).decode())
            elif frame["type"] in ("ACK", "REJECT"):
                waiting = self._waiting.pop(frame["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)

    def answer(self, key: str) -> "asyncio.Future[Frame]":
        """The next answer to a message."""
        self._waiting[key] = asyncio.get_running_loop().create_future()
        return self._waiting[key]

    async def ask(self, message: Frame) -> Frame:
        """One transmission and its answer."""
        answer = self.answer(message["id"])
        await self.socket.send(msgspec.json.encode(message).decode())
        return await asyncio.wait_for(answer, PATIENCE)

    async def final(self, message: Frame, first: "asyncio.Future[Frame] | None" = None) -> Frame:
        """The answer that isn't "send it again"; sends it again as often as that is said."""
        frame = await asyncio.wait_for(first, PATIENCE) if first else await self.ask(message)
        deadline = time.monotonic() + PATIENCE
        while frame.get("retry"):
            assert time.monotonic() < deadline, frame
            await asyncio.sleep(frame["retry_after_ms"] / 1000)
            frame = await self.ask(message)
        return frame


@asynccontextmanager
async def line(node: Server, kind: str) -> AsyncIterator[Line]:
    url = f"ws://{HOST}:{node.port}/{kind}/"
    origin: Any = f"http://{HOST}:{node.port}"
    async with (
        connect(url, subprotocols=["reconnect.v1"], origin=origin, compression=None) as socket,  # type: ignore[list-item]
        Line(socket) as opened,
    ):
        yield opened


class Outbox:
    """One producer: numbers its messages."""

    def __init__(self, stream: str) -> None:
        self.stream, self.producer, self.n = stream, str(uuid4()), 0

    def message(self, payload: Any) -> Frame:
        self.n += 1
        fields = {"id": str(uuid4()), "producer": self.producer, "n": self.n, "settled": self.n - 1}
        return {"type": "MESSAGE", "stream": self.stream, "payload": payload, **fields}


async def to_both(lines: list[Line], message: Frame) -> tuple[list[Frame], float]:
    """Sends a message to both nodes at once; the final answers, and the seconds between the two sendings."""
    text = msgspec.json.encode(message).decode()
    answers = [opened.answer(message["id"]) for opened in lines]
    began = time.perf_counter()
    for opened in lines:
        await opened.socket.send(text)
    apart = time.perf_counter() - began
    frames = await asyncio.gather(
        *(opened.final(message, answer) for opened, answer in zip(lines, answers, strict=True))
    )
    return list(frames), apart

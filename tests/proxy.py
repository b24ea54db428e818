"""A TCP proxy on a port of this machine that cuts, freezes and refuses connections when a test says so."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

HOST = "127.0.0.1"
SMALL = 4096  # bytes of a throttled connection's buffers
RESET_ON_CLOSE = socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)


@dataclass
class Counters:
    accepted: int = 0
    cut: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(eq=False)
class Link:
    """One client's connection and ours to the server behind."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def reset(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(*RESET_ON_CLOSE)
            writer.transport.abort()


class FaultProxy:
    """Runs in a thread of its own; every method returns when the fault is in force.

    with FaultProxy(server.port) as proxy:
        connect(proxy.port)
        proxy.cut()
    """

    def __init__(self, upstream_port: int, upstream_host: str = HOST) -> None:
        self.upstream = upstream_host, upstream_port
        self.port = 0
        self.counters = Counters()
        self._rate: float | None = None
        self._doomed = b""
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def open(self) -> int:
        """Connections that the proxy holds now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset (RST) both ends of every connection; new ones are welcome."""
        self._run(self._cut())

    def pause(self) -> None:
        """Forward nothing, not even the end of a connection: both ends believe the other is there."""
        self._run(self._pause())

    def resume(self) -> None:
        """Forward again, first what was held back."""
        self._run(self._resume())

    def cut_at(self, answer: bytes) -> None:
        """Reset the next connection on which the server says this: it was said, and nobody hears it."""
        self._run(self._cut_at(answer))

    def move(self, upstream_port: int) -> None:
        """Lead new connections to another server of this machine, and reset those to the old one."""
        self.upstream = HOST, upstream_port
        self.cut()

    def throttle(self, rate: float | None) -> None:
        """Let the client have that many bytes a second; None = as many as there are.

        For connections that are made from now on: their buffers are small, so that the server notices.
        """
        self._rate = rate

    def refuse(self) -> None:
        """Stop listening: new connections are refused, those that exist go on."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._run(self._accept())

    def start(self) -> Self:
        self._thread.start()
        self.accept()
        self.resume()
        return self

    def stop(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _pause(self) -> None:
        self._flowing.clear()

    async def _resume(self) -> None:
        self._flowing.set()

    async def _cut_at(self, answer: bytes) -> None:
        self._doomed = answer

    async def _cut(self) -> None:
        links = list(self._links)
        self.counters.cut += len(links)
        for link in links:
            link.reset()
        # A paused link notices nothing by itself.
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop(self) -> None:
        await self._refuse()
        await self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counters.accepted += 1
        link = Link([writer])
        task = asyncio.current_task()
        assert task is not None
        self._links.add(link)
        self._tasks.add(task)
        try:
            await self._flowing.wait()
            upstream_reader, upstream_writer = await self._connect()
            link.writers.append(upstream_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, upstream_writer, "bytes_up"))
                pumps.create_task(self._pump(upstream_reader, writer, "bytes_down"))
        except* OSError:
            link.reset()  # one end is gone: so is the other
        finally:
            for end in link.writers:
                end.close()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._rate is None:
            return await asyncio.open_connection(*self.upstream)
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        end.setblocking(False)
        await self._loop.sock_connect(end, self.upstream)
        return await asyncio.open_connection(sock=end, limit=SMALL)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counter: str) -> None:
        rate = self._rate if counter == "bytes_down" else None
        while data := await reader.read(65536 if rate is None else max(1, int(rate / 10))):
            if rate is not None:
                await asyncio.sleep(len(data) / rate)
            await self._flowing.wait()
            if self._doomed and counter == "bytes_down" and self._doomed in data:
                self._doomed = b""
                self.counters.cut += 1
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
            setattr(self.counters, counter, getattr(self.counters, counter) + len(data))
        await self._flowing.wait()
        writer.write_eof()

"""The whole way of an entry: published, received, missed during a cut, resumed; and nothing of it stays."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db import Error
from django.utils import timezone

from .. import announcement, workers
from ..client import Client, Entries, State
from ..conf import settings
from ..live.hub import close_hub
from ..log import log_for
from ..models import ClientSession, ProcessedMessage, Producer, Stream
from ..protocol.codec import MAX_FRAME, MAX_MESSAGE
from ..publication import publish_many
from ..sessions import alias
from .consumer import PREFIX, DoctorConsumer, doctor_url
from .finding import Finding, Plan, failure, ok, told, warning
from .proxy import has_route

MISSED = 25  # entries
TIMEOUT = 10.0  # seconds for each step
LETTING_GO = 1.0  # seconds after GRACE in which nodes forget a stream that nobody follows


def probe(plan: Plan) -> Iterator[Finding]:
    trip = Trip(plan)
    try:
        asyncio.run(trip.run())
    finally:
        announcement.stop()  # sends what is queued
        workers.stop()
    yield from trip.findings


class Traveller(Client):
    """A client that stays away for as long as it is told."""

    def __init__(self, url: str) -> None:
        super().__init__(url, base=0.1, maximum=1.0)
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self.problem: Exception | None = None  # why the newest connection ended, or never was

    async def _attempt(self) -> tuple[int, Exception | None]:
        await self.may_connect.wait()
        code, self.problem = await super()._attempt()
        return code, self.problem


class Ended(Exception):
    """A step failed: those that build on it are left out."""


class Trip:
    """One visit of the doctor's consumer, on a stream that nobody else knows."""

    def __init__(self, plan: Plan) -> None:
        self.findings: list[Finding] = []
        self._plan = plan
        self._stream = PREFIX + plan.visit
        self._client: Traveller | None = None
        self._applied: list[Any] = []
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Travels as far as it can, and clears up after itself."""
        try:
            async with self._step(
                "publish", "Nothing can be published.", "Mend database, Redis and migrations first."
            ):
                await self._publish(["early"])
        except Ended:
            return
        self.findings.append(ok("publish", "An entry was published."))
        try:
            url = doctor_url(self._plan.url, self._plan.visit)
            if bool(self._plan.url) and await asyncio.to_thread(has_route, url):
                await self._travel(url, "through the public URL")
            else:
                async with _server() as home:
                    url = doctor_url(home, self._plan.visit)
                    await self._travel(url, "from a server in this process")
        except Ended:
            pass
        finally:
            await self._clear_up()

    # -- steps -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _step(self, name: str, text: str, advice: str) -> AsyncIterator[None]:
        self._plan.show(name)
        try:
            async with asyncio.timeout(TIMEOUT):
                yield
        except Exception as error:
            late = isinstance(error, TimeoutError) and self._client is not None
            why = (self._client.problem if late and self._client else None) or error
            self.findings.append(failure(name, f"{text} {told(why)}", advice))
            raise Ended from error

    async def _travel(self, url: str, where: str) -> None:
        loop = asyncio.get_running_loop()
        async with Traveller(url) as self._client:
            client = self._client
            client.subscribe(self._stream, on_entries=self._apply)
            async with self._step(
                "connect",
                "The client can't follow a stream.",
                "The findings above say why; else look at the server's log.",
            ):
                await client.live(self._stream)
                await self._until(1)
            self.findings.append(ok("connect", f"The Python client follows a stream {where}."))

            async with self._step(
                "receive",
                "What is published here doesn't arrive there.",
                "Give this process the database and the logs of the server.",
            ):
                began = loop.time()
                await self._publish(["live"])
                await self._until(2)
            self.findings.append(self._speed(loop.time() - began))

            async with self._step(
                "message",
                "A message of 64 KiB doesn't get through.",
                f"Servers and proxies must take messages of {MAX_FRAME} bytes (uvicorn: --ws-max-size).",
            ):
                await client.send(self._stream, "x" * (MAX_MESSAGE - 2))
                await self._until(3)
            self.findings.append(ok("message", "A message of 64 KiB goes up, and comes back as an entry."))

            async with self._step(
                "resume",
                f"After a cut, the {MISSED} entries that were missed didn't come.",
                "Look at the server's log.",
            ):
                problem = await self._resume(client)
            if problem:
                self.findings.append(failure("resume", problem, "Please report it, with the versions."))
            else:
                text = f"cut, published {MISSED} entries, resumed: exactly these came, in order."
                self.findings.append(ok("resume", f"Round trip: {text}"))

    async def _resume(self, client: Traveller) -> str:
        """What was wrong with what came after a cut; empty for nothing."""
        missed = [f"missed {number}" for number in range(MISSED)]
        snapshots, known = client.metrics["snapshots"], len(self._applied)
        client.may_connect.clear()
        while client.state is State.CONNECTED:
            client.cut()
            await asyncio.sleep(0.01)
        await self._publish(missed)
        if len(self._applied) != known:
            return "Entries came while the client was away."
        client.may_connect.set()
        await self._until(known + MISSED)
        await client.live(self._stream)
        if client.metrics["snapshots"] != snapshots:
            return "A snapshot came, where the missing entries would have done."
        if self._applied[known:] != missed:
            return f"Other entries came than the {MISSED} that were missed, or in another order."
        heads = await workers.run(log_for(self._stream).heads, [self._stream])
        position, head = client.position(self._stream), heads[self._stream]
        if position is None or (position.epoch, position.seq) != (head.epoch, head.seq):
            return f"The client stands at {position}, the log at {head.epoch}:{head.seq}."
        return ""

    def _speed(self, seconds: float) -> Finding:
        text = f"What is published here arrives there after {seconds * 1000:.0f} ms"
        if seconds > settings().HEAD_CHECK / 2:
            return warning(
                "receive",
                f"{text}: the head check found it, the channel layer didn't bring it.",
                "Have this process and all nodes use one CHANNEL_LAYERS that leaves the process (Redis).",
            )
        return ok("receive", f"{text}.")

    async def _publish(self, payloads: list[str]) -> None:
        await workers.run(publish_many, [(self._stream, payload) for payload in payloads])

    def _apply(self, entries: Entries) -> None:
        self._applied += [entry.payload for entry in entries]
        self._arrived.set()

    async def _until(self, count: int) -> None:
        while len(self._applied) < count:
            self._arrived.clear()
            await self._arrived.wait()

    # -- afterwards --------------------------------------------------------------------------------

    async def _clear_up(self) -> None:
        if self._plan.url:
            # The nodes' hubs still look at the stream, and would begin it anew.
            self._plan.show("waits until the nodes have let the stream go")
            await asyncio.sleep(settings().GRACE + LETTING_GO)
        try:
            try:
                await workers.run(self._forget)
            except Error:  # the connection was ended while it waited: the next one is new
                await workers.run(self._forget)
        except Exception as error:
            text = f"Something of {self._stream} stays: {told(error)}"
            self.findings.append(warning("cleanup", text, "A run in an hour or later removes it."))
        else:
            self.findings.append(
                ok("cleanup", "Nothing of it stays: stream, session and answers are removed.")
            )

    def _forget(self) -> None:
        log, who = log_for(self._stream), DoctorConsumer.identity(self._plan.visit)
        old = timezone.now() - timedelta(hours=1)
        killed = Stream.objects.using(log.using).filter(name__startswith=PREFIX, created__lt=old)
        for stream in (self._stream, *killed.values_list("name", flat=True)):
            log.drop(stream)
        ClientSession.objects.using(alias()).filter(identity=who).delete()
        Producer.objects.using(log.using).filter(identity=who).delete()
        ProcessedMessage.objects.using(log.using).filter(identity=who).delete()


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    """A server of this loop that serves the doctor's consumer only; gives its URL."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        _at_home, lifespan="off", log_config=None, ws_max_size=MAX_FRAME, ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serving
        await close_hub()


async def _at_home(scope: Any, receive: Any, send: Any) -> None:
    """The consumer, as if its socket had come to a host of ALLOWED_HOSTS."""
    host = next(iter(django_settings.ALLOWED_HOSTS), "").lstrip(".*") or "localhost"
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"host", b"origin")]
    headers = [*kept, (b"host", host.encode()), (b"origin", f"http://{host}".encode())]
    application: Any = DoctorConsumer.as_asgi()
    await application({**scope, "headers": headers}, receive, send)

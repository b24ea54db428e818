import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from reconnect_channels import publish
from reconnect_channels.dedup import base
from reconnect_channels.dedup.base import Outcome
from reconnect_channels.dedup.database import process
from reconnect_channels.models import StreamEntry
from reconnect_channels.protocol.frames import Message
from reconnect_channels.testing import stop

STREAM = "board:1"


class Outbox:
    """A producer of messages to one stream; what its handler was given is in `handled`."""

    def __init__(self, stream: str = STREAM, identity: str = "user:1") -> None:
        self.stream, self.identity = stream, identity
        self.producer = str(uuid.uuid4())
        self.last = 0
        self.settled = 0
        self.handled: list[Any] = []

    def message(self, payload: Any = None, *, n: int | None = None, **fields: Any) -> Message:
        """The next message, or number `n`."""
        if n is None:
            n = self.last = self.last + 1
        fields.setdefault("id", str(uuid.uuid4()))
        fields.setdefault("settled", self.settled)
        return Message(producer=self.producer, n=n, stream=self.stream, payload=payload, **fields)

    def handle(self, message: Message) -> Any:
        """A handler: publishes the payload."""
        self.handled.append(message.payload)
        return {"seq": publish(message.stream, message.payload).seq}

    def send(self, message: Message, handler: Any = None, *, identity: str | None = None) -> Outcome:
        return process(handler or self.handle, message, identity or self.identity)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
async def closing_threads() -> AsyncIterator[None]:
    """Closes the connections of the threads behind `sync_to_async` and `workers`."""
    yield
    await sync_to_async(connections.close_all)()
    await asyncio.to_thread(stop)


def published(stream: str = STREAM) -> list[str]:
    """The payloads in a stream."""
    rows = StreamEntry.objects.filter(stream__name=stream).order_by("seq")
    return list(rows.values_list("text", flat=True))


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Sets keys of RECONNECT_CHANNELS beside those that are set."""

    def configure(**changed: Any) -> None:
        settings.RECONNECT_CHANNELS = {**getattr(settings, "RECONNECT_CHANNELS", {}), **changed}

    return configure


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy doesn't wait for the one that is being worked on."""
    monkeypatch.setattr(base, "PATIENCE", 0.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy waits as long as it takes."""
    monkeypatch.setattr(base, "PATIENCE", 30.0)

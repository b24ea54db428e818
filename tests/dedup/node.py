"""What the two nodes of the tests serve: handlers whose effects are rows that the test counts.

A payload may say how long the handler takes (`seconds`), or that its node is killed once the message is
claimed and nothing is written yet (`dies`; only where the environment says that this node is mortal).
"""

import asyncio
import os
import signal
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.dedup.node_settings")

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.db import connection
from django.urls import path

http = get_asgi_application()

from reconnect_channels import Reject, apublish, publish  # noqa: E402 - after the apps are ready
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin  # noqa: E402

MORTAL = bool(os.environ.get("MORTAL"))


def effect(message: Any) -> None:
    """One row for each run of a handler that counts."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effects (key, stream) VALUES (%s, %s)", [message.id, message.stream])


def begin(message: Any) -> float:
    if MORTAL and message.payload.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    return float(message.payload.get("seconds", 0))


class Everybody(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    channel_layer_alias = None

    def get_identity(self) -> str:
        return "user:1"

    def can_send(self, stream: str, message: Any) -> bool:
        return True


class Blocking(Everybody):
    stream_prefix = "def:"

    def receive_message(self, message: Any) -> Any:
        seconds = begin(message)
        effect(message)
        time.sleep(seconds)
        if "refuse" in message.payload:
            raise Reject(message.payload["refuse"])
        return {"entry": publish(message.stream, message.payload).id}


class Asynchronous(Everybody):
    stream_prefix = "async:"

    async def receive_message(self, message: Any) -> Any:  # type: ignore[override]
        seconds = begin(message)
        await sync_to_async(effect)(message)
        await asyncio.sleep(seconds)
        if "refuse" in message.payload:
            raise Reject(message.payload["refuse"])
        return {"entry": (await apublish(message.stream, message.payload)).id}


application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter([path("def/", Blocking.as_asgi()), path("async/", Asynchronous.as_asgi())]),  # type: ignore[arg-type]
    }
)

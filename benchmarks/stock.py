"""Plain Channels as its tutorial has it: a group, and a handler that encodes for each recipient."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

import django

django.setup()

from typing import Any  # noqa: E402

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.publisher import PAYLOAD, Door  # noqa: E402


class StockConsumer(AsyncJsonWebsocketConsumer):
    groups = ["bench"]

    async def entry(self, event: dict[str, Any]) -> None:
        await self.send_json(event["payload"])


async def publish() -> None:
    await get_channel_layer().group_send("bench", {"type": "entry", "payload": PAYLOAD})


application = ProtocolTypeRouter(
    {"http": Door(publish), "websocket": URLRouter([path("ws/", StockConsumer.as_asgi())])}
)

"""Plain Channels: a group, one handler call per recipient. The text is encoded once, which flatters it."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

import django

django.setup()

from typing import Any  # noqa: E402

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.publisher import TEXT, Door  # noqa: E402


class StockConsumer(AsyncJsonWebsocketConsumer):
    groups = ["bench"]

    async def entry(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def publish() -> None:
    await get_channel_layer().group_send("bench", {"type": "entry", "text": TEXT})


application = ProtocolTypeRouter(
    {"http": Door(publish), "websocket": URLRouter([path("ws/", StockConsumer.as_asgi())])}
)

"""The same with reconnect_channels: every publish is a committed row before it is sent."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

import django

django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.publisher import PAYLOAD, Door  # noqa: E402
from reconnect_channels import apublish  # noqa: E402
from reconnect_channels.consumers import DeltaSyncMixin  # noqa: E402


class ResumableConsumer(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    stream_prefix = "bench:"

    def can_subscribe(self, stream: str) -> bool:
        return True


async def publish() -> None:
    await apublish("bench:1", PAYLOAD)


application = ProtocolTypeRouter(
    {"http": Door(publish), "websocket": URLRouter([path("ws/", ResumableConsumer.as_asgi())])}
)

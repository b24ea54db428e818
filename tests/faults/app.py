"""What the nodes serve."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.settings")

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin  # noqa: E402 - after the apps are ready


class WallConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Everybody reads and writes on every wall."""

    stream_prefix = "wall:"
    channel_layer_alias = None  # a channel of its own would end with the layer's server

    def can_subscribe(self, stream: str) -> bool:
        return True


class FastConsumer(WallConsumer):
    """Walls whose log is in Redis."""

    stream_prefix = "fast:"


routes = [path("ws/wall/", WallConsumer.as_asgi()), path("ws/fast/", FastConsumer.as_asgi())]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(routes)})  # type: ignore[arg-type]

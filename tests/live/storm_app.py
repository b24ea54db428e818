"""What storms are run against: streams with a snapshot, and one whose snapshot takes long."""

import os
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from reconnect_channels import publish_many  # noqa: E402 - after the apps are ready
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin  # noqa: E402
from reconnect_channels.models import StreamEntry  # noqa: E402


class StormConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """A message `{"count": n, "text": …}` becomes n entries."""

    stream_prefix = "storm:"

    def can_subscribe(self, stream: str) -> bool:
        return True

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        count = StreamEntry.objects.filter(stream__name=stream).count()
        if stream.startswith("storm:heavy"):
            time.sleep(6)
        return {"entries": count}

    def receive_message(self, message: Any) -> None:
        text = message.payload.get("text", "")
        publish_many(
            [
                (message.stream, {"i": i, "at": time.time(), "text": text})
                for i in range(message.payload["count"])
            ]
        )


application = ProtocolTypeRouter(
    {"http": http, "websocket": URLRouter([path("ws/", StormConsumer.as_asgi())])}  # type: ignore[arg-type]
)

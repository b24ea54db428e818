"""Consumers whose streams are asked for over HTTP."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from django.contrib.auth import get_user_model

from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.models import StreamEntry


class Open(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """Everybody may read; no snapshot."""

    stream_prefix = "http-open:"

    def can_subscribe(self, stream: str) -> bool:
        if stream == "http-open:broken":
            raise RuntimeError("the rights' defect")
        return stream != "http-open:secret"


class Board(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """A snapshot in a `def`; an inbox is its user's alone."""

    stream_prefix = "http-board:"

    async def can_subscribe(self, stream: str) -> bool:
        user = self.scope["user"]
        return stream.endswith(":public") or bool(user.is_authenticated and stream.endswith(f":{user.pk}"))

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return {"entries": StreamEntry.objects.filter(stream__name=stream).count()}


class Members(DeltaSyncMixin, JsonWebsocketConsumer):
    """Rights that ask the database, on a sync base; an `async def` snapshot."""

    stream_prefix = "http-members:"

    def can_subscribe(self, stream: str) -> bool:
        members = get_user_model().objects.filter(username=stream.removeprefix(self.stream_prefix))
        return members.filter(pk=self.scope["user"].pk).exists()

    @classmethod
    async def get_snapshot(cls, stream: str) -> Any:
        return "x" * 200


class Many(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """Answers for all streams at once, from what a socket's scope has."""

    stream_prefix = "http-many:"

    def allowed_streams(self, names: list[str]) -> list[str]:
        headers = dict(self.scope["headers"])
        token = b"token=right" in self.scope["query_string"] or headers.get(b"x-token") == b"right"
        return [name for name in names if token and self.scope["url_route"]["kwargs"] == {}]


class Own(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """Only `get_streams()`, whose `connect()` may have asked who it is."""

    stream_prefix = "http-own:"

    def get_streams(self) -> list[str]:
        return ["http-own:1"]


class Up(DedupMixin, AsyncJsonWebsocketConsumer):
    """Takes messages, has nothing to read."""

    stream_prefix = "http-up:"

"""The board's socket: the two mixins and what they must know."""

from __future__ import annotations

import re
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings

from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin

from . import cards
from .models import Board, Card

PREFIX = "board:"
STORM = re.compile(r"storm-\d{1,4}")


DROP_GROUP = "boards"


class BoardConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Streams boards to whoever opens one, and takes their messages."""

    stream_prefix = PREFIX
    groups = [DROP_GROUP]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opened: set[str] = set()

    async def can_subscribe(self, stream: str) -> bool:
        """Everybody may use every board that exists."""
        slug = stream.removeprefix(PREFIX)
        if settings.DEBUG and STORM.fullmatch(slug):  # load tests bring boards of their own
            await Board.objects.aget_or_create(slug=slug, defaults={"name": f"Load test {slug}"})
        elif not await Board.objects.filter(slug=slug).aexists():
            return False
        self.opened.add(slug)
        return True

    @classmethod
    def get_snapshot(cls, stream: str) -> dict[str, Any]:
        """The whole board. Runs in one read transaction with the stream's position."""
        board = Board.objects.get(slug=stream.removeprefix(PREFIX))
        return {"cards": [card.data() for card in Card.objects.filter(board=board).order_by("pk")]}

    def receive_message(self, message: Any) -> dict[str, Any]:
        """Runs in one transaction with the row that remembers the message: once, however often it comes."""
        user = self.scope.get("user")
        by = user.get_username() if user else ""  # empty for guests
        return cards.perform(message.stream.removeprefix(PREFIX), message.payload, key=message.id, by=by)

    async def board_drop(self, event: dict[str, Any]) -> None:
        """The network lab drops every socket of a board, as a restarted server would."""
        if event["slug"] in self.opened:
            await self.close(code=1012)

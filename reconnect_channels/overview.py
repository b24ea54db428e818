"""The admin's live overview: a stream of samples of the fleet, which its page reads as any page reads one.

Add `websocket_urlpatterns` to the project's WebSocket routes, inside its `AuthMiddlewareStack`:

    from reconnect_channels import overview
    URLRouter([*overview.websocket_urlpatterns, ...])

While somebody looks, and a little longer, one sample is published every two seconds, by one of the nodes
that have a watcher.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.urls import path

from . import fleet, retention, workers
from .consumers import DeltaSyncMixin
from .live.hub import Hub, get_hub
from .log import log_for
from .protocol.entry import Entry
from .protocol.position import Position
from .publication import Authoring, authoring, publish

logger = logging.getLogger(__name__)

STREAM = fleet.OVERVIEW_STREAM
PERMISSION = "reconnect_channels.view_clientsession"
SLOT = 2.0  # seconds between two samples
LINGER = 30.0  # seconds after the last watcher went: one that was cut off finds no gap
JITTER = 0.3  # seconds within which a node gives way to another that has sampled this slot
KEPT = timedelta(minutes=5)  # of samples; the history is in the stream's state
TRIM_EVERY = 150  # slots
HISTORY = 450  # samples that a page begins with: a quarter of an hour
FIGURES = "at", "live", "away", "drift", "returned", "published", "delivered"

_SLOTS = uuid.UUID("5d4a2e0c-6c6b-4f0e-9d8e-0d5a0a3c7f11")  # the namespace of samples' ids
_sampling: WeakKeyDictionary[Hub, asyncio.Task[None]] = WeakKeyDictionary()


class OverviewConsumer(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """Staff who may view client sessions see the fleet live."""

    stream_prefix = STREAM

    async def can_subscribe(self, stream: str) -> bool:  # type: ignore[override]
        """Whether the user is staff and has `reconnect_channels.view_clientsession`."""
        allowed = stream == STREAM and await workers.run(_may_see, self.scope.get("user"))
        if allowed:
            _begin(get_hub())
        return bool(allowed)

    @classmethod
    def initial_state(cls, stream: str) -> dict[str, Any]:
        return {"history": [], "latest": None}

    @classmethod
    def reduce(cls, state: Any, entry: Entry) -> Any:
        """The figures of the last quarter of an hour, and the newest sample with its nodes."""
        sample = entry.payload
        history = [*state["history"], [sample[name] for name in FIGURES]][-HISTORY:]
        return {"history": history, "latest": sample}


def _may_see(user: Any) -> bool:
    return user is not None and user.is_active and user.is_staff and user.has_perm(PERMISSION)


def _begin(hub: Hub) -> None:
    """Has the hub sample from now on, until nobody looks any more."""
    if hub not in _sampling or _sampling[hub].done():
        _sampling[hub] = hub.spawn(_sample(hub))


async def _sample(hub: Hub) -> None:
    """Whoever comes first in a slot takes its sample: a second one would have the same id."""
    watched = hub.loop.time()
    while hub.loop.time() < watched + LINGER:
        slot, before = int(time.time() // SLOT), _position(hub)
        await asyncio.sleep(random.uniform(0, JITTER))
        if (feed := hub.feeds.get(STREAM)) is not None and feed.taps:
            watched = hub.loop.time()
        if before is None or _position(hub) == before:
            try:
                await workers.write(log_for(STREAM).using, take, slot)
            except Exception as error:  # whatever ails the log is what people look at the page for
                logger.warning("No sample was taken for the overview: %s", error)
        await asyncio.sleep((slot + 1) * SLOT - time.time())


def _position(hub: Hub) -> Position | None:
    feed = hub.feeds.get(STREAM)
    return None if feed is None or feed.window is None else feed.position


def take(slot: int) -> None:
    """Publishes the sample of a slot, unless a node has done so. Blocks.

    :param slot: seconds since 1970 // SLOT.
    """
    # As the handler of a message that may come twice: its entries are published once.
    token = authoring.set(Authoring(str(uuid.uuid5(_SLOTS, str(slot))), repeatable=True))
    try:
        publish(STREAM, fleet.observe().wire())
    finally:
        authoring.reset(token)
    if slot % TRIM_EVERY == 0:
        retention.trim_stream(STREAM, max_age=KEPT)


websocket_urlpatterns = [path(fleet.OVERVIEW_PATH, OverviewConsumer.as_asgi())]  # type: ignore[arg-type]

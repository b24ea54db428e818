"""Channel layers for the tests."""

import asyncio
import random
from collections import defaultdict
from typing import Any

from channels.layers import get_channel_layer

CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
LAYERS = ["memory", "core", "pubsub"]


def use_layer(settings: Any, backend: str, **config: Any) -> Any:
    """Configures the channel layer and returns it."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    return get_channel_layer()


class FaultyLayer:
    """A layer in this process with every fault that a layer may have; without any it is perfect.

    `drop`, `repeat` and `swap` are shares of the messages; `broken` makes every call raise.
    """

    def __init__(self, seed: int = 1) -> None:
        self.drop = self.repeat = self.swap = 0.0
        self.broken = False
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.sent = 0
        self._random = random.Random(seed)
        self._queues: dict[str, tuple[asyncio.Queue[Any], asyncio.AbstractEventLoop]] = {}
        self._held: tuple[str, Any] | None = None
        self._names = 0

    def _works(self) -> None:
        if self.broken:
            raise ConnectionError("the layer is down")

    async def new_channel(self, prefix: str = "specific") -> str:
        self._works()
        self._names += 1
        name = f"{prefix}.{self._names}"
        self._queues[name] = asyncio.Queue(), asyncio.get_running_loop()
        return name

    async def receive(self, channel: str) -> Any:
        self._works()
        message = await self._queues[channel][0].get()
        if message is None:
            raise ConnectionError("the connection was lost")
        return message

    def fail(self) -> None:
        """Everybody who waits for a message gets an error, and so does whoever calls, until `repair`."""
        self.broken = True
        for channel in self._queues:
            self._put(channel, None)

    def repair(self, *, forget: bool = True) -> None:
        """Works again; a layer that kept nothing has forgotten its groups."""
        self.broken = False
        if forget:
            self.groups.clear()

    async def group_add(self, group: str, channel: str) -> None:
        self._works()
        self.groups[group].add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._works()
        self.groups[group].discard(channel)
        if not self.groups[group]:
            del self.groups[group]

    async def send(self, channel: str, message: Any) -> None:
        self._works()
        self._put(channel, message)

    async def group_send(self, group: str, message: Any) -> None:
        self._works()
        self.sent += 1
        if self._random.random() < self.drop:
            return
        if self._random.random() < self.swap and self._held is None:
            self._held = group, message
            return
        times = 2 if self._random.random() < self.repeat else 1
        for _ in range(times):
            self._deliver(group, message)
        if self._held is not None:
            held, self._held = self._held, None
            self._deliver(*held)

    def _deliver(self, group: str, message: Any) -> None:
        for channel in list(self.groups.get(group, ())):
            self._put(channel, message)

    def _put(self, channel: str, message: Any) -> None:
        queue, loop = self._queues[channel]
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, message)

"""The channel layer: what one process says reaches another, through the layer's own connections."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers

from .. import nodes
from ..conf import settings
from .finding import Finding, Plan, failure, ok, told, warning

TIMEOUT = 10.0  # seconds
SLOW = 0.25  # seconds
BULK = 60_000  # bytes: about as much as is announced inline


def probe(plan: Plan) -> Iterator[Finding]:
    alias = settings().CHANNEL_LAYER
    if alias not in channel_layers.configs or isinstance(channel_layers[alias], InMemoryChannelLayer):
        yield alone(len(nodes.alive()))
        return
    try:
        took = _between_loops(alias)
    except Exception as error:  # layers raise what their drivers raise
        yield failure(
            "round_trip",
            "What one process says doesn't reach another: entries come by the head check, "
            f"{settings().HEAD_CHECK:g} s late. {told(error)}",
            f"Is the Redis of CHANNEL_LAYERS[{alias!r}] up, and the same for every node?",
        )
        return
    text = f"What one process says reaches another in {took * 1000:.0f} ms"
    if took > SLOW:
        yield warning("round_trip", f"{text}: slow.", "Is its Redis near, and has it a processor to itself?")
    else:
        yield ok("round_trip", f"{text} (group_add, group_send, group_discard).")


def alone(count: int) -> Finding:
    """The verdict on no layer, or one that doesn't leave its process.

    :param count: nodes that are alive.
    """
    if count > 1:
        return failure(
            "processes",
            f"{count} nodes are alive, but the channel layer doesn't leave a process: what one publishes "
            f"reaches the others up to {settings().HEAD_CHECK:g} s late.",
            "Use channels_redis.pubsub.RedisPubSubChannelLayer.",
        )
    return ok("processes", "The channel layer doesn't leave a process. Fine for one node.")


def _between_loops(alias: str) -> float:
    """Seconds from a loop with connections of its own to the receiver in another one."""
    group, name = f"reconnect.doctor.{secrets.token_hex(8)}", threading.current_thread().name
    heard: list[float] = []
    problem: list[BaseException] = []
    ready, left, over = threading.Event(), threading.Event(), threading.Event()
    channel = ""

    async def listen() -> None:
        nonlocal channel
        layer: Any = channel_layers.make_backend(alias)
        async with asyncio.timeout(TIMEOUT):
            channel = await layer.new_channel("reconnect.doctor")
            await layer.group_add(group, channel)
            ready.set()
            message = await layer.receive(channel)
            heard.append(time.perf_counter())
            if len(message["text"]) != BULK:
                raise ValueError("the message was cut")
            await layer.group_discard(group, channel)
            left.set()
            if (await layer.receive(channel))["text"] != "direct":
                raise ValueError("a message came after group_discard")

    def run() -> None:
        try:
            asyncio.run(listen())
        except BaseException as error:
            problem.append(error)
        finally:
            for event in (ready, left, over):
                event.set()

    def check(event: threading.Event) -> None:
        if not event.wait(TIMEOUT):
            raise TimeoutError(f"nothing came within {TIMEOUT:g} s")
        if problem:
            raise problem[0]

    async def speak() -> float:
        layer: Any = channel_layers.make_backend(alias)
        await layer.group_send(f"{group}.nobody", {"type": "doctor", "text": ""})  # connects
        began = time.perf_counter()
        await layer.group_send(group, {"type": "doctor", "text": "x" * BULK})
        await asyncio.to_thread(check, left)
        await layer.group_send(group, {"type": "doctor", "text": "nobody is there"})
        await layer.send(channel, {"type": "doctor", "text": "direct"})
        await asyncio.to_thread(check, over)
        return heard[0] - began

    threading.Thread(target=run, name=f"{name} listens", daemon=True).start()
    check(ready)
    return asyncio.run(speak())

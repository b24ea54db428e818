"""Announcements to other processes by the channel layer (design 7.4)."""

import asyncio
import logging
import os
import threading

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.db import transaction

from reconnect_channels import announcement, publish, publish_many
from reconnect_channels.announcement import INLINE_BYTES, group_name, layer_message, read_message
from reconnect_channels.protocol.codec import encode
from reconnect_channels.testing import stop

from .threads import closing, output, python, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def use_redis(settings, url):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [url], "prefix": f"test-{os.getpid()}"},
        }
    }


@pytest.fixture
async def layer(settings, redis_url):
    use_redis(settings, redis_url)
    layer = get_channel_layer()
    await layer.flush()
    yield layer
    await asyncio.to_thread(stop)
    await layer.flush()
    await layer.close_pools()


@pytest.fixture
async def subscribed(layer):
    """Receives the next message about stream `a` or `b`."""
    channel = await layer.new_channel()
    for name in ("a", "b"):
        await layer.group_add(group_name(name), channel)

    async def receive():
        async with asyncio.timeout(10):
            return await layer.receive(channel)

    return receive


def elsewhere(function, *args):
    return asyncio.to_thread(closing(function), *args)


@pytest.mark.redis
async def test_other_processes_get_the_entries_in_one_message_for_a_stream(subscribed):
    entries = await elsewhere(publish_many, [("b", {"n": 1}), ("a", 2), ("b", "é"), ("a", 4)])
    single = await elsewhere(publish, "a", 5)
    messages = [await subscribed() for _ in range(3)]
    assert all(message["type"] == "reconnect.entries" for message in messages)
    assert [read_message(message) for message in messages] == [
        ("a", [entries[1], entries[3]]),
        ("b", [entries[0], entries[2]]),
        ("a", [single]),
    ]


@pytest.mark.redis
async def test_a_large_announcement_only_wakes(subscribed):
    text = "x" * 40_000
    await elsewhere(publish, "a", text)
    await elsewhere(publish_many, [("a", text), ("a", text)])
    assert len(read_message(await subscribed())[1]) == 1
    assert read_message(await subscribed()) == ("a", [])


@pytest.mark.redis
async def test_announcements_keep_their_order(subscribed):
    await elsewhere(lambda: [publish("a", n) for n in range(20)])
    assert [read_message(await subscribed())[1][0].seq for _ in range(20)] == list(range(1, 21))


@pytest.mark.redis
async def test_stopping_leaves_the_connections_of_other_loops_alone(layer, subscribed):
    await elsewhere(publish, "a", 1)
    waiting = asyncio.create_task(subscribed())
    thread = announcement._current._thread
    await asyncio.to_thread(stop)
    assert not thread.is_alive()
    await elsewhere(publish, "a", 2)
    assert [read_message(message)[1][0].seq for message in (await waiting, await subscribed())] == [1, 2]


@pytest.mark.redis
def test_a_layer_that_is_down_costs_the_caller_nothing_but_a_warning(settings, redis_server, caplog):
    use_redis(settings, f"redis://127.0.0.1:{redis_server.port}/0")
    redis_server.kill()
    assert publish("a", 1).seq == 1
    until(lambda: "took no announcement" in caplog.text)
    assert {
        record.levelno for record in caplog.records if record.name == "reconnect_channels.announcement"
    } == {logging.WARNING}
    assert publish("a", 2).seq == 2


def test_a_layer_that_cannot_be_made_costs_the_caller_nothing(settings, caplog):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    assert publish("a", 1).seq == 1
    with transaction.atomic():
        assert publish("a", 2).seq == 2
    assert caplog.text.count("Cannot import BACKEND 'nowhere.Layer'") >= 2


class StubLayer:
    """A layer that does to announcements what a test wants."""

    extensions = ("groups",)

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    async def group_send(self, group, message):
        if self.answers and (error := self.answers.pop(0)) is not None:
            raise error
        self.sent.append((group, message["stream"], len(message["entries"] or ())))


@pytest.fixture
def stub(monkeypatch):
    layer = StubLayer()
    monkeypatch.setitem(channel_layers.backends, "default", layer)
    return layer


def test_one_failure_ends_nothing(stub, caplog):
    stub.answers = [ConnectionError("no layer"), None]
    publish("a", 1)
    publish("b", 2)
    until(lambda: stub.sent)
    assert stub.sent == [(group_name("b"), "b", 1)]
    assert caplog.text.count("ConnectionError: no layer") == 1


def test_stopping_sends_what_is_queued_first(stub):
    for n in range(50):
        publish("a", n)
    stop()
    assert len(stub.sent) == 50
    publish("a", 51)
    stop()
    assert len(stub.sent) == 51


def test_a_layer_of_this_process_alone_is_not_used():
    before = set(threading.enumerate())
    publish("a", 1)
    assert announcement._current is None
    assert set(threading.enumerate()) == before


def test_without_a_layer_there_is_no_announcer(settings):
    settings.CHANNEL_LAYERS = {}
    publish("a", 1)
    assert announcement._current is None


def test_a_configured_layer_is_used(settings, stub):
    settings.RECONNECT_CHANNELS = {"CHANNEL_LAYER": "other"}
    publish("a", 1)
    assert announcement._current is None
    assert stub.sent == []


def test_group_names_fit_every_layer_whatever_the_stream():
    from channels.layers import BaseChannelLayer

    names = {group_name(stream) for stream in ("a:b", "x" * 100, "a", "A")}
    assert len(names) == 4
    for name in names:
        BaseChannelLayer().require_valid_group_name(name)


def test_many_small_entries_are_large_too():
    """A message holds ids and numbers beside the payloads."""
    assert layer_message(publish_many([("a", n) for n in range(1_000)]))["entries"] is None
    assert layer_message(publish_many([("a", "😀" * 15_000), ("a", "😀" * 15_000)]))["entries"] is None
    message = layer_message(publish_many([("a", "x" * 100) for n in range(200)]))
    assert len(message["entries"]) == 200
    assert len(encode(message)) <= INLINE_BYTES


FORK = """
import asyncio, os, sys
from channels.layers import channel_layers
from django.db import connections
from reconnect_channels import announcement, publish, workers

class Layer:
    sent = 0
    async def group_send(self, group, message):
        Layer.sent += 1

channel_layers.backends["default"] = Layer()
announcement.listeners.add(lambda entries: None)

def work():
    publish("s", os.getpid())
    assert asyncio.run(asyncio.wait_for(workers.run(lambda: 7), 10)) == 7
    announcement.stop()
    workers.stop()
    connections.close_all()
    return Layer.sent

publish("s", 0)
asyncio.run(workers.run(lambda: None))
connections.close_all()
child = os.fork()
if child == 0:
    code = 1
    try:
        assert not announcement.listeners  # they belong to the parent's loops
        Layer.sent = 0
        assert work() == 1
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert len(announcement.listeners) == 1
assert work() == 2
"""


def test_a_forked_child_begins_its_announcer_and_its_threads_anew():
    output(python(FORK))

"""Ordinary clients of consumers with the mixins; both bases with both kinds of hooks (design 1.1, 1.2)."""

import asyncio
import json
import logging
from typing import Any

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from django.core.exceptions import PermissionDenied, ValidationError

from reconnect_channels import Reject, apublish, publish
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.live import plain
from reconnect_channels.live.hub import get_hub
from reconnect_channels.testing import Socket, StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

ROOM = "room:1"


class AsyncRoom(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    def get_streams(self) -> list[str]:
        return [ROOM]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await apublish(ROOM, content)

    async def entry_published(self, entry: Any) -> None:
        await self.send_json({"said": entry.payload})


class SyncRoom(DeltaSyncMixin, DedupMixin, JsonWebsocketConsumer):
    def get_streams(self) -> list[str]:
        return [ROOM]

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        publish(ROOM, content)

    def entry_published(self, entry: Any) -> None:
        self.send_json({"said": entry.payload})


def ordinary(consumer: Any) -> Socket:
    return Socket(consumer.as_asgi(), "/ws/", subprotocols=())


def said(socket: Socket) -> list[Any]:
    return [json.loads(event["text"])["said"] for event in socket.sent]


async def joined(socket: Socket, stream: str = ROOM, taps: int = 1) -> None:
    await socket.connect()
    await eventually(lambda: stream in get_hub().feeds and len(get_hub().feeds[stream].live) >= taps)


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer], ids=["async", "sync"])
async def test_an_ordinary_client_is_served_as_before(base: Any):
    class Echo(DeltaSyncMixin, DedupMixin, base):  # type: ignore[misc]
        if base is AsyncWebsocketConsumer:

            async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
                await self.send(text_data=text_data, bytes_data=bytes_data)
        else:

            def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
                self.send(text_data=text_data, bytes_data=bytes_data)

    socket = ordinary(Echo)
    assert await socket.connect() == {"type": "websocket.accept", "subprotocol": None}
    hello = json.dumps({"type": "HELLO", "protocol": "reconnect.v1", "client_id": "c"})
    socket.write(hello)
    socket.write(data=b"bytes")
    await socket.until(lambda: len(socket.sent) == 2)
    assert socket.sent[0]["text"] == hello
    assert socket.sent[1]["bytes"] == b"bytes"
    await socket.close()


async def test_another_subprotocol_is_the_consumers_matter():
    class Chooses(NotesConsumer):
        async def connect(self) -> None:
            await self.accept(subprotocol=self.scope["subprotocols"][0])

    socket = Socket(Chooses.as_asgi(), "/ws/", subprotocols=("graphql-ws",))
    assert (await socket.connect())["subprotocol"] == "graphql-ws"
    await socket.close()


async def test_ours_is_chosen_whatever_else_is_offered():
    class Chooses(NotesConsumer):
        async def connect(self) -> None:
            await self.accept(subprotocol="graphql-ws")

    async with Peer(Chooses, subprotocols=("graphql-ws", "reconnect.v1")) as peer:
        assert peer.socket.accepted is not None
        assert peer.socket.accepted["subprotocol"] == "reconnect.v1"
        await peer.greet()


@pytest.mark.parametrize("consumer", [AsyncRoom, SyncRoom], ids=["async", "sync"])
async def test_an_old_page_and_a_new_one_share_a_room(consumer: Any):
    old, older = ordinary(consumer), ordinary(consumer)
    await joined(old)
    await joined(older, taps=2)
    async with StreamCommunicator(consumer.as_asgi(), "/ws/") as new:
        await new.live(ROOM)
        old.write(json.dumps("from the old page"))
        await new.until(lambda: new.applied[ROOM])
        await new.send(ROOM, "from the new page")
        await publish_all(ROOM, ["from a view", "and another"])
        for page in (old, older):
            await page.until(lambda page=page: len(page.sent) == 4)
            assert said(page) == ["from the old page", "from the new page", "from a view", "and another"]
        await new.until(lambda: len(new.applied[ROOM]) == 4)
        assert [entry.payload for entry in new.applied[ROOM]] == said(old)
    await old.close()
    await older.close()


async def test_without_entry_published_an_old_page_costs_nothing():
    class Silent(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
        def get_streams(self) -> list[str]:
            return [ROOM]

    socket = ordinary(Silent)
    await socket.connect()
    await publish_all(ROOM, [1])
    await socket.close()
    assert not get_hub().feeds
    assert not socket.sent


async def test_a_failing_entry_published_is_logged_and_the_next_entries_come(
    caplog: pytest.LogCaptureFixture,
):
    class Failing(AsyncRoom):
        async def entry_published(self, entry: Any) -> None:
            if entry.payload == "bad":
                raise RuntimeError("the hook's defect")
            await super().entry_published(entry)

    socket = ordinary(Failing)
    await joined(socket)
    await publish_all(ROOM, ["bad", "good"])
    await socket.until(lambda: socket.sent)
    assert said(socket) == ["good"]
    assert "the hook's defect" in caplog.text
    await socket.close()


async def test_a_slow_old_page_is_closed_once_and_the_others_live(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(plain, "QUEUE", 10)
    slow, other = ordinary(AsyncRoom), ordinary(AsyncRoom)
    await joined(slow)
    await joined(other, taps=2)
    slow.block()
    for n in range(40):
        await publish_all(ROOM, [n])
        await other.until(lambda n=n: len(other.sent) == n + 1)
    closes = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(closes) == 1, closes
    assert len(get_hub().feeds[ROOM].live) == 1
    slow.unblock()
    await slow.until(lambda: slow.closed)
    assert slow.closed is not None
    assert slow.closed["code"] == 1013
    await slow.close()
    await other.close()


async def test_an_old_page_goes_on_with_a_new_epoch(configure: Any):
    from asgiref.sync import sync_to_async

    from reconnect_channels.log import log_for

    configure(HEAD_CHECK=0.05)
    socket = ordinary(AsyncRoom)
    [entry] = await publish_all(ROOM, ["before"])
    await joined(socket)
    await sync_to_async(log_for(ROOM).new_epoch)(ROOM, entry.epoch)
    await eventually(lambda: get_hub().feeds[ROOM].position.epoch != entry.epoch)
    await publish_all(ROOM, ["after"])
    await socket.until(lambda: socket.sent)
    assert said(socket) == ["after"]
    await socket.close()


# -- hooks of both kinds on both bases ---------------------------------------------------------------


class ThreadedHooks:
    def get_identity(self) -> str:
        return "anna"

    def get_streams(self) -> list[str]:
        return [ROOM]

    def can_subscribe(self, stream: str) -> bool:
        return stream == "room:2"

    def can_send(self, stream: str, message: Any) -> bool:
        return message.payload != "forbidden"

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return {"of": stream}

    def receive_message(self, message: Any) -> Any:
        match message.payload:
            case "invalid":
                raise ValidationError({"title": ["too long"]})
            case "denied":
                raise PermissionDenied
            case "no":
                raise Reject("no", code=418, detail=[1])
        return {"seq": publish(message.stream, message.payload).seq}


class AsyncHooks:
    async def get_identity(self) -> str:
        return "anna"

    async def get_streams(self) -> list[str]:
        return [ROOM]

    async def can_subscribe(self, stream: str) -> bool:
        return stream == "room:2"

    async def can_send(self, stream: str, message: Any) -> bool:
        return message.payload != "forbidden"

    @classmethod
    async def get_snapshot(cls, stream: str) -> Any:
        return {"of": stream}

    async def receive_message(self, message: Any) -> Any:
        match message.payload:
            case "invalid":
                raise ValidationError({"title": ["too long"]})
            case "denied":
                raise PermissionDenied
            case "no":
                raise Reject("no", code=418, detail=[1])
        return {"seq": (await apublish(message.stream, message.payload)).seq}


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer], ids=["async", "sync"])
@pytest.mark.parametrize("hooks", [ThreadedHooks, AsyncHooks], ids=["def", "async def"])
async def test_hooks_of_both_kinds_on_both_bases(base: Any, hooks: Any):
    consumer: Any = type("Any", (hooks, DeltaSyncMixin, DedupMixin, base), {})
    async with Peer(consumer) as peer:
        welcome = await peer.greet({"room:2": None, "room:3": None})
        assert welcome["streams"] == [ROOM]
        assert "identity" not in welcome
        assert (await peer.hear("ERROR"))["streams"] == ["room:3"]
        await eventually(lambda: peer.kinds(ROOM)[-1:] == peer.kinds("room:2")[-1:] == ["SYNC_DELTA"])
        states = {f["stream"]: f["payload"] for f in peer.heard if f["type"] == "SYNC_SNAPSHOT"}
        assert states == {ROOM: {"of": ROOM}, "room:2": {"of": "room:2"}}
        key = peer.message(ROOM, "hello")
        ack = await peer.answer(key)
        assert (ack["result"], ack["seq"], ack["duplicate"]) == ({"seq": 1}, 1, False)
        again = await peer.answer(peer.message(ROOM, "hello", id=key, n=1))
        assert (again["result"], again["seq"], again["duplicate"]) == ({"seq": 1}, 1, True)
        expected = {
            "forbidden": (403, "FORBIDDEN", None),
            "denied": (403, "FORBIDDEN", None),
            "invalid": (422, "INVALID", {"title": ["too long"]}),
            "no": (418, "no", [1]),
        }
        n = 1
        for payload, answer in expected.items():
            n += 1
            frame = await peer.answer(peer.message(ROOM, payload, n=n, settled=n - 1))
            assert (frame["code"], frame["reason"], frame["detail"]) == answer
            assert not frame["retry"]
        entries = [entry for f in peer.heard if f["type"] == "SYNC_DELTA" for entry in f["payload"]]
        assert [entry["key"] for entry in entries] == [key]


async def test_each_mixin_works_alone():
    class Down(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
        def get_streams(self) -> list[str]:
            return [ROOM]

    class Up(DedupMixin, AsyncJsonWebsocketConsumer):
        def can_send(self, stream: str, message: Any) -> bool:  # type: ignore[override]
            return stream == ROOM

    async with Peer(Down) as down, Peer(Up) as up:
        await down.greet()
        await down.hear("SYNC_DELTA", complete=True)
        await up.greet({ROOM: None})
        assert (await up.hear("ERROR"))["code"] == 403
        assert (await up.answer(up.message(ROOM, 1)))["seq"] == 1
        assert (await down.hear("SYNC_DELTA", to=1))["payload"][0]["payload"] == 1
        assert (await up.answer(up.message("room:2", 1)))["reason"] == "FORBIDDEN"
        assert (await down.answer(down.message(ROOM, 1)))["reason"] == "FORBIDDEN"


async def test_many_old_pages_get_every_entry_in_order():
    pages = [ordinary(SyncRoom if n % 2 else AsyncRoom) for n in range(6)]
    for n, page in enumerate(pages, 1):
        await joined(page, taps=n)
    await asyncio.gather(*(apublish(ROOM, n) for n in range(30)))
    for page in pages:
        await page.until(lambda page=page: len(page.sent) == 30)
        assert said(page) == said(pages[0])
        await page.close()

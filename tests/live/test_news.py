"""News between hubs: at once in this process, through the layer to others; what is lost is lost time."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconnect_channels import announcement, news
from reconnect_channels.live.hub import get_hub
from tests.app.consumers import NotesConsumer
from tests.live.layers import FaultyLayer
from tests.live.peer import Peer, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


class Alone(NotesConsumer):
    channel_layer_alias = None


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What a listener for the kind `test` heard, with the hub."""
    heard: list[Any] = []

    def listen(hub: Any, fields: news.Fields) -> None:
        heard.append((hub, dict(fields)))

    news.listeners["test"].add(listen)
    yield heard
    del news.listeners["test"]


@pytest.mark.redis
async def test_news_are_heard_once_in_the_process_that_tells_them(layer: Any, heard: list[Any]):
    async with Peer(Alone) as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        threads = set()
        news.listeners["test"].add(lambda *_: threads.add(threading.current_thread()))
        await asyncio.to_thread(news.tell, "test", n=1)
        news.tell("test", n=2)
        await eventually(lambda: len(heard) == 2)
        await asyncio.to_thread(announcement.stop)  # what the layer was told has come, too
        await asyncio.sleep(0.1)
        assert heard == [(get_hub(), {"n": 1}), (get_hub(), {"n": 2})]
        assert threads == {threading.current_thread()}


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`tell` of another process."""

    def tell(kind: str, **fields: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(news, "receivers", set())
            news.tell(kind, **fields)

    return tell


async def test_news_of_another_process_come_through_the_layer_many_in_a_message(
    faulty: FaultyLayer, heard: list[Any], monkeypatch: pytest.MonkeyPatch
):
    async with Peer(Alone) as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(lambda: news.GROUP in faulty.groups)
        monkeypatch.setattr(news, "read_message", lambda message: message["news"])
        before = faulty.sent
        tell = elsewhere(monkeypatch)
        for n in range(1_000):
            tell("test", n=n)
        await eventually(lambda: len(heard) == 1_000)
        assert [fields["n"] for _, fields in heard] == list(range(1_000))
        assert faulty.sent - before < 500


async def test_a_layer_that_fails_and_a_listener_that_fails_hurt_nobody(
    faulty: FaultyLayer, heard: list[Any], monkeypatch: pytest.MonkeyPatch
):
    def fails(hub: Any, fields: news.Fields) -> None:
        raise ValueError

    news.listeners["test"].add(fails)
    async with Peer(Alone) as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        faulty.fail()
        news.tell("test", n=1)
        await eventually(lambda: len(heard) == 1)
        faulty.repair()
        await eventually(lambda: news.GROUP in faulty.groups)
        monkeypatch.setattr(news, "read_message", lambda message: message["news"])
        elsewhere(monkeypatch)("test", n=2)
        await eventually(lambda: heard[-1][1] == {"n": 2})
        await one.still_works()


async def test_news_of_an_unknown_kind_or_form_are_passed_over(faulty: FaultyLayer, heard: list[Any]):
    async with Peer(Alone) as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(lambda: news.GROUP in faulty.groups)
        for message in (
            {"type": news.MESSAGE_TYPE},
            {"type": news.MESSAGE_TYPE, "from": "x", "news": [["unknown", {}], ["test", {"n": 1}]]},
            {"type": "a.stranger"},
        ):
            await faulty.group_send(news.GROUP, message)
        await eventually(lambda: heard == [(get_hub(), {"n": 1})])

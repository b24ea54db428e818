"""docs/migrate.md, done as it says: old and new pages talk in one room after every step, there and back."""

import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path
from playwright.sync_api import Browser, Page

from reconnect_channels.registry import consumers
from reconnect_channels.testing import StreamCommunicator, closed_hub
from tests.docs import guide
from tests.docs.tutorial import Tutorial

HEARD = """([text, count]) =>
  document.querySelector("#chat-log").value.split("\\n").filter((line) => line === text).length >= count"""


@pytest.fixture
def tutorial(tmp_path: Path) -> Iterator[Tutorial]:
    tutorial = Tutorial(tmp_path)
    yield tutorial
    if tutorial.server is not None:
        tutorial.server.kill()


@pytest.fixture
def enter(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a room in a new browser context, once its socket is open."""
    with ExitStack() as stack:

        def enter(url: str) -> Page:
            context = browser.new_context()
            stack.callback(context.close)
            page = context.new_page()
            with page.expect_websocket() as opened:
                page.goto(url)
            if page.evaluate(IS_NEW):
                page.wait_for_function(f"() => {CLIENT}.sync.kind === 'live'")
            else:
                page.wait_for_function("() => chatSocket.readyState === 1")
            assert not opened.value.is_closed()
            return page

        yield enter


def say(page: Page, text: str) -> None:
    page.locator("#chat-message-input").fill(text)
    page.locator("#chat-message-submit").click()


def lines(page: Page) -> list[str]:
    return page.locator("#chat-log").input_value().splitlines()


def assert_talk(*pages: Page) -> None:
    """Each says something, and all hear it once."""
    for number, speaker in enumerate(pages):
        text = f"from page {number}"
        before = [lines(page).count(text) for page in pages]
        say(speaker, text)
        for page, count in zip(pages, before, strict=True):
            page.wait_for_function(HEARD, arg=[text, count + 1])
        assert [lines(page).count(text) for page in pages] == [count + 1 for count in before]


CLIENT = "[...ReconnectChannels.clients][0]"
IS_NEW = "() => 'ReconnectChannels' in globalThis"
STEPS = [
    "Step 1: the server can read streams",
    "Step 2: the server publishes",
    "Step 3: the pages, one by one",
    "Step 4, if you like: less code, and a history of your own",
]


@pytest.fixture
def lobby(tutorial: Tutorial, enter: Callable[..., Page]) -> Callable[..., list[Page]]:
    """Deploys what lies there, opens pages of one room ("room" or "unmoved"), and lets them talk."""

    def lobby(*names: str) -> list[Page]:
        tutorial.deploy()
        pages = [enter(f"{tutorial.url}/chat/lobby/{name}/") for name in names]
        assert_talk(*pages)
        return pages

    return lobby


@pytest.mark.browser
@pytest.mark.servers
def test_old_and_new_pages_talk_in_one_room(
    tutorial: Tutorial, lobby: Callable[..., list[Page]], enter: Callable[..., Page]
):
    for step in STEPS[:3]:
        tutorial.step(step)
    pages = lobby("room", "unmoved", "room")
    assert [page.evaluate(IS_NEW) for page in pages] == [True, False, True]

    # What the whole thing is for.
    new, _, other = pages
    tutorial.server.kill()
    new.wait_for_function(f"() => {CLIENT}.state === 'RECONNECTING'")
    say(new, "said to a dead server")
    tutorial.server.start()
    unmoved = enter(f"{tutorial.url}/chat/lobby/unmoved/")
    for page in (new, other):
        page.evaluate(f"() => {CLIENT}.retry()")
        page.wait_for_function(HEARD, arg=["said to a dead server", 1])
    new.wait_for_function(f"() => {CLIENT}.waiting === 0")
    assert_talk(new, unmoved, other)
    assert lines(new) == lines(other)
    assert lines(new).count("said to a dead server") == 1

    tutorial.step(STEPS[3])
    tutorial.manage("makemigrations", "chat", "--verbosity", "0")
    pages = lobby("room", "unmoved", "room")
    newcomer = enter(f"{tutorial.url}/chat/lobby/room/")
    assert lines(newcomer) == ["from page 0", "from page 1", "from page 2"]
    assert_talk(*pages, newcomer)


@pytest.mark.browser
@pytest.mark.servers
@pytest.mark.slow
def test_old_and_new_pages_talk_after_every_step_there_and_back(
    tutorial: Tutorial, lobby: Callable[..., list[Page]]
):
    history = []
    for step in STEPS:
        history.append(tutorial.sources())
        tutorial.step(step)
        if step is STEPS[-1]:
            tutorial.manage("makemigrations", "chat", "--verbosity", "0")
        pages = lobby("room", "unmoved", "room")
        moved = step in STEPS[2:]
        assert [page.evaluate(IS_NEW) for page in pages] == [moved, False, moved]
    for step in reversed(STEPS):
        tutorial.step(step, back=True)
        assert tutorial.sources() == history.pop()
        lobby("room", "unmoved")
    assert "reconnect" not in "".join(tutorial.sources().values())


@pytest.fixture
def sync_chat() -> Iterator[Callable[[], Any]]:
    """The sync consumer of the guide, before and after its diff, from a module of its own."""
    text = guide.section("A sync consumer")
    ((name, source),) = guide.files(text).items()
    (diff,) = guide.diffs(text)
    known = list(consumers)

    def load(folder: Path, moved: bool) -> Any:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)
        if moved:
            diff.apply(folder)
        module = types.ModuleType("sync_chat")
        sys.modules[module.__name__] = module
        exec(compile((folder / name).read_text(), name, "exec"), module.__dict__)
        return URLRouter([path("ws/chat/<str:room_name>/", module.ChatConsumer.as_asgi())])

    yield load
    consumers[:] = known
    sys.modules.pop("sync_chat", None)


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moved", [False, True])
async def test_pages_of_a_sync_consumer_talk(sync_chat: Callable[..., Any], tmp_path: Path, moved: bool):
    application = sync_chat(tmp_path, moved)
    async with closed_hub():
        old = [WebsocketCommunicator(application, "/ws/chat/lobby/") for _ in range(2)]
        for socket in old:
            assert await socket.connect() == (True, None)
        await old[0].send_to(json.dumps({"message": "from an old page"}))
        for socket in old:
            assert json.loads(await socket.receive_from()) == {"message": "from an old page"}
        if moved:
            async with StreamCommunicator(application, "/ws/chat/lobby/") as new:
                await new.live("chat:lobby")
                await new.send("chat:lobby", {"message": "from a new page"})
                for socket in old:
                    assert json.loads(await socket.receive_from()) == {"message": "from a new page"}
                await old[1].send_to(json.dumps({"message": "and back"}))
                await new.until(lambda: len(new.applied.get("chat:lobby", ())) == 3)
                said = [entry.payload["message"] for entry in new.applied["chat:lobby"]]
                assert said == ["from an old page", "from a new page", "and back"]
        for socket in old:
            await socket.disconnect()

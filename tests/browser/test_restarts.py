"""The server dies and comes back: pages are current soon after it answers, and nothing typed is lost."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.page import BoardPage
from tests.browser.site import SLUG, Site, Writer
from tests.servers import HOST

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

SOON = 2.0
"""Seconds from the server's first answer to a page that is current."""
TYPED = "half a thou"


class Doorbell(threading.Thread):
    """Tries the port all the time, and notes when somebody opens after it was closed."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.closed = threading.Event()
        self.opened = threading.Event()
        self.at = 0.0

    def run(self) -> None:
        while not self.opened.is_set():
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                self.closed.set()
            else:
                if self.closed.is_set():
                    self.at = time.time()
                    self.opened.set()
            time.sleep(0.005)


def typing(page: BoardPage) -> None:
    """A title in the form, and another one in a card's editor; neither is sent."""
    page.page.locator("#new-done").fill(TYPED)
    card = page.card("Draw the logo")
    page.tools(card).get_by_role("button", name="Edit").click()
    card.locator("textarea").fill(TYPED)


def assert_typed(page: BoardPage) -> None:
    expect(page.page.locator("#new-done")).to_have_value(TYPED)
    editor = page.page.locator(".card-edit:visible textarea")
    expect(editor).to_have_value(TYPED)
    expect(editor).to_be_focused()


def current_after(page: BoardPage, seq: int, opened: float) -> float:
    """Seconds from the server's first answer until the page had everything and said so."""
    page.wait_seq(seq)
    page.wait_live()
    times = page.page.evaluate(
        """([seq, opened]) => witness.changes
          .filter((change) => change.time >= opened * 1000 && change.seq >= seq && change.waiting === 0)
          .filter((change) => change.state === "CONNECTED" && change.kind === "live")
          .map((change) => change.time)""",
        [seq, opened],
    )
    return times[0] / 1000 - opened


def attempts(page: BoardPage, since: float) -> list[Any]:
    """States of the outage, with their times: for whoever reads a failure."""
    changes = page.witness("changes")
    return [
        (round(c["time"] / 1000 - since, 2), c["state"], c["kind"])
        for c in changes
        if c["time"] / 1000 > since - 10
    ]


def outage(
    site: Site, writer: Writer, pages: list[BoardPage], restart: Callable[[Doorbell], None]
) -> list[float]:
    """Messages wait and others write while the server is away; how soon after that are pages current?"""
    bell = Doorbell(site.server.port)
    bell.start()
    restart(bell)
    bell.opened.wait(30)
    head = writer("dump", SLUG)["position"]["seq"]
    # Whatever was sent meanwhile comes on top.
    seconds = [current_after(page, head, bell.at) for page in pages]
    for page, taken in zip(pages, seconds, strict=True):
        if taken > SOON:
            print(page.name, f"{taken:.2f}", attempts(page, bell.at))
    return seconds


def report(name: str, seconds: list[float]) -> None:
    figures = ", ".join(f"{taken:.2f}" for taken in seconds)
    print(f"{name}: current after {figures} s; at most {max(seconds):.2f} s")


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def test_pages_are_current_soon_after_a_killed_server_is_back(
    start: Callable[..., Site], open_board: Callable[..., BoardPage], server: str
):
    site = start(server)
    with Writer(site) as writer:
        pages = [open_board(site.url, name) for name in ("Ada", "Grace")]
        typing(pages[1])
        seconds = []
        for n in range(3):

            def restart(_: Doorbell, n: int = n) -> None:
                site.server.kill()
                pages[0].create("todo", f"written while it was dead {n}")
                writer("create", SLUG, "doing", f"from elsewhere {n}")
                site.server.start()

            seconds += outage(site, writer, pages, restart)
            assert_typed(pages[1])
            for page in pages:
                expect(page.card(f"written while it was dead {n}")).to_have_count(1)
                expect(page.card(f"from elsewhere {n}")).to_have_count(1)
        report(server, seconds)
        assert all(not page.witness("faults") for page in pages)
    assert max(seconds) <= SOON


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A module that the development server watches, outside of the repository."""
    package = tmp_path / "scratch"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "watched.py").touch()
    (tmp_path / "scratch_settings.py").write_text(
        "from example_project.settings import *\n\nimport scratch.watched\n"
    )
    return package / "watched.py"


@pytest.mark.slow
def test_pages_are_current_soon_after_an_autoreload(
    start: Callable[..., Site], open_board: Callable[..., BoardPage], scratch: Path
):
    site = start(
        "runserver",
        DJANGO_SETTINGS_MODULE="scratch_settings",
        PYTHONPATH=f"{scratch.parent.parent}",
    )
    with Writer(site) as writer:
        pages = [open_board(site.url, name) for name in ("Ada", "Grace")]
        typing(pages[1])
        seconds = []
        for n in range(10):

            def restart(bell: Doorbell, n: int = n) -> None:
                scratch.write_text(f"# edit {n}\n")
                assert bell.closed.wait(20)
                pages[0].create("todo", f"written during reload {n}")
                writer("create", SLUG, "doing", f"from elsewhere {n}")

            seconds += outage(site, writer, pages, restart)
            assert_typed(pages[1])
            for page in pages:
                expect(page.card(f"written during reload {n}")).to_have_count(1)
                expect(page.card(f"from elsewhere {n}")).to_have_count(1)
        report("runserver", seconds)
        assert all(not page.witness("faults") for page in pages)
    assert max(seconds) <= SOON

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.fixtures import browser  # noqa: F401
from tests.browser.page import OPTIONS, BoardPage
from tests.browser.site import Site, prepare

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the sample boards, to be copied."""
    database = tmp_path_factory.mktemp("sample") / "board.sqlite3"
    prepare(database)
    return database


@pytest.fixture
def start(tmp_path: Path, sample: Path) -> Iterator[Callable[..., Site]]:
    """Starts the example on a server: "uvicorn", "daphne" or "runserver"."""
    with ExitStack() as stack:
        yield lambda server="uvicorn", **env: stack.enter_context(Site(tmp_path, sample, server, env))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Site]:
    """The example on uvicorn, for all tests of a module that can share one board."""
    with Site(tmp_path_factory.mktemp("site"), sample, "uvicorn") as site:
        yield site


@pytest.fixture
def open_board(browser: Browser) -> Iterator[Callable[..., BoardPage]]:  # noqa: F811
    """Opens the board in a browser context of its own: another person, with other cookies.

    `client` is what the page's client is to be told beside what the page says; `clock` is a page clock that a
    test can turn.
    """
    with ExitStack() as stack:

        def open_board(
            url: str, name: str = "page", client: object = None, clock: bool = False, **options: Any
        ) -> BoardPage:
            context = browser.new_context(**options)
            stack.callback(context.close)
            if client:
                context.add_init_script(OPTIONS % json.dumps(client))
            if clock:
                context.clock.install()
            return BoardPage(context.new_page(), url, name).open()

        yield open_board

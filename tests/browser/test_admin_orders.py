"""An operator's orders, from the admin's button to somebody's page; and lists that fit a phone."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.page import BoardPage, until
from tests.browser.site import Site
from tests.browser.test_admin_pages import key_and_sample, open_admin, site  # noqa: F401
from tests.browser.test_screens import SIZES, assert_fits

pytestmark = pytest.mark.servers

LISTS = ("clientsession", "stream", "streamentry", "driftreport", "processedmessage", "node", "revocation")


def session_of(site: Site, connects: int) -> str:  # noqa: F811
    """The address of the newest session's page, once its row says that it is live and came so often."""
    query = "SELECT id FROM reconnect_channels_clientsession WHERE state = 'live' AND connects = ?"

    def found() -> Any:
        with closing(sqlite3.connect(site.database)) as database:
            return database.execute(f"{query} ORDER BY id DESC", [connects]).fetchone()

    return f"{until(found)[0]}/change/"


def order(page: Page, name: str) -> None:
    """Presses a button of a session's page, and confirms."""
    page.locator(f"button[value={name}]").click()
    page.locator("[name=confirmed]").click()
    expect(page.locator(".messagelist .success")).to_have_count(1)


@pytest.mark.slow
def test_a_page_is_disconnected_comes_back_and_is_resynced(
    site: Site,  # noqa: F811
    open_board: Callable[..., BoardPage],
    open_admin: Callable[..., Page],  # noqa: F811
):
    board = open_board(site.url)
    order(open_admin(session_of(site, connects=1)), "disconnect")
    board.wait("witness.changes.some((change) => change.state === 'RECONNECTING')", 10)
    board.wait_live()
    order(open_admin(session_of(site, connects=2)), "resync")
    board.wait("witness.snapshots.some((info) => info.reason === 'operator')", 10)
    board.create("todo", "Still here")
    board.wait_live()
    expect(board.card("Still here")).to_have_count(1)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_lists_fit(
    open_board: Callable[..., BoardPage],
    site: Site,  # noqa: F811
    open_admin: Callable[..., Page],  # noqa: F811
    size: str,
    scheme: str,
):
    open_board(site.url)
    page = open_admin(session_of(site, connects=1), viewport=SIZES[size], color_scheme=scheme)
    assert_fits(page)
    page.locator("button[value=dismiss]").click()
    expect(page.locator("[name=confirmed]")).to_be_visible()
    page.wait_for_load_state()
    assert_fits(page)
    for name in LISTS:
        page.goto(f"{site.url}/admin/reconnect_channels/{name}/")
        assert_fits(page)

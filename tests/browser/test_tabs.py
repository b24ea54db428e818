"""The tabs of one browser show each other, hand the connection over, and part when the account changes."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.page import SECOND, BoardPage
from tests.browser.site import Site

pytestmark = pytest.mark.servers

Open = Callable[..., BoardPage]
SIZE = {"width": 1280, "height": 900}
CLIENT = {"maxMs": 500}


@pytest.fixture
def first(site: Site, open_board: Open) -> BoardPage:
    return open_board(site.url, "first", viewport=SIZE, client=CLIENT)


def another(tab: BoardPage, name: str = "another") -> BoardPage:
    """One more tab of the same browser."""
    return BoardPage(tab.page.context.new_page(), tab.url, name).open()


def visit(tab: BoardPage, path: str) -> Page:
    """One more tab with another page of the site, once it is live."""
    page = tab.page.context.new_page()
    page.goto(tab.url + path)
    live(page)
    return page


def live(page: Page) -> None:
    expect(page.locator("#status-text")).to_have_text("live", timeout=15 * SECOND)


def leader(tab: BoardPage) -> Locator:
    return tab.page.locator("#tabs-list [data-leader]")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


def press(page: Page, name: str) -> None:
    """By keyboard: before a click, Playwright waits for two frames, which take tabs in the background 2 s."""
    button(page, name).press("Enter")


def test_tabs_show_each_other_and_the_mark_of_the_leader_moves(first: BoardPage):
    expect(first.page.locator("#tabs-list .tab")).to_have_count(1)
    second = another(first)
    for tab in (first, second):
        expect(tab.page.locator("#tabs-list .tab")).to_have_count(2)
        expect(leader(tab)).to_have_count(1)
    expect(leader(first)).to_contain_text("this tab")
    expect(leader(second)).not_to_contain_text("this tab")
    expect(first.page.locator("#announcer")).to_have_text(
        "2 tabs share one connection. This one is the leader."
    )

    press(first.page, "Hand the connection over")
    expect(leader(second)).to_contain_text("this tab")
    expect(leader(first)).not_to_contain_text("this tab")
    expect(first.page.locator("#fact-role")).to_have_text("follower, 2 tabs")
    for tab in (first, second):
        tab.wait_live()

    press(first.page, "Ask the leader to hand over")
    expect(leader(first)).to_contain_text("this tab")
    second.create("doing", "after two hand-overs")
    expect(first.card("after two hand-overs")).to_have_count(1)
    for tab in (first, second):
        tab.wait_live()
        assert tab.console == []
        assert tab.witness("faults") == []


def test_the_leader_can_be_closed_from_another_tab(first: BoardPage):
    with first.page.expect_popup() as opened:
        press(first.page, "Open a tab")
    popup = opened.value
    live(popup)
    press(first.page, "Hand the connection over")
    expect(leader(first)).not_to_contain_text("this tab")
    with popup.expect_event("close"):
        press(first.page, "Close the leader")
    expect(leader(first)).to_contain_text("this tab")
    expect(first.page.locator("#tabs-list .tab")).to_have_count(1)
    first.wait_live()


def test_a_fault_hits_the_browsers_one_socket_and_what_waits_is_listed(first: BoardPage, site: Site):
    second = another(first)
    second.page.locator("#cut-seconds").fill("2")
    press(second.page, "Cut")
    expect(second.page.locator("#lab-log")).to_contain_text("The socket belongs to another tab: Board")
    for tab in (first, second):
        tab.wait("client.state === 'RECONNECTING'")
        expect(tab.page.locator("#lab-log")).to_contain_text("The line is cut for 2 s")
    expect(second.page.locator("#queue-empty")).to_be_visible()
    second.create("todo", "waits its turn")
    message = second.page.locator("#queue-list .message")
    expect(message).to_have_count(1)
    expect(message).to_contain_text("queued")
    expect(message).to_contain_text("create “waits its turn”")
    expect(message).to_contain_text("board:launch")
    expect(first.page.locator("#queue-empty")).to_be_visible()  # each tab keeps its own

    for tab in (first, second):
        tab.wait_live()
        expect(tab.card("waits its turn")).to_have_count(1)
    expect(second.page.locator("#queue-empty")).to_be_visible()
    assert [card["title"] for card in site.state()["cards"]].count("waits its turn") == 1


def test_accounts_never_share_and_the_old_accounts_tabs_say_so(first: BoardPage):
    second = another(first)
    press(first.page, "ada")
    live(first.page)
    expect(button(first.page, "ada")).to_have_attribute("aria-pressed", "true")
    expect(first.page.locator("#tabs-list .tab")).to_have_count(1)
    stranger = second.page.locator("#stranger")
    expect(stranger).to_contain_text("belongs to another account: guest")
    assert second.page.evaluate("() => boardClient.signal.aborted")

    first.create("todo", "typed by ada")
    expect(first.card("typed by ada")).to_contain_text("· ada")
    press(second.page, "Reload")
    live(second.page)
    expect(stranger).to_be_hidden()
    for tab in (first, second):
        expect(tab.page.locator("#tabs-list .tab")).to_have_count(2)


def test_a_tab_whose_account_left_unseen_is_refused(first: BoardPage):
    """The cookie changes under the open page; its next connection is refused by the server (4501)."""
    first.page.evaluate(
        """async () => {
          const body = new FormData(document.querySelector("[data-account]"));
          body.set("who", "ben");
          await fetch("/account/", { method: "POST", body });
        }"""
    )
    first.page.locator("#cut-seconds").fill("1")
    press(first.page, "Cut")
    first.wait("client.state === 'FAILED'")
    expect(first.page.locator("#stranger")).to_be_visible()
    expect(first.page.locator("#retry")).to_be_hidden()
    page = visit(first, "/boards/launch/")  # ben's
    expect(page.locator("#tabs-list .tab")).to_have_count(1)


def test_the_plain_page_and_the_react_page_follow_the_board_and_it_follows_them(first: BoardPage):
    plain, react = visit(first, "/boards/launch/plain/"), visit(first, "/boards/launch/react/")
    expect(first.page.locator("#tabs-list .tab")).to_have_count(3)
    expect(first.page.locator("#tabs-list")).to_contain_text("Plain")
    expect(first.page.locator("#tabs-list")).to_contain_text("React")

    def everywhere(title: str, column: str) -> None:
        expect(first.page.locator(f"#column-{column} .card", has_text=title)).to_have_count(1)
        for page in (plain, react):
            section = page.locator(".column", has=page.locator(f"#heading-{column}"))
            expect(section.locator(".card", has_text=title)).to_have_count(1)

    first.create("todo", "from the board")
    everywhere("from the board", "todo")

    plain.get_by_label("New card").fill("from the template")
    press(plain, "Add")
    everywhere("from the template", "todo")
    expect(plain.get_by_label("New card")).to_have_value("")
    press(plain, "Move “from the template” to Done")
    everywhere("from the template", "done")
    plain.get_by_label("New card").fill(" ")
    press(plain, "Add")
    expect(plain.locator("#problem")).to_have_text("Not done: A card needs a title.")

    react.get_by_label("New card in In progress").fill("from React")
    react.keyboard.press("Enter")
    everywhere("from React", "doing")
    press(react, "Move “from React” to Done")
    everywhere("from React", "done")

    first.page.close()  # the leader
    react.get_by_label("New card in To do").fill("without the board")
    react.keyboard.press("Enter")
    section = plain.locator(".column", has=plain.locator("#heading-todo"))
    expect(section.locator(".card", has_text="without the board")).to_have_count(1)

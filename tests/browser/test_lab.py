"""The network lab's buttons do what they say, and everything can be done without a mouse."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.page import SECOND, BoardPage
from tests.browser.site import Site

pytestmark = pytest.mark.servers


@pytest.fixture
def page(site: Site, open_board: Callable[..., BoardPage]) -> BoardPage:
    """A board with its lab open, as wide windows show it."""
    page = open_board(site.url, viewport={"width": 1280, "height": 900}, client={"maxMs": 500})
    expect(page.page.locator("#lab")).to_be_visible()
    return page


def press(page: BoardPage, name: str) -> None:
    page.page.locator("#lab").get_by_role("button", name=name, exact=True).click()


def heard(page: BoardPage, text: str) -> None:
    """The lab's log says it."""
    expect(page.page.locator("#lab-log")).to_contain_text(text, timeout=30 * SECOND)


def assert_as_the_server(page: BoardPage, site: Site) -> None:
    page.wait_live()
    state = site.state()
    page.wait_seq(state["seq"])
    page.wait_live()
    expect(page.page.locator("[data-waiting], [data-failed]")).to_have_count(0)
    cards = {(card["id"], card["column"], card["title"]) for card in state["cards"]}
    shown = page.cards()
    assert {(card["id"], card["column"], card["title"]) for card in shown} == cards
    assert len(shown) == len(cards)
    assert page.position() == {name: state[name] for name in ("epoch", "seq", "checksum")}
    assert page.witness("faults") == []


def assert_quiet(page: BoardPage) -> None:
    """The console has nothing to complain of."""
    assert page.console == []
    assert page.witness("errors") == []


def test_a_cut_line_makes_messages_wait_and_then_arrive_each_once(page: BoardPage, site: Site):
    press(page, "Delete the lab’s cards")  # of other tests
    heard(page, "handed to the client")
    assert_as_the_server(page, site)
    before = len(page.cards())
    page.page.locator("#cut-seconds").fill("2")
    press(page, "Cut")
    heard(page, "The line is cut for 2 s")
    heard(page, "The connection is lost")
    page.wait("client.sync.kind === 'stale' && client.state === 'RECONNECTING'")
    press(page, "Send 20 cards")
    expect(page.page.locator("#fact-waiting")).to_have_text("20")
    expect(page.page.locator(".card[data-waiting]")).to_have_count(20)
    expect(page.status).to_contain_text("stale since")
    expect(page.status).to_contain_text("20 waiting")
    press(page, "Edit as somebody else")
    heard(page, "Somebody else made 3 changes")
    cut_short = page.page.evaluate("() => witness.changes.at(-1).state")
    assert cut_short == "RECONNECTING", "the line came back too early for this test"

    heard(page, "The line is whole again")
    heard(page, "Connected again")
    heard(page, "3 entries caught up")
    heard(page, "20 waiting messages arrived, each once")
    assert_as_the_server(page, site)
    assert len(page.cards()) == before + 21
    expect(page.status).to_have_text("live")

    press(page, "Delete the lab’s cards")
    heard(page, "21 deletes handed to the client")
    assert_as_the_server(page, site)
    assert len(page.cards()) == before
    assert_quiet(page)


def test_a_half_open_socket_is_found_dead(site: Site, open_board: Callable[..., BoardPage]):
    """By the silence, after 25 s: the page's clock is turned forward by that, not waited for."""
    page = open_board(site.url, viewport={"width": 1280, "height": 900}, clock=True)
    press(page, "Make it half-open")
    heard(page, "nothing gets through any more")
    site.somebody_else()
    page.create("todo", "into the void")
    page.wait("client.waiting === 1 && client.state === 'CONNECTED'")
    # A frame may have come in the last second: the watch is armed anew once a second.
    page.page.clock.fast_forward(26 * SECOND)
    heard(page, "The client noticed, after 2")
    page.try_now()
    heard(page, "Live again")
    assert_as_the_server(page, site)
    expect(page.card("into the void")).to_have_count(1)
    assert_quiet(page)


@pytest.mark.slow
def test_a_half_open_socket_is_found_dead_sooner_when_the_browser_says_online(page: BoardPage, site: Site):
    press(page, "Make it half-open")
    page.page.evaluate("dispatchEvent(new Event('online'))")
    heard(page, "The client noticed, after 3 s")
    heard(page, "Live again")
    assert_as_the_server(page, site)
    assert_quiet(page)


def test_lost_frames_leave_a_hole_that_is_noticed_and_filled(page: BoardPage, site: Site):
    page.page.locator("#lose-count").fill("1")
    press(page, "Lose")
    heard(page, "The next 1 frame from the server will be lost")
    press(page, "Edit as somebody else")
    heard(page, "Lost a frame from the server")
    # What comes next doesn't fit, or the next PING says that there was more.
    press(page, "Edit as somebody else")
    expect(page.page.locator("#lab-log li").filter(has_text="made 3 changes")).to_have_count(2)
    assert_as_the_server(page, site)
    assert_quiet(page)


def test_repeated_frames_change_nothing(page: BoardPage, site: Site):
    page.page.get_by_label("Repeat every frame").check()
    heard(page, "Every frame from the server now comes twice")
    press(page, "Edit as somebody else")
    for n in range(3):
        page.create("doing", f"only once {n}")
    press(page, "Send 20 cards")
    press(page, "Drop every socket")
    heard(page, "Connected again")
    assert_as_the_server(page, site)
    assert page.page.evaluate(
        "() => new Set(witness.entries.map(({ id }) => id)).size === witness.entries.length"
    )
    for n in range(3):
        expect(page.card(f"only once {n}")).to_have_count(1)
    assert_quiet(page)


def test_the_server_drops_every_socket_of_the_board(
    page: BoardPage, site: Site, open_board: Callable[..., BoardPage]
):
    other = open_board(site.url, "other", client={"maxMs": 500})
    press(page, "Drop every socket")
    heard(page, "The server dropped every socket of this board")
    for one in (page, other):
        one.wait(
            "witness.changes.some(({ state }) => state === 'RECONNECTING') && client.state === 'CONNECTED'"
        )
    other.create("done", "after the drop")
    expect(page.card("after the drop")).to_have_count(1)
    assert_as_the_server(page, site)
    assert_quiet(page)
    assert_quiet(other)


# -- without a mouse ---------------------------------------------------------------------------------------


def focus(page: BoardPage) -> str:
    """What has the focus, by its accessible name or text."""
    return page.page.evaluate(
        """() => {
          const { activeElement: it } = document;
          return it.ariaLabel ?? it.labels?.[0]?.textContent.trim() ?? it.textContent.trim();
        }"""
    )


def tab_to(page: BoardPage, name: str, limit: int = 80) -> None:
    """Press Tab until something of that name has the focus."""
    passed = []
    for _ in range(limit):
        page.page.keyboard.press("Tab")
        passed.append(focus(page))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"{name!r} can't be reached by Tab: {passed}")


def test_everything_works_by_keyboard(site: Site, open_board: Callable[..., BoardPage]):
    page = open_board(site.url, viewport={"width": 800, "height": 900})
    keyboard, announcer = page.page.keyboard, page.page.locator("#announcer")

    keyboard.press("Tab")
    assert focus(page) == "Skip to the board"
    tab_to(page, "Network lab")
    keyboard.press("Enter")
    expect(page.page.locator("#lab")).to_be_visible()
    expect(page.page.locator("#lab-toggle")).to_have_attribute("aria-expanded", "true")
    assert focus(page) == "Close the network lab"
    tab_to(page, "Drop every socket")
    keyboard.press("Enter")
    heard(page, "The server dropped every socket of this board")
    page.try_now()
    keyboard.press("Escape")
    expect(page.page.locator("#lab")).to_be_hidden()
    expect(page.page.locator("#lab-toggle")).to_be_focused()

    page.page.locator("#board").focus()  # as the skip link does
    tab_to(page, "New card in To do")
    keyboard.type("Typed without a mouse")
    keyboard.press("Enter")
    card = page.card("Typed without a mouse")
    expect(card).to_have_count(1)
    expect(card).not_to_have_attribute("data-waiting", "")
    expect(page.page.locator("#new-todo")).to_be_focused()
    expect(page.page.locator("#new-todo")).to_have_value("")

    keyboard.press("Shift+Tab")
    assert focus(page).startswith("Actions for “Typed without a mouse”")
    keyboard.press("ArrowRight")
    expect(card).to_have_attribute("data-column", "doing")
    expect(announcer).to_contain_text("“Typed without a mouse”: In progress")
    expect(card.locator(".card-menu")).to_be_focused()
    keyboard.press("ArrowUp")
    expect(card).not_to_have_attribute("data-waiting", "")
    expect(card.locator(".card-menu")).to_be_focused()

    keyboard.press("Enter")
    expect(card.locator(".card-tools")).to_be_visible()
    tab_to(page, "Edit", 8)
    keyboard.press("Enter")
    keyboard.type("Typed again")  # the old title is selected
    keyboard.press("Enter")
    card = page.card("Typed again")
    expect(card).to_have_count(1)
    expect(card.locator(".card-menu")).to_be_focused()
    expect(card).not_to_have_attribute("data-waiting", "")

    keyboard.press("Enter")
    tab_to(page, "Delete", 8)
    keyboard.press("Enter")
    expect(card.get_by_role("button", name="Really delete?")).to_be_focused()
    keyboard.press("Enter")
    expect(card).to_have_count(0)
    expect(announcer).to_contain_text("Deleted “Typed again”")
    assert page.page.evaluate("() => document.activeElement !== document.body"), "the focus is lost"
    assert_as_the_server(page, site)
    assert_quiet(page)


# -- what assistive technology is told -------------------------------------------------------------------

NAMED = {"button", "link", "textbox", "checkbox", "spinbutton", "combobox", "heading", "img", "complementary"}
NAMED |= {"region", "navigation", "group", "log"}


def nameless(page: BoardPage) -> list[str]:
    """Parts of the accessibility tree, as Chromium computes it, that need a name and have none."""
    session = page.page.context.new_cdp_session(page.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return [
        f"{node['role']['value']} {node.get('properties')}"
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in NAMED
        and not node.get("name", {}).get("value", "").strip()
    ]


def test_every_control_has_a_name_and_every_reference_a_target(page: BoardPage, site: Site):
    page.tools(page.card("Draw the logo"))
    assert nameless(page) == []
    page.tools(page.card("Choose a date")).get_by_role("button", name="Edit").click()
    assert nameless(page) == []
    listing = page.page.context.new_page()
    listing.goto(site.url)
    assert nameless(BoardPage(listing, site.url, "list")) == []

    assert page.page.locator("#announcer[role=status][aria-live=polite]").count() == 1
    duplicates = page.page.evaluate(
        """() => {
          const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
          return ids.filter((id, at) => ids.indexOf(id) !== at);
        }"""
    )
    assert duplicates == []
    dangling = page.page.evaluate(
        """() => ["aria-controls", "aria-labelledby", "aria-describedby", "for"].flatMap((name) =>
          [...document.querySelectorAll(`[${name}]`)]
            .flatMap((element) => element.getAttribute(name).split(" "))
            .filter((id) => !document.getElementById(id)))"""
    )
    assert dangling == []
    assert page.page.locator("html").get_attribute("lang") == "en"
    assert page.page.locator("h1").count() == 1
    assert page.page.locator("main").count() == 1


@pytest.mark.slow
def test_an_outage_is_announced_once_it_lasts(page: BoardPage):
    page.page.locator("#cut-seconds").fill("4")
    press(page, "Cut")
    expect(page.page.locator("#announcer")).to_contain_text("stale since")
    expect(page.page.locator("#announcer")).to_have_text("live", timeout=15 * SECOND)

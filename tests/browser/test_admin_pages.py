"""The admin's flight recorder and overview in a real browser: alive through cuts, and fit to be looked at."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.page import BoardPage, until
from tests.browser.site import Site, environment, prepare
from tests.browser.test_screens import SIZES, assert_fits
from tests.proxy import FaultProxy
from tests.servers import HOST, ROOT

pytestmark = pytest.mark.servers

ADMIN = "/admin/reconnect_channels/clientsession/"
LIVE = "() => overviewClient.sync.kind === 'live'"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"

# Prints the key of a logged-in session.
LOGIN = """
import django

django.setup()
from django.contrib.auth import get_user_model
from django.test import Client

client = Client()
client.force_login(get_user_model().objects.create_superuser("root", "", "secret"))
print(client.cookies["sessionid"].value)
"""

# What the first chart shows: [pieces of its curve, samples].
CURVE = """() => {
  const pieces = (document.querySelector(".rc-curve").getAttribute("d") ?? "").split("M").slice(1);
  return [pieces.length, pieces.flatMap((piece) => piece.split("L")).length];
}"""

# Texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, 1.4.3).
PALE = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => {
    const [more, less] = [light(a), light(b)].sort((x, y) => y - x);
    return (more + 0.05) / (less + 0.05);
  };
  const behind = (element) => {
    const bar = element.previousElementSibling;
    if (element.matches(".rc-bar + text")) return parts(getComputedStyle(bar).fill);
    for (let box = element; box; box = box.parentElement) {
      const color = parts(getComputedStyle(box).backgroundColor);
      if (color.length === 3) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("#content *")]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => !element.matches("title, desc") && element.checkVisibility())
    .filter((element) => {
      const style = getComputedStyle(element);
      return contrast(parts(element instanceof SVGElement ? style.fill : style.color), behind(element)) < 4.5;
    })
    .map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`);
}"""


@pytest.fixture(scope="module")
def key_and_sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A database with boards and a superuser who is logged in."""
    database = tmp_path_factory.mktemp("sample") / "board.sqlite3"
    prepare(database)
    command = [sys.executable, "-c", LOGIN]
    env = {**os.environ, **environment(database)}
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    return done.stdout.split()[-1], database


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, key_and_sample: tuple[str, Path]) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), key_and_sample[1], "uvicorn") as site:
        yield site


@pytest.fixture
def open_admin(
    browser: Browser, site: Site, key_and_sample: tuple[str, Path]
) -> Iterator[Callable[..., Page]]:
    """Opens a page of the admin as the superuser; `said` collects what its console says."""
    contexts = []

    def open_admin(path: str = "overview/", url: str = site.url, said: Any = None, **options: Any) -> Page:
        # Chromium lets no page that a test made up talk to this machine without being asked.
        context = browser.new_context(permissions=["local-network-access"], **options)
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": key_and_sample[0], "url": url}])
        page = context.new_page()
        if said is not None:
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url + ADMIN + path)
        return page

    yield open_admin
    for context in contexts:
        context.close()


def samples(site: Site) -> int:
    """How many were taken."""
    query = "SELECT head FROM reconnect_channels_stream WHERE name = 'reconnect.overview'"
    with closing(sqlite3.connect(site.database)) as database:
        return database.execute(query).fetchone()[0]


def flight_of(site: Site) -> str:
    """The page of the session that came back most often."""
    query = "SELECT id FROM reconnect_channels_clientsession ORDER BY length(flight) DESC LIMIT 1"
    with closing(sqlite3.connect(site.database)) as database:
        return f"{database.execute(query).fetchone()[0]}/flight/"


@pytest.mark.slow
def test_the_overview_shows_the_past_and_follows(open_admin: Callable[..., Page]):
    page = open_admin()
    page.wait_for_function(LIVE)
    page.wait_for_function(f"() => ({CURVE})()[1] >= 3")
    expect(page.locator("#rc-status")).to_have_text("live")
    expect(page.locator("#rc-node-rows th")).to_have_count(1)
    expect(page.locator("[data-figure=live] b")).not_to_have_text("0")
    later = open_admin()
    later.wait_for_function(f"() => ({CURVE})()[1] >= 3", timeout=3000)  # what was before it came
    expect(later.locator("[data-figure=live] svg")).to_have_attribute(
        "aria-label", re.compile("Live sessions in")
    )


@pytest.mark.slow
def test_after_a_cut_the_chart_fills_its_gap(site: Site, open_admin: Callable[..., Page]):
    with FaultProxy(site.server.port) as proxy:
        page = open_admin(url=f"http://{HOST}:{proxy.port}")
        page.wait_for_function(LIVE)
        page.wait_for_function(f"() => ({CURVE})()[1] >= 2")
        proxy.refuse()
        proxy.cut()
        expect(page.locator("#rc-overview")).to_have_attribute("data-kind", "stale")
        expect(page.locator("#rc-status")).to_contain_text("stale since")
        points = page.evaluate(CURVE)[1]
        before = samples(site)
        until(lambda: page.evaluate("0") == 0 and samples(site) >= before + 5)  # more than makes a gap
        assert page.evaluate(CURVE)[1] == points
        proxy.accept()
        page.evaluate("() => overviewClient.retry()")
        page.wait_for_function(LIVE)
        page.wait_for_function(f"(points) => ({CURVE})()[1] >= points + 3", arg=points)
        assert page.evaluate(CURVE)[0] == 1, "the curve is in pieces"


@pytest.mark.slow
def test_a_page_whose_socket_leads_nowhere_says_how_to_route_it(open_admin: Callable[..., Page]):
    page = open_admin()

    def reroute(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace("/ws/reconnect/overview/", "/ws/no/"))

    expect(page.locator("#rc-howto")).to_be_hidden()
    page.route("**/overview/", reroute)
    page.reload()
    expect(page.locator("#rc-howto")).to_be_visible(timeout=30_000)
    expect(page.locator("#rc-howto")).to_contain_text("overview.websocket_urlpatterns")
    expect(page.locator("#rc-node-rows th")).to_have_count(1)


@pytest.mark.slow
def test_marks_are_reached_by_keyboard_and_lead_to_their_line(
    site: Site, open_admin: Callable[..., Page], open_board: Callable[..., BoardPage]
):
    with FaultProxy(site.server.port) as proxy:
        board = open_board(f"http://{HOST}:{proxy.port}")
        proxy.cut()
        board.wait("client.state !== 'CONNECTED'")
        board.wait_live()
        page = open_admin()
        page.wait_for_function(LIVE)
        page.goto(site.url + ADMIN + flight_of(site))
        expect(page.locator(".rc-line")).to_be_visible()
        mark = page.locator(".rc-line a").first
        mark.focus()
        assert page.evaluate("() => document.activeElement.getAttribute('aria-label')")
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.matches('.rc-line a')")
        target = page.evaluate("() => document.activeElement.getAttribute('href')")
        page.keyboard.press("Enter")
        expect(page.locator(target)).to_be_in_viewport()
        assert page.evaluate("(target) => document.querySelector(target).matches(':target')", target)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_and_can_be_read(
    site: Site, open_admin: Callable[..., Page], tmp_path: Path, size: str, scheme: str
):
    said: list[str] = []
    page = open_admin(said=said, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")

    def look(name: str) -> None:
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        assert_fits(page)
        assert page.evaluate(PALE) == []
        levels = page.locator("#content :is(h1, h2, h3)").evaluate_all("all => all.map(one => one.tagName)")
        assert levels[0] == "H1"
        assert levels.count("H1") == 1

    page.wait_for_function(LIVE)
    page.wait_for_function(f"() => ({CURVE})()[1] >= 2")
    look("overview")
    page.goto(site.url + ADMIN + flight_of(site))
    expect(page.locator(".rc-line")).to_be_visible()
    look("flight")
    assert [text for text in said if "404" not in text] == []  # the browser asks for an icon
    print("pictures:", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["overview", "flight"])
def test_pages_need_no_exception_of_a_content_security_policy(
    site: Site, open_admin: Callable[..., Page], kind: str
):
    page = open_admin()
    page.wait_for_function(LIVE)
    path = "overview/" if kind == "overview" else flight_of(site)
    said: list[str] = []

    def restrict(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers={**response.headers, "content-security-policy": POLICY})

    page.on("console", lambda message: said.append(message.text))
    page.route(f"**/{path}", restrict)
    page.goto(site.url + ADMIN + path)
    if kind == "overview":
        expect(page.locator("#rc-status")).to_have_text("live")
    else:
        expect(page.locator(".rc-line")).to_be_visible()
    assert [text for text in said if "Content Security Policy" in text] == []

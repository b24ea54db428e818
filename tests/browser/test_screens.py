"""Narrow and wide, light and dark: nothing sticks out or covers anything. Each look is saved as a picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.page import BoardPage
from tests.browser.site import Site

pytestmark = pytest.mark.servers

SIZES = {"narrow": {"width": 390, "height": 844}, "wide": {"width": 1280, "height": 800}}

# Pairs of things that cover each other: those of which neither holds the other, both in sight.
OVERLAPS = """() => {
  const wanted =
    "h1, h2, h3, .status, .card, .card-title, button, input, select, textarea, a, .tour, .hint, .tab, label";
  const clipped = (element) => {  // what a scrolling ancestor leaves to be seen
    let { left, top, right, bottom } = element.getBoundingClientRect();
    for (let box = element.parentElement; box; box = box.parentElement) {
      if (getComputedStyle(box).overflow === "visible") continue;
      const edge = box.getBoundingClientRect();
      left = Math.max(left, edge.left), top = Math.max(top, edge.top);
      right = Math.min(right, edge.right), bottom = Math.min(bottom, edge.bottom);
    }
    return { left, top, right, bottom };
  };
  const things = [...document.querySelectorAll(wanted)]
    .filter((element) => element.checkVisibility() && !element.matches(".skip, .hidden-visually"))
    .map((element) => ({ element, ...clipped(element) }))
    .filter(({ left, top, right, bottom }) => right - left > 1 && bottom - top > 1);
  const name = ({ element: { tagName, id, className, textContent } }) =>
    `${tagName} ${id} ${className} ${textContent.trim().slice(0, 30)}`;
  const found = [];
  things.forEach((a, at) => {
    for (const b of things.slice(at + 1)) {
      if (a.element.contains(b.element) || b.element.contains(a.element)) continue;
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (width > 1 && height > 1) found.push(`${name(a)} / ${name(b)}: ${width} x ${height}`);
    }
  });
  return found;
}"""

# Controls in sight that a click in their middle wouldn't reach.
COVERED = """() => [...document.querySelectorAll("#lab button, #lab input, .top button, .top a")]
  .filter((element) => element.checkVisibility())
  .map((element) => ({ element, box: element.getBoundingClientRect() }))
  .filter(({ box }) => box.top >= 0 && box.bottom <= innerHeight && box.width)
  .filter(({ element, box }) => {
    const panel = element.closest(".experiments")?.getBoundingClientRect();
    const middle = box.top + box.height / 2;
    if (panel && (middle < panel.top || middle > panel.bottom)) return false;  // scrolled away
    const hit = document.elementFromPoint(box.left + box.width / 2, middle);
    return !(element.contains(hit) || hit?.contains(element) || hit?.closest("label")?.control === element);
  })
  .map(({ element }) => `${element.tagName} ${element.id} ${element.textContent.trim()}`)"""


def assert_fits(page: Page) -> None:
    width, shown = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width <= shown, f"the document is {width} px wide in a window of {shown}"
    body = page.evaluate("() => document.body.getBoundingClientRect().right")
    assert body <= shown + 0.5


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_sticks_out_or_covers_anything(
    site: Site, open_board: Callable[..., BoardPage], tmp_path: Path, size: str, scheme: str
):
    page = open_board(site.url, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    tab = page.page

    def look(name: str, overlaps: bool = True) -> None:
        tab.evaluate("() => document.fonts.ready")
        tab.screenshot(path=tmp_path / f"{name}.png")
        assert_fits(tab)
        if overlaps:
            assert tab.evaluate(OVERLAPS) == [], name
        assert tab.evaluate(COVERED) == [], name

    lab = tab.locator("#lab")
    if lab.is_visible():
        look("lab")
        tab.locator("#lab-close").click()
    expect(lab).to_be_hidden()
    look("board")

    tools = page.tools(page.card("Draw the logo" if size == "wide" else "Write the announcement"))
    look("tools")
    tools.get_by_role("button", name="Edit").click()
    look("editor")
    tab.keyboard.press("Escape")

    long = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
    page.create("todo", long)
    page.create("todo", "many words " * 17)
    page.wait_live()
    look("long titles")

    tab.locator("#lab-toggle").click()
    expect(lab).to_be_visible()
    look("lab open", overlaps=size == "wide")  # on a narrow screen the lab lies over the board

    tab.locator("#cut-seconds").fill("30")
    lab.get_by_role("button", name="Cut", exact=True).click()
    expect(tab.locator("#retry")).to_be_visible()
    tab.locator("#lab-close").click()
    page.create("todo", "waits")
    expect(tab.locator("#fact-waiting")).to_have_text("1")
    look("outage")
    tab.evaluate("() => scrollTo(document.body.scrollWidth, document.body.scrollHeight)")
    look("outage, scrolled")

    background = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
    dark = sum(int(part) for part in background.strip("rgba()").split(",")[:3]) < 3 * 128
    assert dark == (scheme == "dark"), background

    for other in ("plain", "react"):
        tab.goto(f"{site.url}/boards/launch/{other}/")
        expect(tab.locator("#status-text")).to_have_text("live")
        look(other)

    tab.goto(site.url)
    look("list")
    print("pictures:", tmp_path)

"""Two pages, a third writer and a network that breaks: everybody ends with the same board."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator

from tests.browser.page import SECOND, BoardPage
from tests.browser.site import SLUG, Site, Writer
from tests.proxy import FaultProxy

COLUMNS = ["todo", "doing", "done"]


@contextmanager
def cut(proxy: FaultProxy, seconds: float) -> Iterator[threading.Event]:
    """Breaks the line and refuses new connections for so long; the event is set when it is whole again."""
    whole = threading.Event()

    def heal() -> None:
        proxy.accept()
        whole.set()

    proxy.refuse()
    proxy.cut()
    timer = threading.Timer(seconds, heal)
    timer.start()
    try:
        yield whole
    finally:
        timer.join()


class Person:
    """Does one thing after the other on a page, chosen at random: mostly by hand, now and then by script."""

    def __init__(self, page: BoardPage, chance: random.Random) -> None:
        self.page, self.chance = page, chance
        self.created: list[str] = []
        self.done: Counter[str] = Counter()

    def act(self) -> None:
        full = self.page.page.locator(".card").count() > 120  # a board takes no more than 200
        chances = [1, 3, 4, 6, 1] if full else [4, 3, 4, 1, 2]
        kind = self.chance.choices(["create", "edit", "move", "delete", "script"], chances)[0]
        self.page.page.set_default_timeout(SECOND)
        try:
            getattr(self, kind)()
            self.done[kind] += 1
        except PlaywrightError:
            # The card was deleted by somebody else under our hands.
            self.page.page.keyboard.press("Escape")
            self.done["missed"] += 1
        finally:
            self.page.page.set_default_timeout(10 * SECOND)

    def create(self) -> None:
        title = f"{self.page.name} {len(self.created)}"
        self.created.append(title)
        self.page.create(self.chance.choice(COLUMNS), title)

    def _any(self) -> Locator:
        cards = self.page.page.locator(".card:not([data-leaving]):not([data-failed])")
        names = cards.evaluate_all("cards => cards.map((card) => card.dataset.name)")
        return self.page.page.locator(f'.card[data-name="{self.chance.choice(names)}"]')

    def edit(self) -> None:
        card = self._any()
        title = card.locator(".card-title").text_content(timeout=SECOND)
        self.page.edit(card, f"{title}*")

    def move(self) -> None:
        self.page.move(self._any(), self.chance.choice(["left", "right", "up", "down"]))

    def delete(self) -> None:
        self.page.delete(self._any())

    def script(self) -> None:
        """What the page doesn't know of: a message by its client that nobody waits for."""
        title = f"{self.page.name} {len(self.created)}"
        self.created.append(title)
        payload = {"op": "create", "column": self.chance.choice(COLUMNS), "title": title}
        self.page.page.evaluate(
            "([stream, payload]) => void boardClient.send(stream, payload).catch(() => {})",
            [f"board:{SLUG}", payload],
        )


def elsewhere(site: Site, writer: Writer, chance: random.Random) -> None:
    """One change that comes neither over a socket nor through the proxy."""
    if chance.random() < 0.3:
        site.somebody_else()
        return
    cards = writer("dump", SLUG)["cards"]
    card = chance.choice(cards)["id"]
    match chance.choice(["create", "edit", "move", "move", "delete"]):
        case "create":
            writer("create", SLUG, chance.choice(COLUMNS), "from elsewhere")
        case "edit":
            writer("edit", SLUG, card, f"edited elsewhere {chance.randrange(100)}")
        case "move":
            writer("move", SLUG, card, chance.choice(COLUMNS), chance.choice(cards)["id"])
        case "delete":
            writer("delete", SLUG, card)


def assert_settled_and_equal(site: Site, writer: Writer, pages: list[BoardPage]) -> list[dict]:
    """Pages, JSON and rows show one board; nothing waits, nothing came twice."""
    for page in pages:
        page.try_now()
        page.wait_live()
    head = writer("dump", SLUG)["position"]["seq"]
    for page in pages:
        page.wait_seq(head)
        page.wait_live()
        page.dismiss()
        page.page.wait_for_function(
            "() => !document.querySelector('[data-waiting], [data-leaving], [data-failed]')"
        )

    state, rows = site.state(), writer("dump", SLUG)
    position = {name: state[name] for name in ("epoch", "seq", "checksum")}
    assert rows["position"] == position
    columns = sorted(
        rows["cards"], key=lambda card: (COLUMNS.index(card["column"]), card["rank"], card["id"])
    )
    shown = [{name: card[name] for name in ("id", "column", "title")} for card in columns]
    assert sorted(state["cards"], key=lambda card: card["id"]) == sorted(
        rows["cards"], key=lambda card: card["id"]
    )
    for page in pages:
        assert page.cards() == shown, page.tell()
        assert page.position() == position, page.tell()
        assert page.witness("faults") == [], page.name
        assert page.witness("lost") == [], page.name
        assert page.witness("errors") == [], page.name
        page.page.wait_for_function("() => witness.answers.length === witness.sent")
        assert page.page.evaluate("() => boardClient.queue.length") == 0
        assert page.status.text_content() == "live"
        refusals = [answer for answer in page.witness("answers") if not answer["ok"]]
        assert {answer["reason"] for answer in refusals} <= {"This card was deleted meanwhile."}, refusals
        assert not [
            line for line in page.console if "WebSocket connection" not in line and "ERR_" not in line
        ]
    return shown


def lengths(chance: random.Random, count: int, total: float) -> list[float]:
    """So many cuts of 0.1 to 5 s that last no longer than `total` together, short ones more often."""
    drawn = [0.1 + 4.9 * chance.random() ** 2 for _ in range(count)]
    shrink = min(1.0, (total - 0.1 * count) / (sum(drawn) - 0.1 * count))
    return [0.1 + (length - 0.1) * shrink for length in drawn]


@pytest.mark.servers
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("server", "count", "total"),
    [
        ("uvicorn", 5, 5),
        pytest.param("uvicorn", 20, 35, marks=pytest.mark.slow),
        pytest.param("daphne", 20, 35, marks=pytest.mark.slow),
    ],
)
def test_after_cuts_everybody_has_the_same_board(
    start: Callable[..., Site], open_board: Callable[..., BoardPage], server: str, count: int, total: float
):
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    site = start(server)
    with FaultProxy(site.server.port) as proxy, Writer(site) as writer:
        url = f"http://127.0.0.1:{proxy.port}"
        people = [Person(open_board(url, name), chance) for name in ("Ada", "Grace")]
        for length in lengths(chance, count, total):
            with cut(proxy, length) as whole:
                for person in people:
                    person.create()  # whoever is cut goes on working
                while not whole.is_set():
                    chance.choice([people[0].act, people[1].act, lambda: elsewhere(site, writer, chance)])()
            # Sometimes the next cut hits before the pages are back, sometimes while they catch up.
            for person in chance.choice([[], people[:1], people]):
                person.page.try_now()
                person.act()
        shown = assert_settled_and_equal(site, writer, [person.page for person in people])

    made = [title for person in people for title in person.created]
    keys = Counter(answer["id"] for person in people for answer in person.page.witness("answers"))
    assert max(keys.values()) == 1
    with_title = Counter(card["title"].rstrip("*") for card in shown)
    assert not [title for title in made if with_title[title] > 1]
    print(f"{proxy.counters.cut} connections cut, {len(shown)} cards;", *(dict(p.done) for p in people))

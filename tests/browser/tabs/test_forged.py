"""Nonsense on the channel, and duplicated tabs: nothing breaks, gets lost or comes twice."""

from collections import Counter

import pytest

from tests.browser.tabs.cdp import Tab, until
from tests.browser.tabs.forger import NASTY, SPY, TYPES, Forger, spoiled
from tests.browser.tabs.page import LIVE, Page, Person


@pytest.fixture
def three(person: Person) -> list[Page]:
    """Tabs that have said most of what tabs say to each other."""
    pages = [person.open(script=SPY) for _ in range(3)]
    for number, page in enumerate(pages):
        page.send(f"{number} before")
        page.tab.evaluate("client.subscribe('tabs:more').close()")
        page.wait_answers()
    return pages


def assert_all_works(person: Person, pages: list[Page], after: str = "after") -> None:
    """Each tab is live again and sends, under the right name; what is shown is what is stored."""
    before = len(person.site.texts(person.stream))
    for number, page in enumerate(pages):
        page.wait(LIVE, 45)
        page.send(f"{number} {after}")
        assert set(page.wait_answers(45).values()) == {"ok"}
        assert page.tab.evaluate("note.errors.filter((text) => text.startsWith('un'))") == [], after
    texts = person.site.texts(person.stream)
    assert sorted(texts[before:]) == [f"{number} {after}" for number in range(len(pages))]
    for page in pages:
        page.wait(f"note.entries.length >= {len(texts)}")
        assert page.texts == texts, after
    assert all(entry["by"] == person.name for entry in person.site.entries(person.stream))
    until(lambda: [page.role for page in pages].count("leader") == 1, what="one tab leads")


@pytest.mark.slow
def test_forged_letters_of_every_type_break_nothing(person: Person, three: list[Page]):
    forger = Forger(person)
    assert {"lead", "frame", "answer", "join", "out"} < set(TYPES)
    for kind in TYPES:
        if kind != "logout":
            forger.write(*spoiled(forger.plausible()[kind]))
            assert_all_works(person, three, kind)
    assert len(person.site.texts(person.stream)) == 3 * len(TYPES), (
        "a message of each tab, before and each time"
    )


def test_what_is_no_letter_breaks_nothing(person: Person, three: list[Page]):
    forger = Forger(person)
    forger.write(*NASTY, *(f"{{ t: {value} }}" for value in NASTY), "{ t: 'toString' }", "{ t: '__proto__' }")
    assert_all_works(person, three)


def test_a_forged_leader_of_a_high_term_leaves_room_for_a_real_one(person: Person, three: list[Page]):
    forger = Forger(person)
    lead = forger.plausible()["lead"]
    for term in (lead["term"] + 1, 2**31, 2**52 - 1):
        forger.write(*spoiled({**lead, "term": term, "tab": "nobody", "tabs": []}))
    assert_all_works(person, three)


def test_a_forged_logout_closes_tabs_in_order(person: Person, three: list[Page]):
    Forger(person).write("{ t: 'logout' }")
    for page in three:
        page.wait("client.signal.aborted && client.state === 'DISCONNECTED'")
        assert page.note["errors"] == []
    until(lambda: person.site.open_sockets(person.name) == [], what="no socket is left")
    assert person.open().role == "leader"


def test_letters_of_one_account_move_nothing_in_the_tabs_of_another(person: Person, three: list[Page]):
    eve = Person(person.site, person.profile, f"eve of {person.name}", person.stream, person.url)
    eve.enter()
    hers = [eve.open(script=SPY), eve.open(script=SPY)]
    hers[1].send("eve before")
    hers[1].wait_answers()
    ada = Forger(person).plausible()
    forger = Forger(eve)
    # An `out` is a tab's request to send: on Eve's channel it is Eve's, whoever wrote its text.
    forger.write(
        *(text for kind, letter in ada.items() if kind not in ("out", "logout") for text in spoiled(letter))
    )
    for page in hers:
        page.wait(LIVE, 45)
        page.send(f"eve after {page.tab.target}")
        assert set(page.wait_answers(45).values()) == {"ok"}
    for page in three:
        page.wait(LIVE)
        page.send(f"ada after {page.tab.target}")
        assert set(page.wait_answers().values()) == {"ok"}
    for entry in eve.site.entries(eve.stream):
        assert (entry["by"] == eve.name) == entry["text"].startswith("eve"), entry
    texts = eve.site.texts(eve.stream)
    assert Counter(texts).most_common(1)[0][1] == 1
    for page in [*hers, *three]:
        page.wait(f"note.entries.length >= {len(texts)}")
        assert page.texts == texts


def duplicate(person: Person, page: Page) -> Page:
    """What "Duplicate tab" does: the same address, and a copy of sessionStorage."""
    before = person.profile.targets()
    page.tab.evaluate("void open(location.href)")
    new = until(lambda: person.profile.targets() - before, what="another tab")
    copy = Page(Tab(page.tab.browser, new.pop()), person.stream)
    person.pages.append(copy)
    copy.tab.wait("document.readyState === 'complete' && !!globalThis.client")
    return copy


@pytest.mark.parametrize("store", [None, {}], ids=["memory", "persisted"])
def test_a_duplicated_tab_is_a_tab_of_its_own(person: Person, store: dict | None):
    first = person.open(store=store)
    first.tab.evaluate("block()")
    first.send(*(f"first {number}" for number in range(10)))
    second = duplicate(person, first)
    assert first.tab.evaluate("sessionStorage.length") == second.tab.evaluate("sessionStorage.length")
    second.send(*(f"second {number}" for number in range(10)))
    first.tab.evaluate("blocked = false; client.retry()")
    for page in (first, second):
        assert set(page.wait_answers().values()) == {"ok"}
    texts = person.site.texts(person.stream)
    assert len(texts) == 20
    for name in ("first", "second"):
        assert [t for t in texts if t.startswith(name)] == [f"{name} {number}" for number in range(10)]
    assert first.tab.evaluate("client.snapshot.tabs.length") == 2

"""When the tab that leads goes away, in whatever way, another one is connected within a second."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from statistics import median

import pytest

from tests.browser.tabs.cdp import CdpError, until
from tests.browser.tabs.page import CONNECTED, LEADS, Page, Person

SECOND = 1000

Departure = Callable[[Page], None]


def close(leader: Page) -> None:
    leader.tab.close()


def crash(leader: Page) -> None:
    leader.tab.post("Page.crash")


def navigate(leader: Page) -> None:
    leader.tab.follow("/elsewhere/")


def freeze(leader: Page) -> None:
    leader.tab.post("Page.setWebLifecycleState", state="frozen")


def no_socket(leader: Page) -> None:
    leader.tab.evaluate("block()")
    leader.wait("client.state !== 'CONNECTED'")


def nothing(leader: Page) -> None:
    pass


def took_over(page: Page, since: float) -> float | None:
    """When the page led and was connected, in milliseconds after `since`."""
    changes = page.tab.evaluate("note.changes", 1)
    found = (c["at"] for c in changes if c["role"] == "leader" and c["state"] == "CONNECTED")
    return next((at - since for at in found if at >= since), None)


def hand_over(others: list[Page], leader: Page, depart: Departure, seconds: float = 15) -> tuple[Page, float]:
    """@returns the new leader, and the milliseconds from the event until it was connected."""
    since = time.time() * SECOND
    depart(leader)

    def look() -> tuple[Page, float] | None:
        for page in others:
            with suppress(CdpError):
                if (took := took_over(page, since)) is not None:
                    return page, took
        return None

    try:
        return until(look, seconds, "another tab is connected as the leader")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *(page.tell() for page in others)])) from None


@pytest.mark.parametrize(
    "rounds", [pytest.param(2, id="short"), pytest.param(10, marks=pytest.mark.slow, id="ten")]
)
@pytest.mark.parametrize(
    ("name", "prepare", "depart", "frozen"),
    [
        ("close", nothing, close, 0),
        ("renderer crash", nothing, crash, 0),
        ("navigation", nothing, navigate, 0),
        ("navigation without an open socket", no_socket, navigate, 0),
        ("freeze", nothing, freeze, 0),
        ("close with a frozen first follower", nothing, close, 1),
    ],
    ids=["close", "crash", "navigation", "navigation-no-socket", "freeze", "frozen-follower"],
)
def test_another_tab_is_connected_within_a_second(
    person: Person, rounds: int, name: str, prepare: Departure, depart: Departure, frozen: int
):
    pages = [person.open() for _ in range(3)]
    times = []
    for number in range(rounds):
        leader = person.leader(pages)
        others = [page for page in pages if page is not leader]
        prepare(leader)
        # The one in front can't be frozen, and the first in the queue is the oldest.
        others[-1].tab.show()
        for page in others[:frozen]:
            page.tab.freeze()
            # A lock that is granted in the very moment of freezing stays in the frozen tab, out of its reach.
            page.wait("client.role === 'suspended'")
        new, took = hand_over(others, leader, depart)
        times.append(took)
        for page in others[:frozen]:
            assert page is not new
            page.tab.thaw()
        if depart is freeze:
            leader.tab.thaw()
            leader.wait_live()
            assert leader.role == "follower"
            continue
        if depart is not close:
            leader.tab.close()
        pages = [*others, person.open()]
        for page in pages:
            page.send(f"{number} {page.tab.target}")
            page.wait_live()
    print(f"\nhand-over after {name}: median {median(times):.0f} ms of {[round(t) for t in times]}")
    assert max(times) <= SECOND
    until(lambda: len(person.site.open_sockets(person.name)) == 1, 5, "one socket is left")
    texts = person.site.texts(person.stream)
    assert len(texts) == len(set(texts))


STEALS = """
globalThis.steals = 0;
const request = navigator.locks.request.bind(navigator.locks);
navigator.locks.request = (name, options, callback) => {
  if (options.steal) globalThis.steals++;
  return request(...[name, options, callback].filter((argument) => argument));
};
"""


@pytest.mark.slow
def test_a_blocked_leader_is_replaced_within_eight_seconds_and_steps_down_afterwards(person: Person):
    pages = [person.open(script=STEALS) for _ in range(3)]
    leader = person.leader()
    others = [page for page in pages if page is not leader]
    sending = "['old 1', 'old 2', 'old 3'].forEach(say)"
    busy = f"{sending}; for (const end = performance.now() + 12000; performance.now() < end;); say('old 4')"
    new, took = hand_over(others, leader, lambda page: page.tab.run(busy), 12)
    print(f"\nmain thread blocked for 12 s: another tab is connected after {took:.0f} ms")
    assert took <= 8 * SECOND
    for number, page in enumerate(others):
        page.send(f"new {number}")
        assert set(page.wait_answers().values()) == {"ok"}
    leader.wait("'old 4' in note.answers", 15)
    assert set(leader.wait_answers().values()) == {"ok"}
    leader.wait_live()
    assert sum(page.tab.evaluate("steals") for page in pages) <= 1
    assert [page for page in pages if page.tab.evaluate(LEADS)] == [new]
    until(lambda: len(person.site.open_sockets(person.name)) == 1, 5, "one socket is left")
    texts = person.site.texts(person.stream)
    assert Counter(texts) == Counter([f"old {n}" for n in (1, 2, 3, 4)] + ["new 0", "new 1"])
    assert [text for text in texts if text.startswith("old")] == ["old 1", "old 2", "old 3", "old 4"]
    for page in pages:
        page.wait(f"note.entries.length >= {len(texts)}")
        assert page.texts == texts


def test_back_and_forward_join_and_leave_again(person: Person):
    left, other = person.open(), person.open()
    assert left.role == "leader"
    for turn in range(2):
        hand_over([other], left, navigate) if turn == 0 else left.tab.go(+1)
        left.tab.wait("location.pathname === '/elsewhere/'")
        person.site.publish(person.stream, f"while away {turn}")
        other.send(f"other {turn}")
        left.tab.go(-1)
        left.tab.wait("location.pathname === '/page/' && note.shows.at(-1) === true")
        left.wait_live()
        assert left.role == "follower"
        left.send(f"back {turn}")
        assert set(left.wait_answers().values()) == {"ok"}
        assert set(other.wait_answers().values()) == {"ok"}
    texts = person.site.texts(person.stream)
    assert Counter(texts) == Counter(
        f"{what} {turn}" for what in ("while away", "other", "back") for turn in (0, 1)
    )
    for page in (left, other):
        page.wait(f"note.entries.length >= {len(texts)}")
        assert page.texts == texts, "it is the same page, which has missed nothing and got nothing twice"
        assert page.note["snapshots"] == 1
    assert len(person.site.open_sockets(person.name)) == 1


def test_a_thawed_leader_has_lost_nothing_and_sends_nothing_twice(person: Person):
    old, other = person.open(), person.open()
    assert old.role == "leader"
    before = [f"before {number}" for number in range(20)]
    during = [f"during {number}" for number in range(20)]

    def freeze_while_sending(page: Page) -> None:
        page.tab.run(f"{before}.forEach(say)")
        freeze(page)

    hand_over([other], old, freeze_while_sending)
    old.send(*during)  # scripts of a frozen page may run, as handlers of its channels do
    person.site.publish(person.stream, "meanwhile")
    other.wait("note.entries.some(({ text }) => text === 'meanwhile')")
    old.tab.thaw()
    old.wait_live()
    assert set(old.wait_answers().values()) == {"ok"}
    assert (old.role, other.role) == ("follower", "leader")
    texts = person.site.texts(person.stream)
    assert Counter(texts) == Counter([*before, *during, "meanwhile"])
    assert [text for text in texts if text != "meanwhile"] == [*before, *during]
    for page in (old, other):
        page.wait(f"note.entries.length >= {len(texts)}")
        assert page.texts == texts


def test_a_leader_that_gave_up_lets_another_try(person: Person):
    tired = person.open(maxAttempts=2, baseMs=50)
    other = person.open()
    assert tired.role == "leader"
    tired.tab.evaluate("block()")
    other.wait(f"{LEADS} && {CONNECTED}")
    tired.send("in the end")
    tired.tab.evaluate("client.retry()")
    tired.wait_live()
    assert tired.role == "follower"
    other.wait("note.entries.length === 1")
    assert person.site.texts(person.stream) == ["in the end"]

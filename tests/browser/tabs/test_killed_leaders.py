"""Many messages from many tabs while the connection is taken from them again and again: each arrives once."""

import time
from collections import Counter
from itertools import count, cycle

import pytest

from tests.browser.tabs.cdp import until
from tests.browser.tabs.page import LIVE, Page, Person
from tests.proxy import FaultProxy

TABS = 5
EVERY = 2.0  # seconds between two deaths


class Senders:
    """The tabs whose messages are counted; they send a little now and then until all is sent."""

    def __init__(self, pages: list[Page], total: int, seconds: float) -> None:
        self.pages, self.total, self.seconds = pages, total, seconds
        self.sent = 0
        self.begun = time.monotonic()

    @property
    def done(self) -> bool:
        return self.sent == self.total

    def go_on(self) -> None:
        """What is due by now; one after the other, each tab numbers its own."""
        due = min(self.total, int(self.total * (time.monotonic() - self.begun) / self.seconds) + 1)
        for number, page in enumerate(self.pages):
            mine = [n for n in range(self.sent, due) if n % len(self.pages) == number]
            if mine:
                page.send(*(f"{number}:{n}" for n in mine))
        self.sent = due

    def assert_all_arrived_once(self, person: Person) -> None:
        for page in self.pages:
            page.wait(LIVE, 60)
            assert set(page.wait_answers(60).values()) == {"ok"}
        texts = person.site.texts(person.stream)
        expected = [f"{n % len(self.pages)}:{n}" for n in range(self.total)]
        assert Counter(texts) == Counter(expected)
        for number, page in enumerate(self.pages):
            own = [text for text in texts if text.startswith(f"{number}:")]
            assert own == [text for text in expected if text.startswith(f"{number}:")]
            page.wait(f"note.entries.length >= {self.total}")
            assert page.texts == texts
            assert page.note["errors"] == []


def victim_leads(person: Person, senders: list[Page], victims: list[Page]) -> Page:
    """Whose turn it is to die. A sender that leads gives the connection away until a victim has it."""

    def look() -> Page | None:
        leader = person.leader([*victims, *senders])
        if leader in victims:
            return leader
        leader.tab.evaluate("client.resign()")
        return None

    return until(look, 30, "a victim leads")


def storm(person: Person, total: int, seconds: float) -> int:
    victims = [person.open()]
    pages = [person.open() for _ in range(TABS)]
    victims.append(person.open())
    senders = Senders(pages, total, seconds)
    ways = cycle(["close", "crash"])
    deaths = count()
    next_death = time.monotonic() + EVERY / 2
    while not senders.done:
        senders.go_on()
        if time.monotonic() >= next_death:
            victim = victim_leads(person, pages, victims)
            victims.remove(victim)
            victim.tab.crash() if next(ways) == "crash" else victim.tab.close()
            victims.append(person.open(live=False))
            next(deaths)
            next_death += EVERY
        time.sleep(0.02)
    senders.assert_all_arrived_once(person)
    until(lambda: len(person.site.open_sockets(person.name)) == 1, 5, "one socket is left")
    return next(deaths)


def test_messages_survive_their_leaders(person: Person):
    deaths = storm(person, 150, 6)
    assert deaths >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_messages_of_five_tabs_survive_a_leader_killed_every_two_seconds(person: Person):
    deaths = storm(person, 1000, 30)
    print(f"\n1000 messages of {TABS} tabs, {deaths} leaders killed")
    assert deaths >= 12


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_messages_of_five_tabs_without_locks_survive_cuts_and_crashes(insecure_person: Person):
    person = insecure_person
    with FaultProxy(person.site.port) as proxy:
        person.url = f"http://name.test:{proxy.port}"
        pages = [person.open() for _ in range(TABS)]
        assert {page.role for page in pages} == {"solo"}
        victims = [person.open()]
        senders = Senders(pages, 1000, 20)
        next_death = time.monotonic() + EVERY
        deaths = 0
        while not senders.done:
            senders.go_on()
            if time.monotonic() >= next_death:
                proxy.cut()
                victims.pop().tab.crash()
                victims.append(person.open(live=False))
                deaths += 1
                next_death += 2 * EVERY
            time.sleep(0.02)
        senders.assert_all_arrived_once(person)
        print(f"\n1000 messages of {TABS} tabs without locks, {deaths} cuts of all lines")
        assert deaths >= 3
        assert len(person.site.open_sockets(person.name)) <= TABS + 1

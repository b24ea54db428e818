"""What the other tests of this folder stand on: tabs that freeze, block, crash and come back."""

import time

import pytest

from tests.browser.tabs.cdp import CdpError, Profile, Tab
from tests.browser.tabs.page import Person
from tests.browser.tabs.site import Site

HOLD = "navigator.locks.request('it', () => new Promise(() => {}))"
COUNT = "globalThis.ticks = 0; setInterval(() => ticks++, 10)"


@pytest.fixture
def tabs(profile: Profile, tabs_site: Site) -> list[Tab]:
    return [profile.open(f"{tabs_site.url}/elsewhere/") for _ in range(2)]


def test_only_the_tab_in_front_is_visible(tabs: list[Tab]):
    assert [tab.evaluate("document.visibilityState") for tab in tabs] == ["hidden", "visible"]
    tabs[0].show()
    tabs[0].wait("document.visibilityState === 'visible'")
    tabs[1].wait("document.visibilityState === 'hidden'")


def test_a_frozen_tab_keeps_its_locks_and_runs_no_timers(tabs: list[Tab]):
    frozen, other = tabs
    frozen.evaluate(
        f"{COUNT}; {HOLD}; document.addEventListener('freeze', () => (globalThis.heard = true)); 0"
    )
    frozen.wait("ticks > 0")
    frozen.freeze()
    assert frozen.evaluate("heard")
    at = frozen.evaluate("ticks")
    other.evaluate("new Promise((resolve) => setTimeout(resolve, 1500))")
    assert frozen.evaluate("ticks") == at
    assert other.evaluate("navigator.locks.query().then(({ held }) => held.length)") == 1
    frozen.thaw()
    frozen.wait(f"ticks > {at}")


def test_back_brings_the_page_that_was_left(tabs: list[Tab]):
    tab = tabs[1]
    tab.evaluate(
        "globalThis.mark = 1; addEventListener('pageshow', (e) => (globalThis.back = e.persisted)); 0"
    )
    tab.follow("/elsewhere/?2")
    tab.wait("location.search === '?2'")
    tab.go(-1)
    tab.wait("location.search === '' && globalThis.mark === 1 && globalThis.back")


def test_a_crash_lets_go_and_touches_no_other_tab(tabs: list[Tab]):
    victim, other = tabs
    victim.evaluate(f"{HOLD}; 0")
    other.evaluate("globalThis.won = 0; navigator.locks.request('it', () => (won = 1)); 0")
    victim.crash()
    other.wait("won")
    with pytest.raises(CdpError, match="the renderer is gone"):
        victim.evaluate("1")


def test_a_blocked_tab_does_nothing_and_blocks_no_other(tabs: list[Tab]):
    blocked, other = tabs
    begin = time.monotonic()
    blocked.block(1000)
    assert other.evaluate("1") == 1
    assert time.monotonic() - begin < 0.5
    assert blocked.evaluate("1") == 1
    assert time.monotonic() - begin > 0.9


def test_plain_http_has_no_locks(insecure_person: Person):
    tab = insecure_person.profile.open(f"{insecure_person.url}/elsewhere/")
    assert not tab.evaluate("isSecureContext || 'locks' in navigator")
    assert tab.evaluate("'BroadcastChannel' in globalThis && 'indexedDB' in globalThis")


def test_the_server_knows_whose_sockets_reach_it(person: Person):
    tab = person.profile.open(f"{person.url}/elsewhere/")
    tab.evaluate(
        """new Promise((resolve) => {
          globalThis.socket = new WebSocket("/ws/", "reconnect.v1");
          socket.onopen = resolve;
        })"""
    )
    assert len(person.site.open_sockets(person.name)) == 1
    tab.evaluate("new Promise((resolve) => { socket.onclose = resolve; socket.close(4321); })")
    assert person.site.open_sockets(person.name) == []

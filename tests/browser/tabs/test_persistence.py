"""What `send` took outlives the page; where there is no place to keep it, all else goes on."""

from collections import Counter

import pytest

from tests.browser.tabs.cdp import until
from tests.browser.tabs.page import LIVE, Page, Person

MANY = [f"kept {number:03}" for number in range(300)]
SOME = MANY[:30]
DENIED = "{ throw new DOMException('denied', 'SecurityError'); }"
BLOCKED = "globalThis.blocked = true;"

# Of every database of the page, since its name is the client's business.
STORED = """(async () => {
  let count = 0;
  const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
  for (const { name } of await indexedDB.databases()) {
    const database = await done(indexedDB.open(name));
    for (const store of database.objectStoreNames) {
      const rows = await done(database.transaction(store).objectStore(store).getAll());
      count += rows.filter((row) => JSON.stringify(row).includes("kept ")).length;
    }
    database.close();
  }
  return count;
})()"""


def assert_arrived_once(person: Person, texts: list[str]) -> None:
    until(lambda: len(person.site.texts(person.stream)) >= len(texts), 60, "all arrive")
    assert person.site.texts(person.stream) == texts, "each once, in order"
    assert {entry["by"] for entry in person.site.entries(person.stream)} == {person.name}


def wait_told(page: Page, texts: list[str]) -> None:
    page.wait(f"{LIVE} && note.entries.length >= {len(texts)}", 60)
    assert page.texts == texts


def unsent(person: Person, texts: list[str], *, stored: bool = True) -> Page:
    """A page that reaches nobody, with messages in its outbox."""
    page = person.open(script=BLOCKED, store={}, live=False)
    page.wait("!!globalThis.client")
    page.send(*texts)
    if stored:
        until(lambda: page.tab.evaluate(STORED) == len(texts), what="the messages are on disk")
    return page


def test_a_reload_loses_nothing(person: Person):
    page = person.open(store={})
    page.tab.evaluate("block()")
    page.send(*MANY)
    page.tab.reload()
    assert_arrived_once(person, MANY)
    wait_told(page, MANY)
    until(lambda: page.tab.evaluate(STORED) == 0, what="what was answered isn't kept")


def test_a_crash_loses_nothing(person: Person):
    page = unsent(person, MANY)
    page.tab.crash()
    page.tab.close()
    person.pages.clear()
    page = person.open(store={}, live=False)
    assert_arrived_once(person, MANY)
    wait_told(page, MANY)


def test_what_a_closed_tab_left_is_sent_by_the_tab_that_is_there(person: Person):
    page = unsent(person, SOME, stored=False)
    other = person.open(store={}, live=False)
    page.tab.close()
    assert_arrived_once(person, SOME)
    wait_told(other, SOME)


@pytest.mark.slow
def test_a_crash_in_the_middle_of_sending_loses_nothing_and_sends_nothing_twice(person: Person):
    page = person.open(store={})
    other = person.open(store={})
    page.send(*MANY)
    page.wait(f"note.entries.length > 20 && note.entries.length < {len(MANY)}")
    page.tab.crash()
    assert_arrived_once(person, MANY)
    wait_told(other, MANY)


def test_another_account_never_sends_what_was_kept(person: Person):
    page = unsent(person, SOME)
    page.tab.close()
    person.pages.clear()
    eve = Person(person.site, person.profile, f"eve of {person.name}", person.stream, person.url)
    eve.enter()
    hers = eve.open(store={})
    hers.send("eve's own")
    assert set(hers.wait_answers().values()) == {"ok"}
    hers.tab.reload()
    hers.wait_live()
    assert person.site.texts(person.stream) == ["eve's own"]
    person.enter()
    ada = person.open(store={}, live=False)
    wait_told(ada, ["eve's own", *SOME])
    assert person.site.texts(person.stream) == ["eve's own", *SOME]
    by = Counter(entry["by"] for entry in person.site.entries(person.stream))
    assert by == {person.name: len(SOME), eve.name: 1}


def test_a_logout_forgets_what_was_kept(person: Person):
    page = unsent(person, SOME)
    page.tab.evaluate("client.logout()")
    until(lambda: page.tab.evaluate(STORED) == 0, what="nothing is kept")
    page.tab.reload()
    page.wait("!!globalThis.client")
    assert person.site.texts(person.stream) == []


def assert_sends_from_memory(person: Person, page: Page) -> None:
    page.send("kept by nobody")
    assert set(page.wait_answers().values()) == {"ok"}
    page.wait("note.persistence.some(({ available }) => !available)")
    assert person.site.texts(person.stream) == ["kept by nobody"]
    assert page.tab.evaluate("note.errors.filter((text) => text.startsWith('un'))") == []


def test_a_full_disk_is_told_and_costs_only_persistence(person: Person):
    tab = person.profile.open(f"{person.url}/elsewhere/")
    # Keeps the limit for as long as this tab's session lives.
    tab.call("Storage.overrideQuotaForOrigin", origin=person.url, quotaSize=1)
    page = person.open(store={})
    assert_sends_from_memory(person, page)


@pytest.mark.parametrize(
    "fault",
    [
        f"IDBFactory.prototype.open = () => {DENIED};",
        "IDBFactory.prototype.open = () => ({});",  # never answers
        "Object.defineProperty(globalThis, 'indexedDB', { get: () => undefined });",
        f"Object.defineProperty(globalThis, 'indexedDB', {{ get() {DENIED} }});",
    ],
    ids=["open-throws", "open-hangs", "missing", "getter-throws"],
)
def test_blocked_storage_is_told_and_costs_only_persistence(person: Person, fault: str):
    assert_sends_from_memory(person, person.open(script=fault, store={}))


def test_tabs_share_also_where_local_storage_is_denied(person: Person):
    denied = (
        "Object.defineProperty(globalThis, 'localStorage', { get() { throw new DOMException('denied'); } });"
    )
    pages = [person.open(script=denied, store={}) for _ in range(2)]
    assert sorted(page.role for page in pages) == ["follower", "leader"]
    leader = person.leader()
    leader.tab.close()
    [other] = [page for page in pages if page is not leader]
    other.wait("client.role === 'leader' && client.state === 'CONNECTED'")
    other.send("still there")
    assert set(other.wait_answers().values()) == {"ok"}

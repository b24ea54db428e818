"""All tabs of a person are served by one socket; no two persons share one."""

from collections import Counter

from tests.browser.tabs.cdp import until
from tests.browser.tabs.page import Page, Person

COUNT = 10


def roles(pages: list[Page]) -> Counter[str]:
    return Counter(page.role for page in pages)


def test_ten_tabs_are_live_by_one_socket(person: Person):
    pages = [person.open(live=False) for _ in range(COUNT)]
    for page in pages:
        page.wait_live()
    assert roles(pages) == {"leader": 1, "follower": COUNT - 1}
    assert len(person.site.sockets(person.name)) == 1, "and there never was another"
    for page in pages:
        page.wait(f"client.snapshot.tabs.length === {COUNT}")
        assert page.tab.evaluate("client.snapshot.tabs.filter((tab) => tab.leader).length") == 1
        assert page.tab.evaluate("client.snapshot.tabs.filter((tab) => tab.mine).length") == 1

    person.site.publish(person.stream, "from the server")
    for number, page in enumerate(pages):
        page.send(f"{number} a", f"{number} b")
    for page in pages:
        assert set(page.wait_answers().values()) == {"ok"}
        page.wait(f"note.entries.length >= {1 + 2 * COUNT}")

    texts = person.site.texts(person.stream)
    assert Counter(texts) == Counter(
        ["from the server", *(f"{number} {letter}" for number in range(COUNT) for letter in "ab")]
    )
    for number, page in enumerate(pages):
        assert page.texts == texts, "each entry once, in the log's order"
        assert [text for text in texts if text.startswith(f"{number} ")] == [f"{number} a", f"{number} b"]
        note = page.note
        assert (note["snapshots"], note["errors"]) == (1, [])
    assert len(person.site.sockets(person.name)) == 1


def test_two_accounts_in_one_browser_never_share(person: Person):
    site, stream, eve = person.site, person.stream, f"eve of {person.name}"
    ada = [person.open(), person.open()]
    person.enter(eve)
    eves = [person.open(), person.open()]

    until(lambda: len(site.open_sockets(eve)) == 1, what="Eve's one socket")
    mine, hers = site.sockets(person.name), site.sockets(eve)
    assert len(mine) == len(hers) == 1
    assert mine[0]["hello"]["key"] != hers[0]["hello"]["key"]
    assert mine[0]["hello"]["client_id"] != hers[0]["hello"]["client_id"]
    assert roles(ada) == roles(eves) == {"leader": 1, "follower": 1}

    # What Ada's tabs wait with while their line is broken must not go out when the cookie is Eve's.
    person.leader(ada).tab.evaluate("block()")
    ada[0].send("ada 0")
    ada[1].send("ada 1")
    eves[0].send("eve 0")
    eves[1].send("eve 1")
    for page in ada:
        page.tab.evaluate("blocked = false; client.retry()")
        page.wait("client.state === 'FAILED'")
        assert all(answer != "ok" for answer in page.wait_answers().values())
    for page in eves:
        assert set(page.wait_answers().values()) == {"ok"}
        assert page.role in ("leader", "follower")

    refused = [socket for socket in site.sockets(eve) if socket["hello"]["key"] == mine[0]["hello"]["key"]]
    assert refused
    assert all(socket["messages"] == 0 and socket["code"] == 4501 for socket in refused)
    assert Counter((entry["by"], entry["text"]) for entry in site.entries(stream)) == {
        (eve, "eve 0"): 1,
        (eve, "eve 1"): 1,
    }

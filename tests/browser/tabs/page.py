"""One tab with a client in it: what it says of itself, and what it is told to do."""

import json
from typing import Any
from urllib.parse import urlencode

from tests.browser.tabs.cdp import CdpError, Profile, Tab, until
from tests.browser.tabs.site import Site

CONNECTED = "client.state === 'CONNECTED'"
LIVE = f"{CONNECTED} && client.sync.kind === 'live' && client.waiting === 0"
TELL = "({ ...client.snapshot, changes: note.changes.slice(-12), errors: note.errors.slice(-5) })"
LEADS = "client.role === 'leader'"


class Page:
    """A page of page.html. What a tab method would do to any page is left to `tab`."""

    def __init__(self, tab: Tab, stream: str) -> None:
        self.tab, self.stream = tab, stream

    @property
    def role(self) -> str:
        return self.tab.evaluate("client.role")

    @property
    def note(self) -> dict[str, Any]:
        """What the page saw: changes, entries, answers, errors."""
        return self.tab.evaluate("note")

    @property
    def texts(self) -> list[str]:
        """The texts of the entries that it was given, in order."""
        return self.tab.evaluate("note.entries.map(({ text }) => text)")

    def wait(self, condition: str, seconds: float = 20) -> Any:
        try:
            return self.tab.wait(condition, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tell()}") from None

    def wait_live(self, seconds: float = 20) -> "Page":
        self.wait(LIVE, seconds)
        return self

    def send(self, *texts: str) -> None:
        self.tab.evaluate(f"{json.dumps(texts)}.forEach(say)")

    def wait_answers(self, seconds: float = 30) -> dict[str, str]:
        self.wait("Object.values(note.answers).every((answer) => answer)", seconds)
        return self.note["answers"]

    def tell(self) -> str:
        """For failures: what the page knows of itself."""
        try:
            return json.dumps(self.tab.evaluate(TELL, 2), indent=1)
        except CdpError as error:
            return str(error)


class Person:
    """A browser profile in which a person is logged in, and the pages that are open there."""

    def __init__(self, site: Site, profile: Profile, name: str, stream: str, url: str | None = None) -> None:
        self.site, self.profile, self.name, self.stream = site, profile, name, stream
        self.url = url or site.url
        self.pages: list[Page] = []

    def enter(self, name: str | None = None) -> None:
        """Logs in; a second time as somebody else. The tab that did it is closed."""
        tab = self.profile.open(f"{self.url}/enter/{name or self.name}/?next=/elsewhere/")
        tab.close()

    def address(self, store: Any = None, **options: Any) -> str:
        query = {"stream": self.stream, "options": json.dumps(options)}
        if store is not None:
            query["store"] = json.dumps(store)
        return f"{self.url}/page/?{urlencode(query)}"

    def open(self, *, script: str = "", background: bool = False, live: bool = True, **options: Any) -> Page:
        """A new page, waited for until it is live."""
        tab = self.profile.open(self.address(**options), script=script, background=background)
        page = Page(tab, self.stream)
        self.pages.append(page)
        return page.wait_live() if live else page

    def leader(self, among: list[Page] | None = None, seconds: float = 20) -> Page:
        """The page that leads, once one does."""

        def look() -> Page | None:
            return next((page for page in among or self.pages if page.tab.evaluate(LEADS)), None)

        return until(look, seconds, "one page leads")

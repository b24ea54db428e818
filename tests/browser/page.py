"""The example's board in a browser: what a person does there, and what the page and its client say."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from playwright.sync_api import ConsoleMessage, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.site import SLUG, STREAM

SECOND = 1000

# Counts what was promised and what was settled, notes what the client said when, and follows the stream on
# its own: seqs without gaps or repeats.
WITNESS = """(stream) => {
  const client = boardClient, send = client.send.bind(client);
  const seen = (globalThis.witness = {
    sent: 0, answers: [], changes: [], entries: [], faults: [], snapshots: [], errors: [], lost: [], at: null,
  });
  client.send = (...message) => {
    const promise = send(...message);
    seen.sent += 1;
    promise.then(
      () => seen.answers.push({ id: promise.id, ok: true }),
      (error) => seen.answers.push({ id: promise.id, ok: false, reason: error.reason ?? error.message }),
    );
    return promise;
  };
  const note = ({ state, sync, waiting, streams }) =>
    seen.changes.push({ time: Date.now(), state, kind: sync.kind, waiting, seq: streams[stream]?.seq ?? 0 });
  client.on("change", note);
  client.on("lost", (lost) => seen.lost.push(lost));
  client.on("error", (error) => seen.errors.push(String(error)));
  seen.subscription = client.subscribe(stream, {
    onSnapshot(state, info) {
      seen.at = info.seq;
      seen.snapshots.push(info);
    },
    onEvents(entries, { from, to }) {
      if (from !== seen.at) seen.faults.push(`a batch from ${from} at ${seen.at}`);
      for (const { seq, id } of entries) {
        if (seq !== ++seen.at) seen.faults.push(`entry ${seq} where ${seen.at} belongs`);
        if (seen.entries.some((old) => old.id === id)) seen.faults.push(`entry ${id} came twice`);
        seen.entries.push({ seq, id, time: Date.now() });
      }
      if (seen.at !== to) seen.faults.push(`a batch to ${to} ends at ${seen.at}`);
    },
  });
  note(client.snapshot);
}"""

# Runs before the page's scripts: its client gets other options than the page gives.
OPTIONS = """(() => {
  let api;
  Object.defineProperty(globalThis, "ReconnectChannels", {
    get: () => api,
    set(given) {
      api = { ...given, connect: (url, options) => given.connect(url, { ...options, ...%s }) };
    },
  });
})()"""

# After the next frame is drawn.
CARDS = """async () => {
  await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  return [...document.querySelectorAll(".column")].flatMap((column) =>
  [...column.querySelectorAll(".cards > .card")].map((card) => ({
    id: Number(card.dataset.id),
    column: column.dataset.column,
    title: card.querySelector(".card-title").textContent,
  })));
}"""


class BoardPage:
    """One tab."""

    def __init__(self, page: Page, url: str, name: str) -> None:
        self.page = page
        self.url = url
        self.name = name
        self.console: list[str] = []
        """Errors and warnings of the page's own making."""
        page.set_default_timeout(10 * SECOND)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.console.append(message.text)

    def tell(self) -> str:
        """What the page thinks, for whoever reads a failure."""
        return f"{self.name}: " + self.page.evaluate(
            """() => JSON.stringify({
              snapshot: boardClient.snapshot, queue: boardClient.queue, changes: witness.changes.slice(-8),
              errors: witness.errors, faults: witness.faults, lost: witness.lost,
            })"""
        )

    def open(self, slug: str = SLUG) -> Self:
        self.page.goto(f"{self.url}/boards/{slug}/")
        self.page.wait_for_function("() => globalThis.boardClient?.snapshot.sync.kind === 'live'")
        expect(self.page.locator("body")).to_have_attribute("data-drawn", "")
        self.page.evaluate(WITNESS, STREAM)
        self.wait("!!witness.at")  # the second subscriber's own snapshot
        return self

    def wait(self, condition: str, seconds: float = 35, argument: Any = None) -> None:
        """Until a JavaScript expression holds; `client` is the page's client, `x` the argument."""
        try:
            self.page.wait_for_function(
                f"(x) => {{ const client = boardClient; return {condition}; }}",
                arg=argument,
                timeout=seconds * SECOND,
                polling=50,
            )
        except PlaywrightTimeout:
            raise AssertionError(f"not within {seconds} s: {condition}\n{self.tell()}") from None

    def wait_live(self, seconds: float = 35) -> None:
        self.wait(
            "client.state === 'CONNECTED' && client.sync.kind === 'live' && client.waiting === 0", seconds
        )

    def wait_seq(self, seq: int, seconds: float = 35) -> None:
        self.wait("client.snapshot.streams[x.stream].seq >= x.seq", seconds, {"stream": STREAM, "seq": seq})

    # -- what it shows ---------------------------------------------------------------------------

    def cards(self) -> list[dict[str, Any]]:
        return self.page.evaluate(CARDS)

    def position(self) -> dict[str, Any]:
        return self.page.evaluate(
            "() => (({ epoch, seq, checksum }) => ({ epoch, seq, checksum }))(witness.subscription.position)"
        )

    def witness(self, part: str) -> Any:
        return self.page.evaluate("(part) => witness[part]", part)

    def card(self, title: str) -> Locator:
        title_ = self.page.locator(".card-title").filter(has_text=title)
        return self.page.locator(".card").filter(has=title_)

    @property
    def status(self) -> Locator:
        return self.page.locator("#status-text")

    # -- what a person does ----------------------------------------------------------------------

    def create(self, column: str, title: str) -> None:
        self.page.locator(f"#new-{column}").fill(title)
        self.page.keyboard.press("Enter")

    def tools(self, card: Locator) -> Locator:
        menu = card.locator(".card-menu")
        if menu.get_attribute("aria-expanded") == "false":
            menu.click()
        return card.locator(".card-tools")

    def edit(self, card: Locator, title: str) -> None:
        self.tools(card).get_by_role("button", name="Edit").click()
        card.locator("textarea").fill(title)
        self.page.keyboard.press("Enter")

    def move(self, card: Locator, arrow: str) -> None:
        card.locator(".card-menu").press(f"Arrow{arrow.capitalize()}")

    def delete(self, card: Locator) -> None:
        tools = self.tools(card)
        tools.get_by_role("button", name="Delete").click()
        tools.get_by_role("button", name="Really delete?").click()

    def try_now(self) -> None:
        """Get connected, by the button if the page means to wait longer than a person would."""
        patient = "client.state === 'CONNECTED' || client.snapshot.retryAt > Date.now() + 1000"
        while self.wait(patient) or self.page.evaluate("() => boardClient.state !== 'CONNECTED'"):
            with suppress(PlaywrightTimeout):
                self.page.locator("#retry:visible").click(timeout=SECOND / 2)

    def dismiss(self) -> None:
        """Close what waits for a decision of the person: refusals and open editors."""
        left = self.page.locator('[data-do="dismiss"]:visible, [data-do="cancel"]:visible')
        while left.count():
            with suppress(PlaywrightTimeout):  # gone already: the page draws once a frame
                left.first.click(timeout=SECOND / 2)


def until(condition: Callable[[], Any], seconds: float = 30, pages: tuple[BoardPage, ...] = ()) -> Any:
    """Look again and again until something true comes back. Pages go on living meanwhile."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        for one in pages:
            one.page.evaluate("0")
        time.sleep(0.02)
    return found

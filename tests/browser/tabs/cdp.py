"""A Chromium spoken to by its DevTools protocol, raw: Playwright keeps every page visible and unfrozen."""

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

Json = dict[str, Any]


class CdpError(Exception):
    """A command was answered with an error, or not at all: a tab that is blocked or gone is silent."""


class Browser:
    """One Chromium process with a profile of its own. Not for several threads."""

    def __init__(self, executable: str, folder: Path, *flags: str) -> None:
        self._command = [
            executable,
            "--headless=new",
            f"--user-data-dir={folder}",
            "--remote-debugging-port=0",
        ]
        self._command += ["--disable-background-networking", "--no-first-run", *flags]
        if os.geteuid() == 0:
            self._command.append("--no-sandbox")
        self._door = folder / "DevToolsActivePort"
        self._log = folder / "chromium.log"
        self._exits = ExitStack()
        self._ids = itertools.count(1)
        self._answers: dict[int, Json] = {}
        self._unwanted: set[int] = set()
        self.crashed: set[str] = set()
        """Sessions whose renderer is gone."""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            port, path = until(self._address, 30, "Chromium listens")
            url = f"ws://127.0.0.1:{port}{path}"
            self._socket = self._exits.enter_context(connect(url, max_size=None, compression=None))
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(Exception):
            self.call("Browser.close")
        self._exits.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _address(self) -> tuple[str, str] | None:
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        lines = self._door.read_text().splitlines() if self._door.exists() else []
        return (lines[0], lines[1]) if len(lines) > 1 else None

    def post(self, method: str, session: str | None = None, **params: Any) -> int:
        """Gives a command and waits for nothing."""
        number = next(self._ids)
        command: Json = {"id": number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        self._socket.send(json.dumps(command))
        self._unwanted.add(number)
        return number

    def call(self, method: str, session: str | None = None, seconds: float = 10, **params: Any) -> Json:
        """The result of a command."""
        number = self.post(method, session, **params)
        self._unwanted.discard(number)
        deadline = time.monotonic() + seconds
        while number not in self._answers:
            if session in self.crashed:
                raise CdpError(f"{method}: the renderer is gone")
            try:
                self._take(self._socket.recv(timeout=max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                self._unwanted.add(number)
                raise CdpError(f"{method}: no answer in {seconds} s") from None
        answer = self._answers.pop(number)
        if "error" in answer:
            raise CdpError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _take(self, text: str | bytes) -> None:
        message = json.loads(text)
        if message.get("method") in ("Inspector.targetCrashed", "Inspector.detached"):
            self.crashed.add(message["sessionId"])
        if (number := message.get("id")) is not None and number not in self._unwanted:
            self._answers[number] = message

    @contextmanager
    def profile(self) -> Iterator["Profile"]:
        """Cookies and storage of its own, like another person's browser; all its tabs close at the end."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            yield Profile(self, context)
        finally:
            with suppress(CdpError):
                self.call("Target.disposeBrowserContext", browserContextId=context)


class Profile:
    def __init__(self, browser: Browser, context: str) -> None:
        self.browser, self.context = browser, context

    def open(self, url: str = "about:blank", *, script: str = "", background: bool = False) -> "Tab":
        """A new tab, in front of the others unless for the background. `script` runs before the page's."""
        where = {"browserContextId": self.context, "background": background}
        target = self.browser.call("Target.createTarget", url="about:blank", **where)["targetId"]
        tab = Tab(self.browser, target)
        if script:
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        if url != "about:blank":
            tab.navigate(url)
        return tab

    def targets(self) -> set[str]:
        """The ids of its tabs."""
        found = self.browser.call("Target.getTargets")["targetInfos"]
        mine = [target for target in found if target.get("browserContextId") == self.context]
        return {target["targetId"] for target in mine if target["type"] == "page"}


class Tab:
    """One tab, attached for as long as it lives."""

    def __init__(self, browser: Browser, target: str) -> None:
        self.browser, self.target = browser, target
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session: str = attached["sessionId"]
        self.call("Page.enable")
        self.call("Inspector.enable")

    def call(self, method: str, seconds: float = 10, **params: Any) -> Json:
        return self.browser.call(method, self.session, seconds, **params)

    def post(self, method: str, **params: Any) -> None:
        self.browser.post(method, self.session, **params)

    def evaluate(self, expression: str, seconds: float = 10) -> Any:
        """The value of a JavaScript expression; of a promise, what it resolves with."""
        how = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", seconds, expression=expression, **how)
        if problem := answer.get("exceptionDetails"):
            raise CdpError(problem.get("exception", {}).get("description") or problem["text"])
        return answer["result"].get("value")

    def run(self, expression: str) -> None:
        """Starts a JavaScript expression and doesn't wait for it: it may block or end the page."""
        self.post("Runtime.evaluate", expression=expression, userGesture=True)

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Until an expression is true in whatever page the tab shows by then; @returns its value."""

        def look() -> Any:
            with suppress(CdpError):  # between two pages there is nobody to ask
                return self.evaluate(condition, 1)

        return until(look, seconds, condition)

    def navigate(self, url: str) -> None:
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self.wait("document.readyState === 'complete'")

    def follow(self, path: str) -> None:
        """Leaves the page as by a click on a link, which keeps it for Back."""
        self.run(f"Object.assign(document.createElement('a'), {{ href: '{path}' }}).click()")

    def go(self, steps: int) -> None:
        """Back (-1) and forward (1) as by the browser's buttons."""
        history = self.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] + steps]
        self.post("Page.navigateToHistoryEntry", entryId=entry["id"])

    def reload(self) -> None:
        self.evaluate("globalThis.beforeReload = true")
        self.post("Page.reload")
        self.wait("!globalThis.beforeReload && document.readyState === 'complete'")

    def show(self) -> None:
        self.browser.call("Target.activateTarget", targetId=self.target)

    def freeze(self) -> None:
        """As the browser does with tabs that were long in the background; the tab has to be hidden."""
        self.call("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.call("Page.setWebLifecycleState", state="active")

    def block(self, milliseconds: int) -> None:
        """Keeps the main thread busy for so long."""
        self.run(f"for (const end = performance.now() + {milliseconds}; performance.now() < end;);")

    def crash(self) -> None:
        """Kills the renderer: no event reaches the page."""
        self.post("Page.crash")
        until(self._looks_dead, 10, "the renderer is gone")

    def _looks_dead(self) -> bool:
        with suppress(CdpError):
            self.browser.call("Browser.getVersion")  # takes what came meanwhile
        return self.session in self.browser.crashed

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self.target)


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "it") -> Any:
    """Looks again and again until something true comes back, and returns that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found

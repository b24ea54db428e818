"""The recipe of docs/client/telemetry.md with a real RUM SDK: its collector hears of outages."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.page import SECOND, until
from tests.browser.site import Site
from tests.servers import HOST, ROOT

pytestmark = pytest.mark.servers

CLIENT = ROOT / "client"


class Collector(ThreadingHTTPServer):
    """Takes what an SDK sends, from a page of any origin."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Taker)
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/collect"

    def events(self, name: str) -> list[dict[str, str]]:
        """The attributes of the events of that name."""
        events = [event for body in list(self.bodies) for event in body.get("events", [])]
        return [event["attributes"] for event in events if event["name"] == f"reconnect-channels:{name}"]


class Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_OPTIONS(self) -> None:
        self._answer(204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        self._answer(202)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def recipe(collector: Collector) -> str:
    """The code of the page, for this collector; its client can be asked by the test."""
    text = (ROOT / "docs/client/telemetry.md").read_text()
    found = re.search(r"<!-- tests/browser/test_rum\.py .*?-->\n```js\n(.*?)```", text, re.S)
    assert found, "the recipe is gone"
    code = found[1].replace("https://rum.example.com/collect", collector.url)
    assert collector.url in code
    return f"{code}\nglobalThis.client = client;\n"


def bundle(code: str) -> str:
    """What a page's own build would make of it."""
    aliases = {"reconnect-channels": "index.ts", "reconnect-channels/rum": "rum.ts"}
    command = [str(CLIENT / "node_modules/.bin/esbuild"), "--bundle", "--format=esm", "--log-level=warning"]
    command += [f"--alias:{name}=./src/{file}" for name, file in aliases.items()]
    made = subprocess.run(command, input=code, text=True, check=True, cwd=CLIENT, stdout=subprocess.PIPE)
    return made.stdout


@pytest.fixture
def page(browser: Browser, site: Site, collector: Collector) -> Iterator[Page]:
    """A page of the example without a client of its own, with the recipe, on a bad network."""
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.set_default_timeout(30 * SECOND)
        page.goto(site.url)
        page.add_script_tag(content=bundle(recipe(collector)), type="module")
        page.wait_for_function("() => globalThis.client?.sync.kind === 'live'")
        network = {"offline": False, "latency": 2000, "downloadThroughput": 5000, "uploadThroughput": 5000}
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", network)
        yield page


@pytest.mark.slow
def test_a_rum_sdk_hears_of_an_outage_and_of_the_network_it_happened_on(
    page: Page, site: Site, collector: Collector
):
    until(lambda: collector.events("connect"))
    site.server.kill()
    until(lambda: collector.events("backoff") and collector.events("attempt"))
    site.server.start()
    (outage,) = until(lambda: collector.events("outage"))

    told = page.evaluate("() => ((it) => ({ type: it.effectiveType, rtt: it.rtt }))(navigator.connection)")
    assert outage["outcome"] == "live"
    assert float(outage["ms"]) > 0
    assert int(outage["attempts"]) >= 1
    assert told["type"] in ("slow-2g", "2g")
    assert outage["effectiveType"] == told["type"]
    assert float(outage["rtt"]) == told["rtt"]
    assert outage["online"] == "true"

    (drop,) = collector.events("drop")
    assert drop["reason"] == outage["reason"]
    waits = collector.events("backoff")
    assert all(wait["effectiveType"] and wait["capped"] in ("true", "false") for wait in waits)
    assert collector.events("attempt")[-1]["outcome"] == "connected"


@pytest.mark.slow
def test_the_timeline_shows_the_same_outage(page: Page, site: Site, collector: Collector):
    page.evaluate(
        "() => addEventListener('reconnect-channels:outage', ({ detail }) => (globalThis.told = detail))"
    )
    site.server.restart()
    page.wait_for_function("() => globalThis.told")
    (shown,) = page.evaluate(
        """() => performance.getEntriesByName("reconnect-channels:outage")
          .map(({ entryType, duration, detail }) => ({ entryType, duration, detail }))"""
    )
    assert shown["entryType"] == "measure"
    assert shown["detail"] == page.evaluate("() => told")
    assert shown["duration"] == pytest.approx(shown["detail"]["ms"], abs=1)

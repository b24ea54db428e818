"""docs/tracing.md as written, with real exporters: one comeback and one publication are one trace each."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.page import SECOND, until
from tests.browser.receivers import Receiver, Span, otlp, zipkin
from tests.browser.recipe import recipes
from tests.browser.site import STREAM, Site
from tests.proxy import FaultProxy
from tests.servers import ROOT, asgi_server

pytestmark = pytest.mark.servers

CLIENT = ROOT / "client"
EXAMPLE_URL = "https://otel.example.com/v1/traces"
# Beside what the page of the documentation does: Zipkin's exporter, and a subscriber that the test can ask.
ZIPKIN = """
import { ZipkinExporter } from "@opentelemetry/exporter-zipkin";
const zipkin = new BatchSpanProcessor(new ZipkinExporter({ url: "%s" }), { scheduledDelayMillis: 100 });
"""
SUBSCRIBER = """
globalThis.client = client;
globalThis.seq = 0;
client.subscribe("%s", {
  onSnapshot: (state, info) => (seq = info.seq),
  onEvents: (entries, { to }) => (seq = to),
});
"""


@pytest.fixture(scope="module")
def receivers() -> Iterator[list[Receiver]]:
    with Receiver("/v1/traces", otlp) as first, Receiver("/api/v2/spans", zipkin) as second:
        yield [first, second]
        assert first.faults == second.faults == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sample: Path, receivers: list[Receiver]) -> Iterator[Site]:
    """The example on uvicorn, which exports to both."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receivers[0].origin,
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": receivers[1].url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    site = Site(tmp_path_factory.mktemp("traced"), sample, "uvicorn", env)
    site.server = asgi_server("tests.browser.traced_site:application", site.log, env=site.env)
    with site:
        yield site


@pytest.fixture(scope="module")
def script(receivers: list[Receiver]) -> str:
    """What a page's own build would make of the documentation's code."""
    code = recipes["js"]
    assert EXAMPLE_URL in code
    code = code.replace(EXAMPLE_URL, receivers[0].url)
    code = code.replace(
        "new BatchSpanProcessor(exporter)",
        "new BatchSpanProcessor(exporter, { scheduledDelayMillis: 100 }), zipkin",
    )
    code = ZIPKIN % receivers[1].url + code + SUBSCRIBER % STREAM
    aliases = {"": "index.ts", "/otel": "otel.ts", "/otel-apply": "otel-apply.ts"}
    command = [str(CLIENT / "node_modules/.bin/esbuild"), "--bundle", "--format=esm", "--log-level=warning"]
    command += ["--platform=browser", "--main-fields=browser,module,main"]
    command += [f"--alias:reconnect-channels{name}=./src/{file}" for name, file in aliases.items()]
    made = subprocess.run(command, input=code, text=True, check=True, cwd=CLIENT, stdout=subprocess.PIPE)
    return made.stdout


@pytest.fixture
def open_page(browser: Browser, script: str) -> Iterator[Callable[[str], Page]]:
    """Opens a page of the example without a client of its own, for somebody else each time."""
    with ExitStack() as stack:

        def open_page(url: str) -> Page:
            page = stack.enter_context(browser.new_context(bypass_csp=True)).new_page()
            page.set_default_timeout(30 * SECOND)
            page.goto(url)
            page.add_script_tag(content=script, type="module")
            page.wait_for_function("() => globalThis.client?.sync.kind === 'live' && seq > 0")
            return page

        yield open_page


def test_one_comeback_is_one_trace_from_the_page_to_the_log(
    open_page: Callable[[str], Page], site: Site, receivers: list[Receiver]
):
    with FaultProxy(site.server.port) as proxy:
        page = open_page(f"http://127.0.0.1:{proxy.port}")
        seen = page.evaluate("() => seq")
        proxy.refuse()
        proxy.cut()
        page.wait_for_function("() => client.state === 'RECONNECTING'")
        site.somebody_else()
        proxy.accept()
        page.evaluate("() => client.retry()")
        page.wait_for_function("(seen) => client.sync.kind === 'live' && seq > seen", arg=seen)

    for receiver in receivers:

        def whole(receiver: Receiver = receiver) -> list[Span]:
            return [
                read
                for reconnect in receiver.named("reconnect")
                for resume in receiver.below(reconnect, "resume")
                for read in receiver.below(resume, "delta_read")
            ]

        (read,) = until(whole)
        assert read.service == "board"
        (reconnect,) = receiver.named("reconnect")
        assert {span.name for span in receiver.spans if span.trace == reconnect.trace} == {
            "reconnect",
            "resume",
            "delta_read",
        }


def test_one_publication_is_one_trace_to_what_every_page_applies(
    open_page: Callable[[str], Page], site: Site, receivers: list[Receiver]
):
    pages = [open_page(site.url) for _ in range(2)]
    before = pages[0].evaluate("() => seq")
    published = [len(receiver.named("publish")) for receiver in receivers]
    site.somebody_else()
    for page in pages:
        page.wait_for_function("(before) => seq >= before + 3", arg=before)

    for receiver, known in zip(receivers, published, strict=True):

        def chains(receiver: Receiver = receiver, known: int = known) -> list[list[Span]]:
            found = [
                receiver.below(fan_out, "apply")
                for publish in receiver.named("publish")[known:]
                for append in receiver.below(publish, "append")
                for fan_out in receiver.below(append, "fan_out")
            ]
            return found if [len(applied) for applied in found] == [2, 2, 2] else []

        applied = until(chains)
        assert len({span.trace for spans in applied for span in spans}) == 3

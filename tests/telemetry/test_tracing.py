"""Spans of the server: what a trace shows of a comeback and of a publication."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from reconnect_channels import apublish, publish
from reconnect_channels.announcement import group_name, layer_message, read_message
from reconnect_channels.log import log_for
from reconnect_channels.log.base import Draft
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.traceparent import parse
from reconnect_channels.publication import publish_many
from reconnect_channels.telemetry import tracing
from reconnect_channels.testing import closed_hub
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer
from tests.servers import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

STREAM = "notes:of-somebody"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class SnapshotConsumer(NotesConsumer):
    stream_prefix = "traced:"

    def can_subscribe(self, stream: str) -> bool:
        return True

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        return {"state": "as it is"}


class Spans:
    """What was recorded and has ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("tests"))
    return Spans(exporter)


@pytest.fixture(autouse=True)
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield


def context(span: ReadableSpan) -> tuple[str, str]:
    at = span.get_span_context()
    return f"{at.trace_id:032x}", f"{at.span_id:016x}"


def parent(span: ReadableSpan) -> tuple[str, str] | None:
    return span.parent and (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}")


# -- a comeback ------------------------------------------------------------------------------------


async def test_a_comeback_is_a_span_below_the_client_s_and_its_reads_are_below_it(spans: Spans):
    first, *_ = await sync_to_async(publish_many)([(STREAM, n) for n in range(4)])
    async with Peer() as peer:
        await peer.greet({STREAM: first.position}, traceparent=SAMPLED)
        await peer.sync(STREAM)
        await peer.socket.until(lambda: spans.named("resume"))
    resume, read = spans.one("resume"), spans.one("delta_read")
    assert parent(resume) == (TRACE, SPAN)
    assert parent(read) == context(resume)
    assert (resume.kind, read.kind) == (SpanKind.SERVER, SpanKind.INTERNAL)
    assert dict(resume.attributes) == {"reconnect.attempt": 1, "reconnect.outcome": "live"}
    assert dict(read.attributes) == {"reconnect.entries": 3, "reconnect.prefix": "notes:"}
    (judged,) = resume.events
    assert dict(judged.attributes) == {
        "reconnect.answer": "delta",
        "reconnect.reason": "",
        "reconnect.gap": 3,
        "reconnect.prefix": "notes:",
    }


async def test_a_newcomer_s_snapshot_is_below_its_comeback(spans: Spans):
    stream = "traced:1"
    async with Peer(SnapshotConsumer) as peer:
        await peer.greet({stream: None}, traceparent=SAMPLED)
        await peer.hear("SYNC_SNAPSHOT", stream=stream)
        await peer.socket.until(lambda: spans.named("resume"))
    snapshot = spans.one("snapshot")
    assert parent(snapshot) == context(spans.one("resume"))
    assert dict(snapshot.attributes) == {
        "reconnect.prefix": "traced:",
        "reconnect.reason": "new",
        "reconnect.size": len('{"state":"as it is"}'),
        "reconnect.exact": True,
    }


async def test_without_a_client_s_trace_a_comeback_begins_one(spans: Spans):
    async with Peer() as peer:
        await peer.greet({STREAM: None})
        await peer.socket.until(lambda: spans.named("resume"))
    assert spans.one("resume").parent is None


@pytest.mark.parametrize("streams", [{}, {"notes:secret": None}], ids=["none", "refused"])
async def test_a_comeback_without_a_stream_to_wait_for_is_over_at_once(spans: Spans, streams: Any):
    async with Peer() as peer:
        await peer.greet(streams)
        await peer.socket.until(lambda: spans.named("resume"))
    assert spans.one("resume").attributes["reconnect.outcome"] == "live"


async def test_a_comeback_that_breaks_off_is_over_with_its_socket(spans: Spans):
    async with Peer() as peer:
        peer.hello({STREAM: "nonsense"})
        await peer.goodbye()
        assert not spans.all  # a malformed HELLO never gets that far
    async with Peer() as peer:
        log = log_for(STREAM)
        head = (await sync_to_async(log.heads)([STREAM]))[STREAM]
        peer.hello({STREAM: head.position._replace(seq=7)}, traceparent=SAMPLED)
        await peer.goodbye()
        await peer.socket.until(lambda: spans.named("resume"))
    assert spans.one("resume").attributes["reconnect.outcome"] == "closed"


async def test_a_client_whose_trace_isn_t_sampled_leaves_no_span(spans: Spans):
    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
    assert not spans.all


@pytest.mark.parametrize("header", ["", "x", SAMPLED + "-more", f"00-{'0' * 32}-{SPAN}-01", '01","x":"'])
async def test_a_client_s_context_that_is_none_is_ignored(spans: Spans, header: str):
    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=header)
        await peer.socket.until(lambda: spans.named("resume"))
    assert spans.one("resume").parent is None


# -- a publication ---------------------------------------------------------------------------------


async def test_a_publication_is_one_trace_up_to_the_frame_that_readers_get(spans: Spans):
    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
        await apublish(STREAM, {"secret": "payload"})
        frame = await peer.hear("SYNC_DELTA", stream=STREAM, to=1)
    publish_, append, fan_out = (spans.one(name) for name in ("publish", "append", "fan_out"))
    assert publish_.parent is None
    assert parent(append) == context(publish_)
    assert parent(fan_out) == context(append)
    assert [span.kind for span in (publish_, append, fan_out)] == [
        SpanKind.PRODUCER,
        SpanKind.INTERNAL,
        SpanKind.CONSUMER,
    ]
    assert dict(publish_.attributes) == {"reconnect.entries": 1}
    assert dict(append.attributes) == {"reconnect.entries": 1, "reconnect.prefix": "notes:"}
    assert dict(fan_out.attributes) == {"reconnect.sockets": 1, "reconnect.prefix": "notes:"}
    assert parse(frame["payload"][0]["traceparent"]) == (*context(fan_out), True)


async def test_many_entries_of_one_publication_share_a_fan_out(spans: Spans):
    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
        await sync_to_async(publish_many)([(STREAM, n) for n in range(5)])
        frame = await peer.hear("SYNC_DELTA", stream=STREAM, to=5)
    assert len({entry["traceparent"] for entry in frame["payload"]}) == 1
    assert len(spans.named("fan_out")) == 1


async def test_publications_that_go_out_together_keep_their_own_traces(spans: Spans):
    def publish_two() -> None:
        publish(STREAM, 1)
        publish(STREAM, 2)

    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
        await sync_to_async(publish_two)()
        await peer.hear("SYNC_DELTA", stream=STREAM, to=2)
    appends = [context(span) for span in spans.named("append")]
    assert [parent(span) for span in spans.named("fan_out")] == appends
    assert len({trace_id for trace_id, _ in appends}) == 2


async def test_a_publication_that_isn_t_sampled_adds_nothing_to_frames(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
):
    off = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("off")
    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
        monkeypatch.setattr(tracing, "_tracer", off)
        entry = await apublish(STREAM, 1)
        assert isinstance(entry, Entry)
        assert entry.trace is None
        frame = await peer.hear("SYNC_DELTA", stream=STREAM, to=1)
    assert set(frame["payload"][0]) == {"seq", "id", "checksum", "clock", "key", "payload"}
    assert not spans.all


def test_a_publication_goes_below_what_is_current_and_isn_t_recorded_where_that_isn_t(spans: Spans):
    at = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), True, trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(at)):
        publish(STREAM, 1)
    assert not spans.all
    sampled = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), True, trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(sampled)):
        publish(STREAM, 2)
    assert parent(spans.one("publish")) == (TRACE, SPAN)


def test_an_append_that_fails_says_its_class_and_not_its_text(spans: Spans, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the secret payload")

    monkeypatch.setattr(log_for(STREAM), "append", fail)
    with pytest.raises(RuntimeError):
        publish(STREAM, 1)
    for span in spans.one("append"), spans.one("publish"):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "RuntimeError"
        assert "secret" not in span.to_json()


def test_what_the_log_keeps_knows_no_trace(spans: Spans):
    entry = publish(STREAM, 1)
    assert isinstance(entry, Entry)
    assert parse(entry.trace) == (*context(spans.one("append")), True)
    log = log_for(STREAM)
    assert log.existing(STREAM, [entry.id])[entry.id] == entry._replace(trace=None)


def test_the_layer_carries_a_trace_where_there_is_one_and_nothing_where_there_is_none(spans: Spans):
    entry = publish(STREAM, 1)
    assert isinstance(entry, Entry)
    plain = entry._replace(trace=None)
    assert read_message(layer_message([entry])) == (STREAM, [entry])
    assert read_message(layer_message([plain])) == (STREAM, [plain])
    assert len(layer_message([plain])["entries"][0]) == len(plain) - 2


async def test_what_another_process_announces_goes_on_in_its_trace(spans: Spans):
    def elsewhere() -> list[Entry]:
        draft = Draft(str(uuid4()), None, '"from elsewhere"')
        (entry,) = log_for(STREAM).append(STREAM, [draft], 1)
        return [entry._replace(trace=SAMPLED)]

    async with Peer() as peer:
        await peer.greet({STREAM: None}, traceparent=UNSAMPLED)
        await peer.hear("SYNC_DELTA", stream=STREAM, complete=True)
        message = layer_message(await sync_to_async(elsewhere)())
        layer: Any = get_channel_layer()
        await layer.group_send(group_name(STREAM), message)
        frame = await peer.hear("SYNC_DELTA", stream=STREAM, to=1)
    fan_out = spans.one("fan_out")
    assert parent(fan_out) == (TRACE, SPAN)
    assert parse(frame["payload"][0]["traceparent"]) == (*context(fan_out), True)


# -- without it ------------------------------------------------------------------------------------

ALONE = """
import sys
for name in ("opentelemetry", "opentelemetry.trace"):
    sys.modules[name] = None  # as if it weren't installed
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from reconnect_channels import publish
from reconnect_channels.telemetry import tracing
entry = publish("notes:1", 1)
sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
with tracing.within(tracing.start("publish", sampled)) as span:
    print([entry.seq, entry.trace, span, [name for name in sys.modules if name.startswith("opentelemetry.")]])
"""


def test_without_the_api_nothing_is_imported_and_nothing_is_missing():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[1, None, None, ['opentelemetry.trace']]", done.stderr


def test_without_an_sdk_behind_the_api_there_is_no_span(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracing, "_tracer", trace.NoOpTracer())
    assert tracing.start("publish") is None
    assert tracing.start("resume", SAMPLED) is None
    entry = publish(STREAM, 1)
    assert isinstance(entry, Entry)
    assert json.loads(entry.wire()).keys() == {"seq", "id", "checksum", "clock", "key", "payload"}

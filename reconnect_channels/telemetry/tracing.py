"""Spans, where OpenTelemetry's API is installed; nothing, where it isn't (design 12).

    reconnect (browser) → resume → delta_read, snapshot
    publish → append → fan_out → apply (browser)

A span is begun only where somebody will see it: there is none without the API, without an SDK behind it, or
where the trace isn't sampled. Attributes are enums, numbers and stream prefixes, and of an error only its
class: texts may quote payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ..protocol.traceparent import TraceContext, parse

try:
    from opentelemetry import trace as api
except ImportError:
    _tracer: Any = None
else:
    # Whatever is installed as the tracer provider later stands behind it.
    _tracer = api.get_tracer("reconnect_channels")
    _KINDS = {
        "resume": api.SpanKind.SERVER,
        "publish": api.SpanKind.PRODUCER,
        "fan_out": api.SpanKind.CONSUMER,
    }

Value = str | int | float | bool

_NOTHING: AbstractContextManager[None] = nullcontext()
_prefix_of: Callable[[str], str] | None = None


def connect(prefix_of: Callable[[str], str]) -> None:
    """:param prefix_of: the prefix that a stream's name begins with; "" if no consumer serves it."""
    global _prefix_of
    _prefix_of = prefix_of


class Span:
    """A span that is recorded. It belongs to no thread and no task; whoever began it ends it."""

    __slots__ = ("_span", "context")

    def __init__(self, span: Any) -> None:
        self._span = span
        at = span.get_span_context()
        self.context = TraceContext(f"{at.trace_id:032x}", f"{at.span_id:016x}", sampled=True)

    def child(self, name: str, stream: str | None = None, **attributes: Value) -> Span | None:
        """Begins a span below this one; parameters are those of `start`."""
        return _begin(name, api.set_span_in_context(self._span), stream, attributes)

    def set(self, **attributes: Value) -> None:
        """Sets attributes."""
        self._span.set_attributes(_named(None, attributes))

    def note(self, event: str, stream: str | None = None, **attributes: Value) -> None:
        """Adds an event, at this moment."""
        self._span.add_event(event, _named(stream, attributes))

    def end(self, **attributes: Value) -> None:
        """Ends it, with more attributes."""
        self.set(**attributes)
        self._span.end()

    @contextmanager
    def _current(self) -> Iterator[Span]:
        with api.use_span(
            self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield self
            except Exception as error:
                self._span.set_attribute("error.type", type(error).__qualname__)
                self._span.set_status(api.StatusCode.ERROR)
                raise


def start(
    name: str, traceparent: str | None = None, *, stream: str | None = None, **attributes: Value
) -> Span | None:
    """Begins a span, if anybody will see it.

    :param traceparent: from another process; what isn't one is ignored. By default the span goes below the
        one that is current here, or begins a trace.
    :param stream: the span says its prefix.
    :param attributes: enums and numbers; named `reconnect.<name>`.
    """
    if _tracer is None:
        return None
    remote = parse(traceparent)
    if remote is None:
        current = api.get_current_span().get_span_context()
        if current.is_valid and not current.trace_flags.sampled:
            return None
        return _begin(name, None, stream, attributes)
    if not remote.sampled:
        return None
    flags = api.TraceFlags(api.TraceFlags.SAMPLED)
    at = api.SpanContext(int(remote.trace_id, 16), int(remote.span_id, 16), is_remote=True, trace_flags=flags)
    return _begin(name, api.set_span_in_context(api.NonRecordingSpan(at)), stream, attributes)


def within(span: Span | None) -> AbstractContextManager[Span | None]:
    """A block that a span lasts for, and where it is the current one: spans of databases go below it."""
    return _NOTHING if span is None else span._current()


def _begin(name: str, context: Any, stream: str | None, attributes: dict[str, Value]) -> Span | None:
    kind = _KINDS.get(name, api.SpanKind.INTERNAL)
    span = _tracer.start_span(name, context, kind=kind, attributes=_named(stream, attributes))
    sampled = span.is_recording() and span.get_span_context().trace_flags.sampled
    return Span(span) if sampled else None


def _named(stream: str | None, attributes: dict[str, Value]) -> dict[str, Value]:
    named = {f"reconnect.{name}": value for name, value in attributes.items()}
    if stream is not None and _prefix_of is not None:
        named["reconnect.prefix"] = _prefix_of(stream) or "other"
    return named

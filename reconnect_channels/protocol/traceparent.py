"""Where a trace comes from and goes on: the header `traceparent` (W3C Trace Context, level 1)."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A span somewhere else, under which the trace goes on."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    sampled: bool  # the trace is recorded

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-0{self.sampled:d}"


def parse(traceparent: str | None) -> TraceContext | None:
    """The context that a header names; None where there is none, or what is there isn't one."""
    found = _FORM.fullmatch(traceparent or "")
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "00" and more is not None:  # only later versions may say more
        return None
    return TraceContext(trace, span, bool(int(flags, 16) & _SAMPLED))


def trace_id(traceparent: str | None) -> str:
    """The id of the trace, 32 hex digits; "" where there is none, or what is there isn't one."""
    context = parse(traceparent)
    return context.trace_id if context is not None else ""

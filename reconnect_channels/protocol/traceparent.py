"""Where a client's trace goes on: the header `traceparent` (W3C Trace Context, level 1)."""

from __future__ import annotations

import re

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)


def trace_id(traceparent: str | None) -> str:
    """The id of the trace, 32 hex digits; "" where there is none, or what is there isn't one."""
    found = _FORM.fullmatch(traceparent or "")
    return found[1] if found else ""

"""A `traceparent` of a client is taken as W3C Trace Context says, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from reconnect_channels.protocol.traceparent import TraceContext, parse, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what the future will be like", True),
    ],
)
def test_a_context_is_read(header, sampled):
    assert parse(header) == TraceContext(TRACE, SPAN, sampled)
    assert trace_id(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}١-{SPAN}-01",
        f'00-{TRACE}-{SPAN}-01","x":"',
    ],
)
def test_what_is_none_is_no_context(header):
    assert parse(header) is None
    assert trace_id(header) == ""


@given(
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.booleans(),
)
def test_a_context_is_written_as_it_is_read(trace_id_, span_id, sampled):
    context = TraceContext(trace_id_, span_id, sampled)
    assert parse(str(context)) in (context, None)
    assert (parse(str(context)) is None) == (not int(trace_id_, 16) or not int(span_id, 16))


parts = st.sampled_from(["00", "01", "ff", "-", TRACE, SPAN, "0" * 16, "x", "\n", "F", "é"])


@given(
    st.text(max_size=60)
    | st.lists(parts, max_size=9).map("".join)
    | st.permutations(["00", TRACE, SPAN, "01"]).map("-".join)
)
def test_opentelemetry_reads_the_same(header):
    """But for blanks around it, which a header may have."""
    context = TraceContextTextMapPropagator().extract({"traceparent": header})
    known = trace.get_current_span(context).get_span_context()
    expected = f"{known.trace_id:032x}" if known.is_valid else ""
    if header == header.strip():
        assert trace_id(header) == expected

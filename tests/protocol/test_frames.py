import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol import codec, frames
from reconnect_channels.protocol.codes import Close, Reason, Resync
from reconnect_channels.protocol.position import MAX_SEQ, Position

from .strategies import EPOCH, json_values, positions, texts
from .vectors import load, text

ID = "3f0e7a52-9b1c-4d6e-8f20-5a6b7c8d9e0f"
PRODUCER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

# -- the client's: an independent reading of docs/protocol.md 3 ----------------------------------------


def is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= MAX_SEQ


def is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._:-]{1,100}", value, re.ASCII) is not None


def is_uuid(value: Any, version: str = "[0-9a-f]", variant: str = "[0-9a-f]") -> bool:
    pattern = f"[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-{variant}[0-9a-f]{{3}}-[0-9a-f]{{12}}"
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_text(least: int, most: int) -> Any:
    return lambda value: isinstance(value, str) and least <= len(value) <= most


def is_map(item: Any = lambda value: True) -> Any:
    return lambda value: (
        isinstance(value, dict) and all(map(is_name, value)) and all(map(item, value.values()))
    )


def or_null(rule: Any) -> Any:
    return lambda value: value is None or rule(value)


# type -> field -> (required, rule)
RULES: dict[str, dict[str, tuple[bool, Any]]] = {
    "HELLO": {
        "protocol": (True, is_text(0, 10**6)),
        "client_id": (True, is_text(1, 200)),
        "term": (False, is_count),
        "attempt": (False, is_count),
        "clock": (False, is_count),
        "streams": (False, is_map()),
        "identity": (False, or_null(is_text(0, 500))),
        "key": (False, or_null(is_text(0, 200))),
        "traceparent": (False, or_null(is_text(0, 60))),
    },
    "SUBSCRIBE": {"ref": (True, is_count), "streams": (True, is_map())},
    "UNSUBSCRIBE": {
        "ref": (True, is_count),
        "streams": (True, lambda value: isinstance(value, list) and all(map(is_name, value))),
    },
    "MESSAGE": {
        "id": (True, lambda value: is_uuid(value, "4", "[89ab]")),
        "producer": (True, is_uuid),
        "n": (True, lambda value: is_count(value, 1)),
        "stream": (True, is_name),
        "payload": (True, lambda value: True),
        "settled": (False, is_count),
        "clock": (False, is_count),
    },
    "ACK": {"streams": (False, is_map()), "parts": (False, is_map(is_count))},
    "PONG": {"t": (False, lambda value: True), "streams": (False, is_map())},
    "TELEMETRY": {
        "metrics": (False, lambda value: isinstance(value, dict)),
        "environment": (False, lambda value: True),
        "transitions": (False, lambda value: True),
    },
}
GOOD: dict[str, dict[str, Any]] = {
    "HELLO": {"protocol": "reconnect.v1", "client_id": "c", "streams": {}},
    "SUBSCRIBE": {"ref": 1, "streams": {"s": None}},
    "UNSUBSCRIBE": {"ref": 1, "streams": ["s"]},
    "MESSAGE": {"id": ID, "producer": PRODUCER, "n": 1, "stream": "s", "payload": 1},
    "ACK": {"streams": {"s": None}, "parts": {"s": 1}},
    "PONG": {"t": 1, "streams": {"s": None}},
    "TELEMETRY": {"metrics": {"rtt": 1}},
}

names = st.sampled_from(
    [
        "s",
        "a" * 100,
        "a" * 101,
        "",
        "../",
        "a/b",
        "*",
        "{",
        "{a}",
        "a\n",
        "\na",
        "a b",
        "é",
        "ａ",
        "A.b_C:d-9",
        "٣",
        "²",
    ]
) | st.text(st.characters(max_codepoint=127, exclude_characters="\0"), min_size=1, max_size=4)
suspects = (
    json_values
    | names
    | st.sampled_from([ID, ID.upper(), ID + "\n", PRODUCER, "c232ab00-9414-11ec-b3c8-9f6bdeced846", "0" * 36])
    | st.sampled_from(["c" * 200, "c" * 201, "c" * 500, "c" * 501, "c" * 60, "c" * 61])
    | st.integers(-2, 2)
    | st.lists(names, max_size=3)
    | st.dictionaries(names, st.none() | st.integers(-1, 2) | st.just(MAX_SEQ), max_size=3)
)
fields = st.sampled_from([(kind, field) for kind, rules in RULES.items() for field in rules])


def read(frame: dict[str, Any]) -> Any:
    return frames.read(json.dumps(frame))


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_frame_is_taken_and_unknown_fields_are_ignored(kind):
    plain = read({"type": kind, **GOOD[kind]})
    newer = read({"type": kind, **GOOD[kind], "newer": {"x": [1]}, "Type": 1})
    assert plain == newer
    assert {field: getattr(plain, field) for field in GOOD[kind]} == GOOD[kind]


@given(fields, suspects)
def test_every_field_takes_exactly_what_is_documented(which, value):
    kind, field = which
    frame = {"type": kind, **GOOD[kind], field: value}
    if RULES[kind][field][1](value):
        assert getattr(read(frame), field) == value
    else:
        assert refusal(json.dumps(frame)) == (400, Reason.FRAME)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, rules in RULES.items() for field in rules]
)
@pytest.mark.parametrize(
    "value", [None, True, -1, 1, 1.5, "", "a\n", "*", [], [1], {}, {"a\n": 1}, {"s": "x"}], ids=repr
)
def test_every_field_with_every_type(kind, field, value):
    frame = {"type": kind, **GOOD[kind], field: value}
    if RULES[kind][field][1](value):
        read(frame)
    else:
        assert refusal(json.dumps(frame)) == (400, Reason.FRAME)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, rules in RULES.items() for field in rules]
)
def test_only_optional_fields_may_be_left_out(kind, field):
    frame = {"type": kind, **GOOD[kind]}
    frame.pop(field, None)
    if RULES[kind][field][0]:
        assert refusal(json.dumps(frame)) == (400, Reason.FRAME)
    else:
        read(frame)


def refusal(text: Any) -> tuple[int, str]:
    with pytest.raises(frames.FrameError) as refused:
        frames.read(text)
    return refused.value.code, refused.value.reason


# -- the client's: garbage -----------------------------------------------------------------------------

SAMPLES = [text(case) for case in load("frames") if case["from"] == "client" and len(text(case)) < 2_000]


def survives(raw: Any) -> None:
    error = None
    try:
        frames.read(raw)
    except frames.FrameError as refusal:
        error = refusal
    if error is not None:
        assert error.code in (400, 413)
        assert error.ref is None or is_count(error.ref)
        assert error.message_id is None or 0 < len(error.message_id) <= 64
        answer = frames.error(error.code, error.reason, error.detail, ref=error.ref)
        assert len(answer) < 1_000 + 6 * len(error.detail)
        assert json.loads(answer)["reason"] == error.reason


@given(st.none() | st.text() | st.binary() | json_values.map(json.dumps))
def test_anything_is_a_frame_or_a_frame_error(raw):
    survives(raw)


@given(
    st.dictionaries(st.sampled_from(["type", "ref", "id", "streams", "n", "t"]) | texts, suspects), suspects
)
def test_any_object_is_a_frame_or_a_frame_error(frame, kind):
    survives(json.dumps(frame))
    survives(json.dumps({**frame, "type": kind}))


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_frame_is_a_frame_or_a_frame_error(sample, data):
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 5)))
    survives(sample[:start] + data.draw(st.text(max_size=3)) + sample[end:])
    survives(sample[:start])
    raw = bytearray(sample.encode())
    raw[start : start + 1] = data.draw(st.binary(max_size=2))
    survives(bytes(raw))


def test_binary_and_text_frames_read_alike():
    for sample in SAMPLES:
        outcomes = []
        for raw in (sample, sample.encode()):
            try:
                outcomes.append(frames.read(raw))
            except frames.FrameError as error:
                outcomes.append((error.code, error.reason, error.ref, error.message_id))
        assert outcomes[0] == outcomes[1]


def test_no_text_is_refused():
    assert refusal(None) == refusal("") == refusal(b"") == (400, Reason.JSON)


def test_the_detail_does_not_repeat_the_input():
    for frame in [{"type": "x" * 1000}, {"type": "HELLO", "protocol": "p", "client_id": "c" * 1000}]:
        with pytest.raises(frames.FrameError) as refused:
            read(frame)
        assert "xxx" not in refused.value.detail
        assert "ccc" not in refused.value.detail


@given(names)
def test_the_pattern_of_names_agrees_with_the_frames(name):
    assert (frames.STREAM_NAME.match(name) is not None) == is_name(name)


# -- the server's --------------------------------------------------------------------------------------

hostile = texts | st.sampled_from(['"', "\\", "\n", "</script>", "\u2028", "\x1b[31m"])
json_texts = json_values.map(codec.encode_payload)
ids = st.just(ID)


def decoded(frame: str) -> Any:
    value = json.loads(frame)
    assert codec.decode(frame, max_size=10**7) == value
    assert "\n" not in frame
    return value


@given(hostile, hostile, st.integers(0, MAX_SEQ), st.lists(st.just("board:1")), *[st.none() | hostile] * 2)
def test_welcome(session, node, clock, streams, identity, key):
    limits = {"rate": 50}
    frame = decoded(
        frames.welcome(
            session=session,
            node=node,
            clock=clock,
            heartbeat_ms=15_000,
            streams=streams,
            limits=limits,
            identity=identity,
            key=key,
        )
    )
    optional = {"identity": identity, "key": key}
    assert frame == {
        "type": "WELCOME",
        "session": session,
        "node": node,
        "clock": clock,
        "heartbeat_ms": 15_000,
        "streams": streams,
        "limits": limits,
    } | {name: value for name, value in optional.items() if value is not None}


@given(st.integers(0, MAX_SEQ))
def test_subscribed_and_unsubscribed(ref):
    assert decoded(frames.subscribed(ref)) == {"type": "SUBSCRIBED", "ref": ref}
    assert decoded(frames.unsubscribed(ref)) == {"type": "UNSUBSCRIBED", "ref": ref}


@given(positions, st.sampled_from(Resync), json_texts, st.booleans(), st.booleans())
def test_snapshot(position, reason, state, exact, partial):
    frame = decoded(frames.snapshot("board:1", position, reason, state, exact=exact, partial=partial))
    assert frame == {
        "type": "SYNC_SNAPSHOT",
        "stream": "board:1",
        "epoch": position.epoch,
        "seq": position.seq,
        "checksum": position.checksum,
        "reason": str(reason),
        "exact": exact,
        "partial": partial,
        "payload": json.loads(state),
    }


@given(positions, st.sampled_from(Resync), json_texts, st.booleans(), st.integers(1, 5))
def test_the_parts_of_a_snapshot_join_to_its_state(position, reason, state, exact, size):
    chunks = [state[i : i + size] for i in range(0, len(state), size)]
    parts = [
        decoded(frames.snapshot_part("s", position, reason, chunk, part, len(chunks), exact=exact))
        for part, chunk in enumerate(chunks, 1)
    ]
    whole = decoded(frames.snapshot("s", position, reason, state, exact=exact))
    del whole["payload"]
    for number, part in enumerate(parts, 1):
        assert part == {**whole, "part": number, "parts": len(chunks), "chunk": part["chunk"]}
    assert "".join(part["chunk"] for part in parts) == state


@given(st.none() | st.integers(1, MAX_SEQ), json_texts, st.booleans())
def test_ack(seq, result, duplicate):
    frame = decoded(frames.ack(ID, None if seq is None else EPOCH, seq, result, duplicate=duplicate))
    assert frame == {
        "type": "ACK",
        "id": ID,
        "epoch": None if seq is None else EPOCH,
        "seq": seq,
        "result": json.loads(result),
        "duplicate": duplicate,
    }


@given(hostile, st.integers(400, 599), hostile, json_values, st.booleans(), st.integers(0, 60_000))
def test_reject(message_id, code, reason, detail, retry, wait):
    frame = decoded(frames.reject(message_id, code, reason, detail, retry=retry, retry_after_ms=wait))
    expected = {
        "type": "REJECT",
        "id": message_id,
        "code": code,
        "reason": reason,
        "detail": detail,
        "retry": retry,
    }
    assert frame == expected | ({"retry_after_ms": wait} if retry else {})


@given(
    st.sampled_from(Reason),
    hostile,
    st.none() | st.integers(0, MAX_SEQ),
    st.none() | st.lists(st.just("s"), max_size=2),
    st.none() | st.integers(0, 60_000),
)
def test_error(reason, detail, ref, streams, wait):
    frame = decoded(frames.error(400, reason, detail, ref=ref, streams=streams, retry_after_ms=wait))
    optional = {"ref": ref, "streams": streams, "retry_after_ms": wait}
    assert frame == {"type": "ERROR", "code": 400, "reason": str(reason), "detail": detail} | {
        key: value for key, value in optional.items() if value is not None
    }


@given(st.integers(0, MAX_SEQ), st.dictionaries(st.sampled_from(["a", "b:1"]), positions))
def test_ping(t, heads):
    frame = decoded(frames.ping(t, heads))
    assert frame == {
        "type": "PING",
        "t": t,
        "heads": {
            name: {"epoch": head.epoch, "last_seq_id": head.seq, "checksum": head.checksum}
            for name, head in heads.items()
        },
    }


@pytest.mark.parametrize("code", Close)
@pytest.mark.parametrize("window", [None, (0, 0), (100, 5_000)])
@pytest.mark.parametrize("term", [None, 0, 7])
def test_bye(code, window, term):
    assert decoded(frames.bye(code, 'be"cause', window, term=term)) == {
        "type": "BYE",
        "code": int(code),
        "reason": 'be"cause',
        "reconnect": code < 4500,
        "retry_after_ms": list(window or (0, 0)),
    } | ({} if term is None else {"term": term})


def test_a_position_in_a_frame_is_read_back_from_a_frame():
    position = Position(EPOCH, 41, 1234)
    heads = json.loads(frames.ping(1, {"s": position}))["heads"]
    assert read({"type": "PONG", "streams": heads}).streams == {"s": position.wire()}

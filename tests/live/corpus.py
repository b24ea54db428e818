"""Bad frames, each with the answer that it gets (design 13; the corpus of the reliability notes)."""

import json
from typing import Any
from uuid import UUID

MESSAGE_ID = "3f2c8e1a-5b7d-4c9e-8f10-2a3b4c5d6e7f"
PRODUCER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def message(**fields: Any) -> str:
    good = {"id": MESSAGE_ID, "producer": PRODUCER, "n": 1, "stream": "notes:bad", "payload": 1}
    return frame("MESSAGE", **{**good, **fields})


def raw_payload(text: str) -> str:
    """A MESSAGE whose payload is this very text."""
    return message(payload="@").replace('"@"', text)


JSON = ("ERROR", 400, "JSON")
FRAME = ("ERROR", 400, "FRAME")
REJECT_FRAME = ("REJECT", 400, "FRAME")

NOT_JSON = {
    "not JSON": "hello",
    "trailing garbage": '{"type":"PONG"} x',
    "two values": '{"type":"PONG"}{"type":"PONG"}',
    "a comment": '{"type":"PONG"/* */}',
    "single quotes": "{'type':'PONG'}",
    "deep brackets": "[" * 100_000,
    "deep objects": '{"a":' * 3_000,
    "NaN": raw_payload("NaN"),
    "Infinity": raw_payload("-Infinity"),
    "1e400": raw_payload("1e400"),
    "a lone surrogate": raw_payload('"\\ud800"'),
    "a lone surrogate as a key": raw_payload('{"\\udfff":1}'),
    "5000 digits": raw_payload("1" + "0" * 5_000),
    "UTF-16 in disguise": '\ufeff{"type":"PONG"}',
}

BAD_PAYLOADS = {
    "NUL": raw_payload('"\\u0000"'),
    "NUL in a key": raw_payload('{"\\u0000":1}'),
    "__proto__": raw_payload('{"__proto__":{}}'),
    "depth 40": raw_payload("[" * 40 + "]" * 40),
    "5000 keys": raw_payload(json.dumps({str(n): n for n in range(5_000)})),
    "2^53 + 1": raw_payload("9007199254740993"),
    "2^64": raw_payload("18446744073709551616"),
}

NAMES = {
    "101 characters": "n" * 101,
    "a path": "../etc",
    "a star": "notes:*",
    "a brace": "notes:{1}",
    "a newline": "notes:a\n",
    "a space": "notes:a b",
    "unicode": "notes:é",
    "empty": "",
    "a quote": 'notes:"',
}

FIELDS: dict[str, dict[str, list[Any]]] = {
    "HELLO": {
        "protocol": [None, 1, [], {}],
        "client_id": [None, 1, "", "x" * 201, []],
        "streams": [None, 1, "a", [], ["a"]],
        "term": [-1, "1", 1.5, None],
        "attempt": [-1, "1"],
        "clock": [-1, "1", 1.5, None],
        "identity": [1, "x" * 501, []],
        "traceparent": [1, "x" * 61],
    },
    "SUBSCRIBE": {"ref": [None, -1, "1", 1.5, True, []], "streams": [None, 1, "a", ["a"]]},
    "UNSUBSCRIBE": {"ref": [None, -1, "1", 1.5], "streams": [None, 1, "a", {"a": None}, [1], [None]]},
    "ACK": {"streams": [1, "a", []], "parts": [1, [], {"a": -1}, {"a": "1"}, {"a": 1.5}]},
    "PONG": {"streams": [1, "a", []]},
    "TELEMETRY": {"metrics": [1, "a", [], None]},
}
GOOD: dict[str, dict[str, Any]] = {
    "HELLO": {"protocol": "reconnect.v1", "client_id": "c", "streams": {}},
    "SUBSCRIBE": {"ref": 1, "streams": {}},
    "UNSUBSCRIBE": {"ref": 1, "streams": []},
}

MESSAGE_FIELDS: dict[str, list[Any]] = {
    "producer": [None, 1, "x", PRODUCER.upper()],
    "n": [None, 0, -1, "1", 1.5, True],
    "stream": [None, 1, *NAMES.values()],
    "settled": [-1, "1", None],
    "clock": [-1, "9", 1.5, None],
}

IDS: list[Any] = [
    "not a uuid",
    str(UUID(int=0)),
    MESSAGE_ID.upper(),
    str(UUID(int=1, version=1)),
    MESSAGE_ID + "0",
]


def bad_frames() -> dict[str, tuple[Any, tuple[str, int, str]]]:
    """name -> (text, or bytes for a binary frame; type, code and reason of the answer)."""
    corpus: dict[str, tuple[Any, tuple[str, int, str]]] = {
        name: (text, JSON) for name, text in NOT_JSON.items()
    }
    corpus |= {f"top level {value}": (value, FRAME) for value in ("[]", "1", '"a"', "null", "true")}
    corpus["binary"] = b'{"type":"PONG"}', JSON
    corpus["above 128 KiB"] = " " * 131_073, ("ERROR", 413, "SIZE")
    for kind in (
        "UNKNOWN",
        "__class__",
        "websocket.disconnect",
        "reconnect.entries",
        "hello",
        "",
        None,
        5,
        [],
    ):
        corpus[f"type {kind!r}"] = frame("x", type=kind), ("ERROR", 400, "TYPE")
    corpus["no type"] = "{}", ("ERROR", 400, "TYPE")
    for kind, fields in FIELDS.items():
        for field, values in fields.items():
            for value in values:
                text = frame(kind, **{**GOOD.get(kind, {}), field: value})
                corpus[f"{kind} {field}={value!r:.20}"] = text, FRAME
    for name, stream in NAMES.items():
        corpus[f"SUBSCRIBE to {name}"] = frame("SUBSCRIBE", ref=1, streams={stream: None}), FRAME
        corpus[f"UNSUBSCRIBE from {name}"] = frame("UNSUBSCRIBE", ref=1, streams=[stream]), FRAME
        corpus[f"ACK of {name}"] = frame("ACK", streams={stream: None}), FRAME
    for field, values in MESSAGE_FIELDS.items():
        for value in values:
            corpus[f"MESSAGE {field}={value!r:.20}"] = message(**{field: value}), REJECT_FRAME
    for value in IDS:
        corpus[f"MESSAGE id={value}"] = message(id=value), REJECT_FRAME
    for value in (None, 5, [], "", "x" * 1_000):
        corpus[f"MESSAGE id={value!r:.20}"] = message(id=value), FRAME
    for name, text in BAD_PAYLOADS.items():
        corpus[name] = text, ("REJECT", 400, "JSON")
    corpus["65 KiB"] = message(payload="x" * 66_000), ("REJECT", 413, "SIZE")
    corpus["1001 values"] = message(payload=[0] * 1_001), ("REJECT", 400, "JSON")
    corpus["a clock far ahead"] = message(clock=2**53 - 1), ("REJECT", 400, "CLOCK")
    corpus["a stream that may not be read"] = message(stream="notes:secret"), ("REJECT", 403, "FORBIDDEN")
    corpus["an unknown stream"] = message(stream="nobody:1"), ("REJECT", 403, "FORBIDDEN")
    corpus["a malformed ACK"] = (
        frame("ACK", streams={"notes:a": {"epoch": 1}}),
        ("ERROR", 400, "INVALID_SEQ"),
    )
    corpus["HELLO again"] = frame("HELLO", **GOOD["HELLO"]), ("ERROR", 400, "HELLO")
    many = {f"notes:{n}": None for n in range(1_000)}
    corpus["1000 subscriptions"] = frame("SUBSCRIBE", ref=9, streams=many), ("ERROR", 413, "LIMIT")
    return corpus


HARMLESS = {
    "an ACK of what was never sent": frame(
        "ACK", streams={"notes:none": {"epoch": "e", "last_seq_id": 9, "checksum": 1}}
    ),
    "a part that was never sent": frame("ACK", streams={}, parts={"notes:none": 10**9}),
    "a PONG to no PING": frame("PONG", t={"any": ["thing"]}),
    "TELEMETRY of nonsense": frame("TELEMETRY", metrics={'x{a="': -1, "y": "z"}),
    "unknown fields": frame("PONG", t=1, extra={"future": [1]}),
    "duplicate keys": '{"type":"PONG","t":1,"t":2}',
    "constructor": frame("PONG", t={"constructor": 1, "prototype": 2}),
}

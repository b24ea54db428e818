"""The vectors hold for this implementation, or, where only clients act, for a small reference client."""

import json
import math
from collections import Counter
from typing import Any

import pytest

from reconnect_channels.protocol import codec, frames
from reconnect_channels.protocol.codes import reconnects
from reconnect_channels.protocol.position import MODULUS, advance, before, fold, parse

from .vectors import FOLDER, each, label, load, text

FILES = ["apply", "backoff", "checksums", "codes", "frames"]


def test_every_vector_file_is_read_here():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_cases_of_a_file_have_names_of_their_own(name):
    repeated = [name for name, count in Counter(map(label, load(name))).items() if count > 1]
    assert repeated == []


# -- checksums, codes ----------------------------------------------------------------------------------


@each("checksums")
def test_checksums(case):
    checksum = case["start"]
    for entry_id, expected in zip(case["ids"], case["checksums"], strict=True):
        checksum = advance(checksum, entry_id)
        assert checksum == expected
    assert fold(case["start"], case["ids"]) == checksum
    assert before(checksum, case["ids"]) == case["start"]


@each("codes")
def test_close_codes(case):
    assert reconnects(case["code"]) is case["reconnects"]


# -- frames --------------------------------------------------------------------------------------------


@each("frames", **{"from": "client", "valid": True})
def test_a_good_client_frame_is_taken(case):
    sent = json.loads(text(case))
    frame = frames.read(text(case))
    assert type(frame).__name__.upper() == sent["type"]
    for field in frame.__struct_fields__:
        assert getattr(frame, field) == sent.get(field, getattr(frame, field))


@each("frames", **{"from": "client", "valid": False})
def test_a_bad_client_frame_is_refused(case):
    with pytest.raises(frames.FrameError) as refused:
        frames.read(text(case))
    error = refused.value
    assert (error.code, error.reason, error.ref, error.message_id) == (
        case["code"],
        case["reason"],
        case.get("ref"),
        case.get("id"),
    )


@each("frames", **{"from": "server"})
def test_a_server_frame_is_strict_json(case):
    assert codec.decode(case["text"]) == json.loads(case["text"])


# -- apply: a reference client, as docs/protocol.md 5.1 and 5.2 say ------------------------------------


class Reader:
    """One stream at a client."""

    def __init__(self, position: dict[str, Any] | None) -> None:
        self.position = position
        self.chunks: list[str] = []
        self.collecting: tuple[str, int, int] | None = None

    def take(self, frame: dict[str, Any]) -> dict[str, Any]:
        step = self._delta(frame) if frame["type"] == "SYNC_DELTA" else self._snapshot(frame)
        return {**step, "frame": frame, "position": self.position}

    def _delta(self, frame: dict[str, Any]) -> dict[str, Any]:
        at = self.position
        if at is None or at["epoch"] != frame["epoch"]:
            return {"result": "hole", "entries": []}
        after = at["last_seq_id"]
        current = frame["from"] == frame["to"] == after
        if frame["to"] <= after and not current:
            return {"result": "ignored", "entries": []}
        new = [entry for entry in frame["payload"] if entry["seq"] > after]
        fits = fold(at["checksum"], [entry["id"] for entry in new]) == frame["checksum"]
        if frame["from"] > after or not fits:
            return {"result": "hole", "entries": []}
        self.position = {"epoch": at["epoch"], "last_seq_id": frame["to"], "checksum": frame["checksum"]}
        return {"result": "applied", "entries": [entry["seq"] for entry in new]}

    def _snapshot(self, frame: dict[str, Any]) -> dict[str, Any]:
        if "part" in frame:
            number, of = frame["part"], frame["parts"]
            snapshot = (frame["epoch"], frame["seq"], of)
            if number == 1:
                self.chunks, self.collecting = [], snapshot
            if self.collecting != snapshot or number != len(self.chunks) + 1:
                self.chunks, self.collecting = [], None
                return {"result": "discarded"}
            self.chunks.append(frame["chunk"])
            if number < of:
                return {"result": "part", "ack": {"streams": {}, "parts": {frame["stream"]: number}}}
            state = json.loads("".join(self.chunks))
        else:
            state = frame["payload"]
        self.chunks, self.collecting = [], None
        self.position = {"epoch": frame["epoch"], "last_seq_id": frame["seq"], "checksum": frame["checksum"]}
        return {"result": "applied", "state": state, "ack": {"streams": {frame["stream"]: self.position}}}


@each("apply")
def test_applying(case):
    reader = Reader(case["start"])
    for step in case["steps"]:
        assert reader.take(step["frame"]) == step


@each("apply")
def test_positions_and_frames_of_applying_are_well_formed(case):
    parse(case["start"])
    for step in case["steps"]:
        parse(step["position"])
        codec.decode(json.dumps(step["frame"]))
        for entry in step["frame"].get("payload") or []:
            if step["frame"]["type"] == "SYNC_DELTA":
                assert 0 <= entry["checksum"] < MODULUS


# -- backoff: docs/protocol.md 7 -----------------------------------------------------------------------


def delay(attempt: int, base: float, most: float, u: float) -> float:
    if not (0 < base < math.inf and 0 < most < math.inf):
        raise ValueError("bounds")
    return u * min(base * 2 ** min(attempt, 10), most)


@each("backoff")
def test_backoff(case):
    base, most = float(case["base"]), float(case["max"])
    if case.get("throws"):
        with pytest.raises(ValueError, match="bounds"):
            delay(case["attempt"], base, most, case["u"])
    else:
        assert 0 <= case["u"] < 1
        assert delay(case["attempt"], base, most, case["u"]) == case["delay"] < most

import json

from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.codec import decode, encode_payload
from reconnect_channels.protocol.entry import delta
from reconnect_channels.protocol.position import Position

from .strategies import EPOCH, checksums, entries, json_values


@given(st.lists(json_values, max_size=5), st.integers(0, 2**52), checksums, st.booleans())
def test_a_delta_is_strict_json_with_the_documented_fields(payloads, seq, checksum, complete):
    after = Position(EPOCH, seq, checksum)
    run = entries(after, [encode_payload(payload) for payload in payloads], stream="board:1")
    to = run[-1].position if run else after
    text = delta("board:1", after, to, [entry.wire() for entry in run], complete)
    frame = decode(text, max_size=10**7)
    assert (
        frame
        == json.loads(text)
        == {
            "type": "SYNC_DELTA",
            "stream": "board:1",
            "epoch": EPOCH,
            "from": seq,
            "to": seq + len(run),
            "checksum": to.checksum,
            "complete": complete,
            "payload": [
                {
                    "seq": seq + index,
                    "id": entry.id,
                    "checksum": entry.checksum,
                    "clock": entry.clock,
                    "key": None,
                    "payload": payload,
                }
                for index, (entry, payload) in enumerate(zip(run, payloads, strict=True), 1)
            ],
        }
    )


@given(json_values)
def test_an_entry_gives_back_its_payload_and_its_key(payload):
    (entry,) = entries(Position(EPOCH, 0, 0), [encode_payload(payload)])
    keyed = entry._replace(key=entry.id)
    assert entry.payload == payload
    assert json.loads(keyed.wire()) == json.loads(entry.wire()) | {"key": entry.id}
    assert entry.position == (EPOCH, 1, entry.checksum)

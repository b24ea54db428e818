"""What the properties draw from: ids, positions, entries, JSON values."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from reconnect_channels.protocol.codec import MAX_INT
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.position import MAX_SEQ, MODULUS, Position, advance

EPOCH = "9f2c4b1a-0d3e-4f5a-8b6c-7d8e9f0a1b2c"
OTHER_EPOCH = "11111111-2222-4333-8444-555555555555"

# Tails at which a signed or wrongly reduced hash differs.
TAILS = ["00000000", "00000001", "7ffffffe", "7fffffff", "80000000", "fffffffe", "ffffffff"]

checksums = st.integers(0, MODULUS - 1) | st.sampled_from([0, 1, MODULUS - 1])
entry_ids = st.uuids(version=4).map(str) | st.sampled_from(TAILS).map(lambda tail: EPOCH[:-8] + tail)
positions = st.builds(Position, st.sampled_from([EPOCH, OTHER_EPOCH]), st.integers(0, MAX_SEQ), checksums)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INT, MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(texts.filter(lambda key: key != "__proto__"), inner, max_size=5)
    ),
    max_leaves=30,
)


def entry_id(number: int) -> str:
    """A valid id for each number, different from all others."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def entries(after: Position, payloads: Sequence[str], *, stream: str = "s", first: int = 0) -> list[Entry]:
    """A run of entries that follows `after`, one for each JSON text."""
    run = []
    seq, checksum = after.seq, after.checksum
    for number, text in enumerate(payloads, first):
        identity = entry_id(number)
        seq, checksum = seq + 1, advance(checksum, identity)
        run.append(Entry(stream, after.epoch, seq, identity, checksum, number, None, text))
    return run


def nested(depth: int, innermost: Any = 0) -> Any:
    """`innermost` inside `depth` arrays."""
    for _ in range(depth):
        innermost = [innermost]
    return innermost


def short(value: Any) -> str:
    """The name of a parameter."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:20]}... of {len(text)}"

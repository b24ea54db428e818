"""An entry of a stream, as it is stored, announced and sent (design 5.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from .position import Position


class Entry(NamedTuple):
    """One event of a stream. `text` is its payload as JSON, encoded once by its publisher.

    `key` is the id of the message whose handler published it, or None; it lets an author find the
    echo of its own message. `trace` is the W3C trace context in which it was published, while it is news and
    where the trace is recorded; the log doesn't keep it.
    """

    stream: str
    epoch: str
    seq: int
    id: str
    checksum: int
    clock: int
    key: str | None
    text: str
    trace: str | None = None

    @property
    def payload(self) -> Any:
        """The decoded payload."""
        return msgspec.json.decode(self.text)

    @property
    def position(self) -> Position:
        """Where a reader stands who has applied this entry."""
        return Position(self.epoch, self.seq, self.checksum)

    def wire(self) -> str:
        """The JSON of this entry inside SYNC_DELTA."""
        key = f'"{self.key}"' if self.key else "null"
        trace = f',"traceparent":"{self.trace}"' if self.trace else ""
        return (
            f'{{"seq":{self.seq},"id":"{self.id}","checksum":{self.checksum},'
            f'"clock":{self.clock},"key":{key},"payload":{self.text}{trace}}}'
        )


def delta(stream: str, after: Position, to: Position, wires: list[str], complete: bool) -> str:
    """The SYNC_DELTA frame that leads from one position to another; live traffic is the same frame."""
    return (
        f'{{"type":"SYNC_DELTA","stream":"{stream}","epoch":"{to.epoch}","from":{after.seq},"to":{to.seq},'
        f'"checksum":{to.checksum},"complete":{"true" if complete else "false"},'
        f'"payload":[{",".join(wires)}]}}'
    )

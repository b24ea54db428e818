"""The server's frames, as a client reads them. Unknown fields and types are ignored (protocol 1.4)."""

from __future__ import annotations

from typing import Any

import msgspec

from reconnect_channels.protocol.codec import MAX_MESSAGE
from reconnect_channels.protocol.subscription import ACK_BYTES, ACK_ENTRIES


class Entry(msgspec.Struct, frozen=True):
    """One event of a stream; `key` is the id of the message whose handler published it, or None."""

    seq: int
    id: str
    checksum: int
    clock: int = 0
    key: str | None = None
    payload: Any = None


class Delta(msgspec.Struct, frozen=True, rename={"after": "from"}):
    """SYNC_DELTA."""

    stream: str
    epoch: str
    after: int
    to: int
    checksum: int
    complete: bool
    payload: list[Entry]


class State(msgspec.Struct, frozen=True):
    """SYNC_SNAPSHOT, whole or in parts."""

    stream: str
    epoch: str
    seq: int
    checksum: int
    reason: str = ""
    exact: bool = True
    partial: bool = False
    payload: Any = None
    part: int | None = None
    parts: int | None = None
    chunk: str = ""


class Limits(msgspec.Struct, frozen=True):
    """What WELCOME asks for."""

    message_bytes: int = MAX_MESSAGE
    rate: float = 50
    burst: float = 1_000
    in_flight: int = 16
    ack_entries: int = ACK_ENTRIES
    ack_bytes: int = ACK_BYTES
    window_entries: int = 1_000
    window_bytes: int = 1 << 20


class Welcome(msgspec.Struct, frozen=True):
    clock: int = 0
    session: str = ""
    node: str = ""
    streams: list[str] = []
    limits: Limits = Limits()
    identity: str | None = None


class Reply(msgspec.Struct, frozen=True):
    """SUBSCRIBED, UNSUBSCRIBED."""

    ref: int


class Ack(msgspec.Struct, frozen=True):
    id: str
    epoch: str | None = None
    seq: int | None = None
    result: Any = None
    duplicate: bool = False


class Reject(msgspec.Struct, frozen=True):
    id: str
    code: int
    reason: str = ""
    detail: Any = None
    retry: bool = False
    retry_after_ms: float | None = None


class Error(msgspec.Struct, frozen=True):
    code: int
    reason: str = ""
    detail: Any = ""
    ref: int | None = None
    streams: list[str] = []
    retry_after_ms: float | None = None


class Ping(msgspec.Struct, frozen=True):
    t: Any = None
    heads: dict[str, Any] = {}


class Bye(msgspec.Struct, frozen=True):
    code: int
    reason: str = ""
    reconnect: bool = True
    retry_after_ms: tuple[float, float] = (0, 0)


class _Type(msgspec.Struct, frozen=True):
    type: str


ServerFrame = Welcome | Delta | State | Reply | Ack | Reject | Error | Ping | Bye

_type = msgspec.json.Decoder(_Type)
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind)
    for name, kind in {
        "WELCOME": Welcome,
        "SYNC_DELTA": Delta,
        "SYNC_SNAPSHOT": State,
        "SUBSCRIBED": Reply,
        "UNSUBSCRIBED": Reply,
        "ACK": Ack,
        "REJECT": Reject,
        "ERROR": Error,
        "PING": Ping,
        "BYE": Bye,
    }.items()
}


class Unreadable(ValueError):
    """Not a frame of this protocol."""


def read(text: str | bytes) -> ServerFrame | None:
    """Decodes one frame; None for a type that isn't known here. Raises Unreadable."""
    try:
        decoder = _decoders.get(_type.decode(text).type)
        frame: ServerFrame | None = None if decoder is None else decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    return frame

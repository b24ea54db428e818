"""The frames of `reconnect.v1` (design 6): strict decoding of the client's, encoding of the server's."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from .codec import MAX_NODES, CodecError, check, encode, parse
from .codes import Close, Reason, Resync, reconnects
from .position import MAX_SEQ, Position

SUBPROTOCOL = "reconnect.v1"

STREAM_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}\Z")

Count = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
StreamName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,100}\Z", max_length=100)]
Uuid4 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", max_length=36)
]
Uuid = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", max_length=36)
]
Opaque = Annotated[str, Meta(min_length=1, max_length=200)]


class FrameError(ValueError):
    """A frame that can't be taken. `message_id` is set where a REJECT can name the message."""

    def __init__(
        self, code: int, reason: Reason, detail: str, *, ref: int | None = None, message_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.code, self.reason, self.detail = code, reason, detail
        self.ref, self.message_id = ref, message_id


class Hello(Struct, frozen=True):
    """Opens the exchange and resumes every stream at once."""

    protocol: str
    client_id: Opaque
    streams: dict[StreamName, Any] = {}  # positions are judged apart: they have an error of their own
    term: Count = 0
    attempt: Count = 0
    clock: Count = 0
    identity: Annotated[str, Meta(max_length=500)] | None = None
    key: Annotated[str, Meta(max_length=200)] | None = None
    traceparent: Annotated[str, Meta(max_length=60)] | None = None


class Subscribe(Struct, frozen=True):
    ref: Count
    streams: dict[StreamName, Any]


class Unsubscribe(Struct, frozen=True):
    ref: Count
    streams: list[StreamName]


class Message(Struct, frozen=True):
    """One message of a producer's outbox (design 8).

    `n` counts a producer's messages on one stream; everything up to `settled` needs no answer any
    more at the client (acked, rejected or given up).
    """

    id: Uuid4
    producer: Uuid
    n: Annotated[int, Meta(ge=1, le=MAX_SEQ)]
    stream: StreamName
    payload: Any
    settled: Count = 0
    clock: Count = 0


class Ack(Struct, frozen=True):
    """Positions applied; `parts` counts the snapshot parts that arrived."""

    streams: dict[StreamName, Any] = {}
    parts: dict[StreamName, Count] = {}


class Pong(Struct, frozen=True):
    t: Any = None
    streams: dict[StreamName, Any] = {}


class Telemetry(Struct, frozen=True):
    metrics: dict[str, Any] = {}
    environment: Any = None
    transitions: Any = None


ClientFrame = Hello | Subscribe | Unsubscribe | Message | Ack | Pong | Telemetry

_TYPES: dict[str, type[Struct]] = {
    "HELLO": Hello,
    "SUBSCRIBE": Subscribe,
    "UNSUBSCRIBE": Unsubscribe,
    "MESSAGE": Message,
    "ACK": Ack,
    "PONG": Pong,
    "TELEMETRY": Telemetry,
}


def read(text: str | bytes | None) -> ClientFrame:
    """Decodes one client frame.

    Raises FrameError (400 or 413) for everything else; unknown fields are ignored, so that newer
    clients can talk to older servers.
    """
    try:
        value = parse(text or "")
    except CodecError as error:
        raise FrameError(413 if error.reason == "SIZE" else 400, Reason(error.reason), str(error)) from None
    if not isinstance(value, dict):
        raise FrameError(400, Reason.FRAME, "a frame is a JSON object")
    kind = value.get("type")
    frame_type = _TYPES.get(kind) if isinstance(kind, str) else None
    ref = value.get("ref")
    ref = ref if type(ref) is int and 0 <= ref <= MAX_SEQ else None
    checked, message_id = value, None
    if frame_type is Message:  # its payload is judged by the exchange, which can name the message
        checked = {name: field for name, field in value.items() if name != "payload"}
        message_id = value.get("id")
        if not isinstance(message_id, str) or not 0 < len(message_id) <= 64:
            message_id = None
    try:
        check(checked, max_nodes=2 * MAX_NODES)
        if frame_type is None:
            raise FrameError(400, Reason.TYPE, "unknown frame type", ref=ref)
        return msgspec.convert(value, frame_type)  # type: ignore[return-value]
    except CodecError as error:
        raise FrameError(400, Reason.JSON, str(error), ref=ref, message_id=message_id) from None
    except msgspec.ValidationError as error:
        raise FrameError(400, Reason.FRAME, str(error), ref=ref, message_id=message_id) from None


def welcome(
    *,
    session: str,
    node: str,
    clock: int,
    heartbeat_ms: int,
    streams: list[str],
    limits: dict[str, int],
    identity: str | None,
    key: str | None = None,
) -> str:
    frame: dict[str, Any] = {
        "type": "WELCOME",
        "session": session,
        "node": node,
        "clock": clock,
        "heartbeat_ms": heartbeat_ms,
        "streams": streams,
        "limits": limits,
    }
    if identity is not None:
        frame["identity"] = identity
    if key is not None:
        frame["key"] = key
    return encode(frame)


def subscribed(ref: int) -> str:
    return f'{{"type":"SUBSCRIBED","ref":{ref}}}'


def unsubscribed(ref: int) -> str:
    return f'{{"type":"UNSUBSCRIBED","ref":{ref}}}'


def snapshot(
    stream: str, position: Position, reason: Resync, text: str, *, exact: bool = True, partial: bool = False
) -> str:
    """SYNC_SNAPSHOT in one frame; `text` is the state as JSON ("null" = start from nothing)."""
    head = _snapshot_head(stream, position, reason, exact, partial)
    return f'{head},"payload":{text}}}'


def snapshot_part(
    stream: str, position: Position, reason: Resync, chunk: str, part: int, parts: int, *, exact: bool
) -> str:
    """One part of a large SYNC_SNAPSHOT; the chunks, joined, are the JSON of the state."""
    head = _snapshot_head(stream, position, reason, exact, False)
    return f'{head},"part":{part},"parts":{parts},"chunk":{encode(chunk)}}}'


def _snapshot_head(stream: str, position: Position, reason: Resync, exact: bool, partial: bool) -> str:
    return (
        f'{{"type":"SYNC_SNAPSHOT","stream":"{stream}","epoch":"{position.epoch}","seq":{position.seq},'
        f'"checksum":{position.checksum},"reason":"{reason}","exact":{"true" if exact else "false"},'
        f'"partial":{"true" if partial else "false"}'
    )


def ack(message_id: str, epoch: str | None, seq: int | None, result: str, *, duplicate: bool) -> str:
    """The answer to a message that took effect; `result` is what its handler returned, as JSON."""
    where = f'"epoch":"{epoch}","seq":{seq}' if seq is not None else '"epoch":null,"seq":null'
    return (
        f'{{"type":"ACK","id":"{message_id}",{where},"result":{result},'
        f'"duplicate":{"true" if duplicate else "false"}}}'
    )


def reject(
    message_id: str,
    code: int,
    reason: str,
    detail: Any = None,
    *,
    retry: bool = False,
    retry_after_ms: int = 0,
) -> str:
    """The answer to a message that took no effect; `retry` = send it again, same id."""
    frame: dict[str, Any] = {
        "type": "REJECT",
        "id": message_id,
        "code": code,
        "reason": reason,
        "detail": detail,
        "retry": retry,
    }
    if retry:
        frame["retry_after_ms"] = retry_after_ms
    return encode(frame)


def error(
    code: int,
    reason: Reason,
    detail: str = "",
    *,
    ref: int | None = None,
    streams: list[str] | None = None,
    retry_after_ms: int | None = None,
) -> str:
    frame: dict[str, Any] = {"type": "ERROR", "code": code, "reason": reason, "detail": detail}
    if ref is not None:
        frame["ref"] = ref
    if streams is not None:
        frame["streams"] = streams
    if retry_after_ms is not None:
        frame["retry_after_ms"] = retry_after_ms
    return encode(frame)


def ping(t: int, heads: dict[str, Position]) -> str:
    return encode({"type": "PING", "t": t, "heads": {name: head.wire() for name, head in heads.items()}})


def bye(
    code: Close | int,
    reason: str,
    retry_after_ms: tuple[int, int] | None = None,
    *,
    term: int | None = None,
) -> str:
    """Always before a close: servers lose reasons and replace codes. `term`: of the socket that stays."""
    frame: dict[str, Any] = {
        "type": "BYE",
        "code": int(code),
        "reason": reason,
        "reconnect": reconnects(code),
        "retry_after_ms": list(retry_after_ms or (0, 0)),
    }
    if term is not None:
        frame["term"] = term
    return encode(frame)

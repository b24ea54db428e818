"""What the tests of the exchange say and hear."""

from __future__ import annotations

import json
import uuid
from typing import Any

from reconnect_channels.protocol.actions import Action, Send
from reconnect_channels.protocol.exchange import Exchange
from reconnect_channels.protocol.limits import Limits

PRODUCER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def message_id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def hello(**fields: Any) -> str:
    return json.dumps({"type": "HELLO", "protocol": "reconnect.v1", "client_id": "c", **fields})


def subscribe(ref: int, streams: dict[str, Any]) -> str:
    return json.dumps({"type": "SUBSCRIBE", "ref": ref, "streams": streams})


def unsubscribe(ref: int, *streams: str) -> str:
    return json.dumps({"type": "UNSUBSCRIBE", "ref": ref, "streams": streams})


def message(number: int = 1, payload: Any = None, **fields: Any) -> str:
    frame = {"id": message_id(number), "producer": PRODUCER, "n": 1, "stream": "s", "payload": payload}
    return json.dumps({"type": "MESSAGE", **frame, **fields})


def ack(streams: dict[str, Any], **parts: int) -> str:
    return json.dumps({"type": "ACK", "streams": streams, "parts": parts})


def said(actions: list[Action]) -> list[dict[str, Any]]:
    """The frames among these actions."""
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def only(actions: list[Action]) -> dict[str, Any]:
    """The one frame that is the whole answer."""
    (frame,) = said(actions)
    assert len(actions) == 1
    return frame


def opened(now: float = 0.0, limits: Limits | None = None, **streams: Any) -> Exchange:
    """An exchange after a good HELLO."""
    exchange = Exchange(now, limits)
    (greet,) = exchange.receive(hello(streams=streams), now)
    exchange.join(None, greet.claims, now)  # type: ignore[union-attr]
    return exchange

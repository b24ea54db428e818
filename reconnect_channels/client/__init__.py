"""An asyncio client for services, tests and load, with the guarantees of the browser's.

    async with connect("wss://example.org/ws/board/1/", cookies={"sessionid": …}) as client:
        client.subscribe("board:1", on_snapshot=show, on_entries=apply)
        answer = await client.send("board:1", {"move": 7})  # resolves even across an outage

Needs the `client` extra (websockets); works without Django.
"""

from .client import Client, connect
from .errors import (
    ClientError,
    Closed,
    HandlerError,
    HandshakeError,
    OutcomeUnknown,
    QueueOverflow,
    Refused,
    Rejected,
    ServerError,
)
from .frames import Entry
from .lifecycle import State, StateTransitionError, calculate_backoff
from .outbox import Answer
from .subscription import Stream, Subscription
from .tracker import Entries, Snapshot

__all__ = [
    "Answer",
    "Client",
    "ClientError",
    "Closed",
    "Entries",
    "Entry",
    "HandlerError",
    "HandshakeError",
    "OutcomeUnknown",
    "QueueOverflow",
    "Refused",
    "Rejected",
    "ServerError",
    "Snapshot",
    "State",
    "StateTransitionError",
    "Stream",
    "Subscription",
    "calculate_backoff",
    "connect",
]

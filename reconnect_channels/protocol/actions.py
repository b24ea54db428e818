"""What an exchange wants done (design 6): its shell, `live.connection`, performs these in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import frames, telemetry
from .codes import Reason
from .position import Position
from .subscription import Drift, Subscription


@dataclass(frozen=True)
class Send:
    """Send this text."""

    text: str


@dataclass(frozen=True)
class Refuse(Send):
    """Send this REJECT of a message that isn't looked at further."""

    stream: str
    code: int
    reason: Reason
    retry: bool


@dataclass(frozen=True)
class Greet:
    """A good HELLO came: send WELCOME, then join `streams` and those of `get_streams()`."""

    hello: frames.Hello
    claims: Mapping[str, Position | None]


@dataclass(frozen=True)
class Join:
    """Ask for the right to these streams, answer SUBSCRIBED `ref`, then recover each."""

    ref: int | None
    subscriptions: list[Subscription]
    claims: Mapping[str, Position | None]


@dataclass(frozen=True)
class Leave:
    """Nothing more of these streams."""

    subscriptions: list[Subscription]


@dataclass(frozen=True)
class Deliver:
    """Run the message's handler and answer it."""

    message: frames.Message


@dataclass(frozen=True)
class Wake:
    """The client made room on this stream: go on where it waits."""

    subscription: Subscription


@dataclass(frozen=True)
class Resync:
    """The client proved by the position that it holds another history: give it a snapshot."""

    subscription: Subscription
    position: Position


@dataclass(frozen=True)
class Drifting:
    """The client's drift is another one from now on."""

    drift: Drift


@dataclass(frozen=True)
class Ping:
    """Time for a heartbeat: send PING with the heads that were verified lately."""


@dataclass(frozen=True)
class Report:
    """The client's own measurements, as `telemetry` lets them through."""

    metrics: Mapping[str, float]
    environment: str | None = None
    transitions: tuple[telemetry.Transition, ...] = ()


@dataclass(frozen=True)
class Ignore:
    """A report isn't looked at: it comes too soon after another one, or says nothing that is known."""


@dataclass(frozen=True)
class Bye:
    """Send BYE, then close with its code."""

    code: int
    reason: str
    retry_after_ms: tuple[int, int] = (0, 0)
    term: int | None = None  # of the socket that supersedes this one


Action = Send | Greet | Join | Leave | Deliver | Wake | Resync | Drifting | Ping | Report | Ignore | Bye

"""The exchange of one connection as a state machine: events in, actions out (design 6).

It knows nothing of sockets, tasks or tables. The shell (`live.connection`) feeds it frames and the
time and performs what it returns, in order; so every order of events can be tested without a socket.

    AWAITING_HELLO --HELLO--> OPEN --BYE--> CLOSED
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any

from . import frames, telemetry
from .actions import (
    Action,
    Bye,
    Deliver,
    Drifting,
    Greet,
    Ignore,
    Join,
    Leave,
    Ping,
    Refuse,
    Report,
    Resync,
    Send,
    Wake,
)
from .bucket import TokenBucket
from .clock import LamportClock
from .codec import CodecError, check, encode
from .codes import Close, Reason
from .limits import Limits
from .position import InvalidPosition, Position, parse
from .subscription import Drift, State, Subscription

REPORT_INTERVAL = 10.0  # seconds between two reports that are looked at
MAX_TURN = 10.0  # seconds that a message over the rate is sent away for at most


class Phase(Enum):
    AWAITING_HELLO = auto()
    OPEN = auto()
    CLOSED = auto()


class Exchange:
    """The server's side of one `reconnect.v1` conversation."""

    def __init__(self, now: float, limits: Limits | None = None, clock: LamportClock | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock or LamportClock()
        self.phase = Phase.AWAITING_HELLO
        self.hello: frames.Hello | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.drift = Drift.NONE  # of the worst of them
        self._opened = now
        self._heard = now
        self._pinged = now
        self._bucket = TokenBucket(self.limits.rate, self.limits.burst, now)
        self._next_turn = now
        self._reported = -math.inf

    # -- frames ------------------------------------------------------------------------------------

    def receive(self, text: str | bytes | None, now: float) -> list[Action]:
        """Takes one text frame of the client. Never raises: a bad frame is answered (design 13)."""
        if self.phase is Phase.CLOSED:
            return []
        self._heard = now
        try:
            frame = frames.read(text)
        except frames.FrameError as error:
            if error.message_id is not None:
                return [Send(frames.reject(error.message_id, error.code, error.reason, error.detail))]
            return [Send(frames.error(error.code, error.reason, error.detail, ref=error.ref))]
        if isinstance(frame, frames.Hello):
            return self._hello(frame)
        if self.phase is Phase.AWAITING_HELLO:
            return [Send(frames.error(400, Reason.HELLO, "the first frame is HELLO"))]
        match frame:
            case frames.Ack():
                return self._acknowledge(frame.streams, frame.parts, now)
            case frames.Pong():
                actions = self._acknowledge(frame.streams, {}, now)
                for subscription in self.subscriptions.values():
                    subscription.spoke(now, self.limits.lag_grace)
                return actions + self.judge_drift()
            case frames.Message():
                return self._message(frame, now)
            case frames.Subscribe():
                return self._subscribe(frame, now)
            case frames.Unsubscribe():
                return self._unsubscribe(frame)
            case frames.Telemetry():
                return self._report(frame, now)

    def _hello(self, hello: frames.Hello) -> list[Action]:
        if self.phase is not Phase.AWAITING_HELLO:
            return [Send(frames.error(400, Reason.HELLO, "HELLO was said already"))]
        if hello.protocol != frames.SUBPROTOCOL:
            return self.close(Close.BAD_PROTOCOL, f"this server speaks {frames.SUBPROTOCOL}")
        if len(hello.streams) > self.limits.max_streams:
            return [
                Send(frames.error(413, Reason.LIMIT, f"at most {self.limits.max_streams} streams a socket"))
            ]
        claims, malformed = self._claims(hello.streams)
        self.phase = Phase.OPEN
        self.hello = hello
        if malformed:
            return self.invalid_seq(malformed)
        return [Greet(hello, claims)]

    def join(
        self, ref: int | None, claims: Mapping[str, Position | None], now: float
    ) -> tuple[Join, list[Subscription]]:
        """Makes a subscription for each claim; returns the action and those that it replaces."""
        replaced = [self.end(name) for name in claims if name in self.subscriptions]
        made = [Subscription(name, ref, now) for name in claims]
        self.subscriptions.update((subscription.name, subscription) for subscription in made)
        return Join(ref, made, claims), replaced

    def end(self, name: str) -> Subscription:
        """Takes a subscription off the books."""
        subscription = self.subscriptions.pop(name)
        subscription.state = State.ENDED
        return subscription

    def _subscribe(self, frame: frames.Subscribe, now: float) -> list[Action]:
        if len(self.subscriptions.keys() | frame.streams.keys()) > self.limits.max_streams:
            text = f"at most {self.limits.max_streams} streams a socket"
            refusal = frames.error(413, Reason.LIMIT, text, ref=frame.ref, streams=list(frame.streams))
            ended = [self.end(name) for name in frame.streams if name in self.subscriptions]
            leave: list[Action] = [Leave(ended)] if ended else []
            return [*leave, Send(frames.subscribed(frame.ref)), Send(refusal)]
        claims, malformed = self._claims(frame.streams)
        if malformed:
            return self.invalid_seq(malformed, frame.ref)
        action, replaced = self.join(frame.ref, claims, now)
        return [Leave(replaced), action] if replaced else [action]

    def _unsubscribe(self, frame: frames.Unsubscribe) -> list[Action]:
        left = [self.end(name) for name in dict.fromkeys(frame.streams) if name in self.subscriptions]
        answer = Send(frames.unsubscribed(frame.ref))
        return [Leave(left), answer] if left else [answer]

    @staticmethod
    def _claims(raw: Mapping[str, Any]) -> tuple[dict[str, Position | None], list[str]]:
        claims: dict[str, Position | None] = {}
        malformed = []
        for name, value in raw.items():
            try:
                claims[name] = parse(value)
            except InvalidPosition:
                malformed.append(name)
        return claims, malformed

    def _acknowledge(self, raw: Mapping[str, Any], parts: Mapping[str, int], now: float) -> list[Action]:
        actions: list[Action] = []
        for name, part in parts.items():
            subscription = self.subscriptions.get(name)
            if subscription is not None and part > subscription.part_acked:
                subscription.part_acked = part
                subscription.progressed = now
                actions.append(Wake(subscription))
        claims, malformed = self._claims(raw)
        if malformed:
            text = "a position is {epoch, last_seq_id, checksum} or null"
            actions.append(Send(frames.error(400, Reason.INVALID_SEQ, text, streams=malformed)))
        moved = False
        for name, position in claims.items():
            subscription = self.subscriptions.get(name)
            if subscription is None or position is None:
                continue
            before = subscription.drift
            proven = subscription.acknowledge(position, now)
            moved = moved or subscription.drift is not before
            # Until the snapshot is acknowledged, further mismatches are of the same drift.
            if not proven and before is not Drift.DIVERGED:
                actions.append(Resync(subscription, position))
            elif subscription.state is State.CATCHING_UP and subscription.has_credit:
                actions.append(Wake(subscription))
        return actions + self.judge_drift() if moved else actions

    def judge_drift(self) -> list[Action]:
        """Says it when the client's drift changed; for whoever changed that of a subscription."""
        drift = Drift.worst(each.drift for each in self.subscriptions.values())
        if drift is self.drift:
            return []
        self.drift = drift
        return [Drifting(drift)]

    def _message(self, message: frames.Message, now: float) -> list[Action]:
        wait = self._bucket.take(now)
        if wait:
            text = f"more than {self.limits.rate:g} messages a second"
            after = int(self._turn(wait, now) * 1000) + 1
            return [self._refuse(message, 429, Reason.RATE, text, retry_after_ms=after)]
        if not self.clock.plausible(message.clock):
            return [self._refuse(message, 400, Reason.CLOCK, "the clock is too far ahead")]
        try:
            check(message.payload)
        except CodecError as error:
            return [self._refuse(message, 400, Reason.JSON, str(error))]
        if len(encode(message.payload).encode()) > self.limits.max_message:
            return [self._refuse(message, 413, Reason.SIZE, f"more than {self.limits.max_message} bytes")]
        self.clock.observe(message.clock)
        return [Deliver(message)]

    def _turn(self, wait: float, now: float) -> float:
        """How long a message over the rate waits: one turn after the one refused before it.

        All who wait for the next token would come back for it at once: a tab that speaks for others sends
        for many producers, and most of them would be refused again. Nobody is sent away for longer than the
        bucket takes to be full: what it gains meanwhile is still there.
        """
        turn = max(self._next_turn, now + wait)
        latest = now + min(MAX_TURN, self.limits.burst / self.limits.rate)
        self._next_turn = min(turn + 1 / self.limits.rate, latest)
        return turn - now

    def _report(self, frame: frames.Telemetry, now: float) -> list[Action]:
        if now - self._reported < REPORT_INTERVAL:
            return [Ignore()]
        self._reported = now
        metrics = telemetry.sane(frame.metrics)
        transitions = telemetry.transitions(frame.transitions)
        if not metrics and not transitions:
            return [Ignore()]
        return [Report(metrics, telemetry.environment(frame.environment), transitions)]

    @staticmethod
    def _refuse(
        message: frames.Message, code: int, reason: Reason, detail: str, retry_after_ms: int = 0
    ) -> Refuse:
        retry = retry_after_ms > 0
        text = frames.reject(message.id, code, reason, detail, retry=retry, retry_after_ms=retry_after_ms)
        return Refuse(text, message.stream, code, reason, retry)

    # -- endings -----------------------------------------------------------------------------------

    def invalid_seq(self, streams: Iterable[str], ref: int | None = None) -> list[Action]:
        """All offending streams in one ERROR, then one close 4000 (design 5.6)."""
        text = "no such position; forget it and come back"
        refusal = frames.error(400, Reason.INVALID_SEQ, text, ref=ref, streams=sorted(streams))
        return [Send(refusal), *self.close(Close.INVALID_SEQ, Reason.INVALID_SEQ)]

    def close(
        self,
        code: Close,
        reason: str,
        retry_after_ms: tuple[int, int] = (0, 0),
        *,
        term: int | None = None,
    ) -> list[Action]:
        """Ends the exchange; later frames are ignored."""
        if self.phase is Phase.CLOSED:
            return []
        self.phase = Phase.CLOSED
        left = [self.end(name) for name in list(self.subscriptions)]
        bye = Bye(code, reason, retry_after_ms, term)
        return [Leave(left), bye] if left else [bye]

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """What the time asks for: heartbeat, or the end of a peer that says or takes nothing."""
        limits = self.limits
        if self.phase is Phase.AWAITING_HELLO:
            if now - self._opened >= limits.hello_timeout:
                return self.close(Close.NO_HELLO, "no HELLO")
            return []
        if self.phase is Phase.CLOSED:
            return []
        if now - self._heard >= limits.heartbeat + limits.dead_after:
            return self.close(Close.STALLED, "silent")
        for subscription in self.subscriptions.values():
            if not subscription.waiting:
                subscription.progressed = now
            elif now - subscription.progressed >= limits.ack_timeout:
                return self.close(Close.STALLED, "no ACK progress")
        if now - self._pinged >= limits.heartbeat:
            self._pinged = now
            return [Ping()]
        return []

"""Messages on their way: numbered, in order, kept until they are answered (protocol 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from reconnect_channels.protocol.bucket import TokenBucket
from reconnect_channels.protocol.codes import Reason

from .errors import ClientError, Closed, OutcomeUnknown, QueueOverflow, Rejected
from .lifecycle import jitter

MAX_MESSAGES = 1_000
MAX_BYTES = 8 << 20
MAX_FAILURES = 5
RETRY_AFTER = 0.25
ANSWER_WAIT = 10.0  # an answer can get lost on a living connection: then ask again, ever more slowly
LONGEST_ANSWER_WAIT = 80.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's ack: the message took effect, once. `duplicate` = an earlier transmission did it."""

    id: str
    epoch: str | None
    seq: int | None
    result: Any
    duplicate: bool


@dataclass(slots=True, eq=False)
class Message:
    """One message. `n` and `clock` are given when it is first transmitted, and stay."""

    id: str
    stream: str
    text: str  # the payload as JSON
    n: int = 0
    clock: int = 0
    in_flight: bool = False
    retry_at: float = 0.0
    overdue_at: float = 0.0
    transmissions: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Lane:
    """The numbers of one stream: given out, and those that need no answer any more."""

    given: int = 0
    settled: int = 0
    ahead: set[int] = field(default_factory=set)

    def settle(self, n: int) -> None:
        self.ahead.add(n)
        while self.settled + 1 in self.ahead:
            self.settled += 1
            self.ahead.remove(self.settled)


class Outbox:
    """Holds messages until they are answered and says which to transmit now."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self.producer = str(uuid4())
        self.in_flight = 0
        self.size = 0
        self.wake_at: float | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sent: dict[str, Message] = {}  # in the order of their first transmission
        self._queued: dict[str, Message] = {}
        self._lanes: dict[str, _Lane] = {}
        self._bucket: TokenBucket | None = None
        self._max_in_flight = 0

    def __len__(self) -> int:
        return len(self._sent) + len(self._queued)

    def put(self, stream: str, text: str) -> tuple[Message, list[Message]]:
        """Adds a message; returns it and the never-sent ones that had to go for it, oldest first.

        Raises QueueOverflow when only messages that were sent could go: they may have taken effect.
        """
        count, size = len(self) + 1 - self._max_messages, self.size + len(text) - self._max_bytes
        evicted: list[Message] = []
        for message in self._queued.values():
            if len(evicted) >= count and size <= 0:
                break
            evicted.append(message)
            size -= len(message.text)
        if len(evicted) < count or size > 0:
            raise QueueOverflow("every message in the outbox awaits its answer")
        for message in evicted:
            self._remove(message)
        message = Message(str(uuid4()), stream, text)
        self._queued[message.id] = message
        self.size += len(text)
        return message, evicted

    def withdraw(self, message_id: str) -> bool:
        """Takes back a message that was never sent; one that was stays until it is answered."""
        message = self._queued.get(message_id)
        if message is not None:
            self._remove(message)
        return message is not None

    def open(self, rate: float, burst: float, in_flight: int, now: float) -> None:
        """WELCOME: transmission may begin, first of everything that was sent and not answered."""
        self.close()
        self._bucket = TokenBucket(max(rate, 0.1), max(burst, 1), now)
        self._max_in_flight = max(in_flight, 1)

    def close(self) -> None:
        """The connection ended; what was in flight will be sent again."""
        self._bucket = None
        self.wake_at = None
        self.in_flight = 0
        for message in self._sent.values():
            message.in_flight = False
            message.retry_at = 0.0

    def due(self, now: float, ready_at: Callable[[str], float], tick: Callable[[], int]) -> list[Message]:
        """The messages to transmit now, in order; then `wake_at` says when to ask again.

        `ready_at` is the time from which a stream's messages may go. One that must wait holds back the
        later ones of its stream, never those of others.
        """
        self.wake_at = None
        if self._bucket is None:
            return []
        for message in self._sent.values():
            if message.in_flight and message.overdue_at <= now:
                self._again(message, now)
            elif message.in_flight:
                self._wake(message.overdue_at)
        chosen: list[Message] = []
        blocked: set[str] = set()
        for message in (*self._sent.values(), *self._queued.values()):
            if self.in_flight >= self._max_in_flight:
                break
            if message.in_flight or message.stream in blocked:
                continue
            at = max(message.retry_at, ready_at(message.stream))
            if at > now:
                blocked.add(message.stream)
                self._wake(at)
                continue
            if wait := self._bucket.take(now):
                self._wake(now + wait)
                break
            self._transmit(message, now, tick)
            chosen.append(message)
        return chosen

    def _wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)

    def _transmit(self, message: Message, now: float, tick: Callable[[], int]) -> None:
        if not message.n:
            lane = self._lanes.setdefault(message.stream, _Lane())
            lane.given += 1
            message.n = lane.given
            message.clock = tick()
            self._sent[message.id] = self._queued.pop(message.id)
        message.in_flight = True
        message.overdue_at = now + min(ANSWER_WAIT * 2**message.transmissions, LONGEST_ANSWER_WAIT)
        self._wake(message.overdue_at)
        message.transmissions += 1
        self.in_flight += 1

    def frame(self, message: Message) -> str:
        """The MESSAGE frame; names and ids need no escaping."""
        return (
            f'{{"type":"MESSAGE","id":"{message.id}","producer":"{self.producer}","n":{message.n},'
            f'"stream":"{message.stream}","settled":{self._lanes[message.stream].settled},'
            f'"clock":{message.clock},"payload":{message.text}}}'
        )

    def acknowledge(self, message_id: str) -> Message | None:
        """ACK; None for a repeat of an answer."""
        message = self._sent.get(message_id)
        if message is not None:
            self._remove(message)
        return message

    def reject(
        self, message_id: str, code: int, reason: str, detail: Any, retry_after: float | None, now: float
    ) -> Rejected | None:
        """REJECT; returns the error if it is final. `retry_after` (seconds) is None where it is."""
        message = self._sent.get(message_id)
        if message is None:
            return None
        if reason == Reason.FAILED:
            message.failures += 1
        if retry_after is None or message.failures >= MAX_FAILURES:
            self._remove(message)
            return Rejected(code, reason, detail, message_id)
        self._again(message, now + jitter(max(retry_after, RETRY_AFTER * message.failures)))
        if reason == Reason.ORDER:  # from the oldest unanswered one
            for earlier in self._sent.values():
                if earlier.stream == message.stream and earlier.n < message.n and earlier.in_flight:
                    self._again(earlier, message.retry_at)
        return None

    def _again(self, message: Message, at: float) -> None:
        if message.in_flight:
            message.in_flight = False
            self.in_flight -= 1
        message.retry_at = at

    def _remove(self, message: Message) -> None:
        if message.in_flight:
            self.in_flight -= 1
        self._sent.pop(message.id, None)
        self._queued.pop(message.id, None)
        self.size -= len(message.text)
        if message.n:
            self._lanes[message.stream].settle(message.n)

    def abandon(self, closed: Closed) -> dict[str, ClientError]:
        """Empties the outbox: what each message ends with."""
        outcome: dict[str, ClientError] = {}
        for message in (*self._sent.values(), *self._queued.values()):
            outcome[message.id] = OutcomeUnknown(str(closed)) if message.n else closed
            self._remove(message)
        return outcome

"""One client's conversation over all its connections, without any I/O: frames and time in, actions out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from reconnect_channels.protocol import frames
from reconnect_channels.protocol.clock import LamportClock
from reconnect_channels.protocol.codec import encode, encode_payload
from reconnect_channels.protocol.codes import Close, Reason, reconnects
from reconnect_channels.protocol.position import InvalidPosition, Position, parse

from .errors import ClientError, Closed, Refused, ServerError
from .frames import Ack, Bye, Delta, Error, Limits, Ping, Reject, Reply, State, Unreadable, Welcome, read
from .lifecycle import Ending, jitter
from .outbox import RETRY_AFTER, Answer, Message, Outbox
from .tracker import Delivery, Entries, Not, Tracker

STREAM_WAIT = 10.0  # a message waits that long for the sync of its stream
MEND_AGAIN_AFTER = 10.0  # seconds that a stream was live
HEALS_FROM_POSITION = 3
HEALS_ON_CONNECTION = 6
INVALID_SEQ_WINDOW = 60.0


@dataclass(frozen=True, slots=True)
class Transmit:
    text: str


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The connection is open for business."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this to the stream's subscribers, and come back with `finished`."""

    tracker: Tracker
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Settle:
    """The fate of a message."""

    message_id: str
    outcome: Answer | ClientError


@dataclass(frozen=True, slots=True)
class Deny:
    """The server refuses a stream."""

    error: Refused


@dataclass(frozen=True, slots=True)
class Report:
    """Something the application should know."""

    error: ClientError


@dataclass(frozen=True, slots=True)
class Lost:
    """The server acknowledged this message and its entry is not where the ack said."""

    stream: str
    message_id: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection: BYE came, or it is beyond repair."""


Action = Transmit | Welcomed | Deliver | Settle | Deny | Report | Lost | HangUp


def _name(stream: str) -> str:
    if not frames.STREAM_NAME.match(stream):
        raise ValueError(f"{stream!r} is not the name of a stream")
    return stream


class Session:
    """What a client knows and owes: positions, outbox, clock, identity. Outlives its connections.

    Among the actions of one event, transmissions come before those that call the application, which
    may send: so frames leave in the order in which their numbers were given.
    """

    def __init__(self, outbox: Outbox | None = None, client_id: str | None = None) -> None:
        self.client_id = client_id or str(uuid4())
        self.identity: str | None = None
        self.node = ""
        self.outbox = Outbox() if outbox is None else outbox
        self.clock = LamportClock()
        self.limits = Limits()
        self.trackers: dict[str, Tracker] = {}
        self.metrics: Counter[str] = Counter()
        self.welcomed = False
        self._attempt = 0
        self._ref = 0
        self._bye: Bye | None = None
        self._invalid: set[str] = set()
        self._invalid_seqs: list[float] = []

    # -- what the application does -------------------------------------------------------------------

    def subscribe(self, name: str, now: float) -> list[Action]:
        """Follows a stream. One that is followed already is asked for its state again."""
        tracker = self.trackers.get(_name(name))
        if tracker is None:
            tracker = self.trackers[name] = Tracker(name)
            tracker.behind_since = now
        else:
            tracker.forget()
            tracker.refusal = None
        return self._ask([tracker], now)

    def unsubscribe(self, name: str) -> list[Action]:
        """Follows it no longer. Frames that are under way find nobody."""
        if self.trackers.pop(name, None) is None or not self.welcomed:
            return []
        self._ref += 1
        return [Transmit(encode({"type": "UNSUBSCRIBE", "ref": self._ref, "streams": [name]}))]

    def send(self, stream: str, payload: Any, now: float) -> tuple[Message, list[Message], list[Action]]:
        """Queues a message; returns it, those evicted for it, and what to do now.

        Raises QueueOverflow, ValueError for a bad name, CodecError for a payload that can't travel.
        """
        text = encode_payload(payload, max_size=self.limits.message_bytes)
        message, evicted = self.outbox.put(_name(stream), text)
        self.metrics["evicted"] += len(evicted)
        return message, evicted, self.flush(now)

    def finished(self, tracker: Tracker, delivery: Delivery, now: float) -> list[Action]:
        """The subscribers are through with a delivery."""
        position = tracker.finish(delivery, self.limits.ack_entries, self.limits.ack_bytes, now)
        if not self.welcomed:
            return []
        if tracker.held and not self._overfull(tracker):
            return self._ask([tracker], now)
        if position is None or tracker.awaiting or self.trackers.get(tracker.name) is not tracker:
            return []
        return [Transmit(encode({"type": "ACK", "streams": {tracker.name: position.wire()}}))]

    def failed(self, tracker: Tracker, now: float) -> list[Action]:
        """A handler raised: its state may be wrong, so ask for a snapshot, once (protocol 5.6)."""
        tracker.broken = True
        if tracker.mended and not (tracker.live and now - tracker.live_since >= MEND_AGAIN_AFTER):
            return []
        tracker.mended = True
        tracker.forget()
        return self._ask([tracker], now)

    # -- connections ----------------------------------------------------------------------------------

    def open(self, now: float) -> str:
        """A socket is there: the HELLO that resumes everything."""
        self._attempt += 1
        self._bye = None
        self._invalid.clear()
        resumed: dict[str, Any] = {}
        for tracker in self.trackers.values():
            tracker.held = self._overfull(tracker)
            if tracker.refusal is None and not tracker.held:
                tracker.ask(None, now)
                resumed[tracker.name] = tracker.position and tracker.position.wire()
        hello: dict[str, Any] = {
            "type": "HELLO",
            "protocol": frames.SUBPROTOCOL,
            "client_id": self.client_id,
            "term": 0,
            "attempt": self._attempt,
            "clock": self.clock.now,
            "streams": resumed,
        }
        if self.identity is not None:
            hello["identity"] = self.identity
        return encode(hello)

    def close(self, code: int, now: float) -> Ending:
        """The socket is gone; says how it ended and forgets what the server called impossible."""
        self.welcomed = False
        self.outbox.close()
        for tracker in self.trackers.values():
            tracker.disconnect(now)
        bye = self._bye
        if bye is None:
            ending = Ending(code, reconnect=reconnects(code))
        else:
            low, high = sorted(max(0.0, ms / 1000) for ms in bye.retry_after_ms)
            window = (low, high) if high else None  # [0, 0] is no window: back off
            ending = Ending(bye.code, bye.reason, bye.reconnect, window)
        if ending.code != Close.INVALID_SEQ:
            return ending
        self._invalid_seqs = [at for at in self._invalid_seqs if now - at < INVALID_SEQ_WINDOW] + [now]
        named = [self.trackers[name] for name in self._invalid if name in self.trackers]
        for tracker in named if named and len(self._invalid_seqs) == 1 else self.trackers.values():
            tracker.forget()
        if len(self._invalid_seqs) > 2:
            return ending
        return Ending(ending.code, ending.reason, ending.reconnect, ending.window, promptly=True)

    def give_up(self, closed: Closed) -> list[Action]:
        """Ends every message."""
        return [Settle(message_id, outcome) for message_id, outcome in self.outbox.abandon(closed).items()]

    # -- frames ---------------------------------------------------------------------------------------

    def receive(self, text: str | bytes, now: float) -> list[Action]:
        """Takes one frame of the server. Never raises: what can't be read is counted and ignored."""
        try:
            frame = read(text)
        except Unreadable:
            self.metrics["bad_frames"] += 1
            return []
        match frame:
            case Welcome():
                return self._welcome(frame, now)
            case Delta() | State():
                return self._sync(frame, len(text), now)
            case Ack():
                return self._ack(frame, now)
            case Reject():
                return self._reject(frame, now)
            case Ping():
                return self._ping(frame, now)
            case Reply():
                for tracker in self.trackers.values():
                    if tracker.awaiting and tracker.ref == frame.ref:
                        tracker.awaiting = False
                return []
            case Error():
                return self._error(frame, now)
            case Bye():
                self._bye = frame
                return [HangUp()]
            case None:
                self.metrics["unknown_frames"] += 1
                return []

    def _welcome(self, frame: Welcome, now: float) -> list[Action]:
        if self.welcomed:
            return []
        self.welcomed = True
        self.limits = frame.limits
        self.node = frame.node
        self.identity = frame.identity or self.identity
        self.clock.observe(frame.clock)
        later = []
        for tracker in self.trackers.values():
            tracker.behind_since = now
            if tracker.awaiting and tracker.ref is None:
                tracker.awaiting = False
            elif tracker.refusal is None and not tracker.held:
                later.append(tracker)  # subscribed to after HELLO
        for name in frame.streams:
            if name not in self.trackers:
                self.trackers[name] = Tracker(name)
                self.trackers[name].behind_since = now
        self.outbox.open(frame.limits.rate, frame.limits.burst, frame.limits.in_flight, now)
        return [*self._ask(later, now), *self.flush(now), Welcomed()]

    def _sync(self, frame: Delta | State, size: int, now: float) -> list[Action]:
        tracker = self.trackers.get(frame.stream)
        if tracker is None or tracker.awaiting or not self.welcomed:
            return []
        if isinstance(frame, State):
            outcome = tracker.snapshot(frame, size)
        else:
            outcome = tracker.delta(frame, size, now)
        if outcome is Not.NEW:
            self.metrics["repeats"] += 1
            return []
        if isinstance(outcome, Not):
            return self._heal(tracker, now)
        if isinstance(outcome, int):
            return [Transmit(encode({"type": "ACK", "streams": {}, "parts": {tracker.name: outcome}}))]
        actions: list[Action] = [Deliver(tracker, outcome)]
        item = outcome.item
        if isinstance(item, Entries):
            self.metrics["entries"] += len(item)
            for entry in item:
                self.clock.observe(entry.clock)
            for message_id in tracker.lost(item):
                self.metrics["lost"] += 1
                actions.append(Lost(tracker.name, message_id))
            if item.complete:
                return self.flush(now) + actions
        else:
            self.metrics["snapshots"] += 1
        return actions

    def _heal(self, tracker: Tracker, now: float) -> list[Action]:
        self.metrics["heals"] += 1
        tracker.heals += 1
        if tracker.heals > HEALS_ON_CONNECTION:
            tracker.heals = 0
            return [HangUp()]
        if tracker.heals > HEALS_FROM_POSITION:
            tracker.forget()
        return self._ask([tracker], now)

    def _ack(self, frame: Ack, now: float) -> list[Action]:
        message = self.outbox.acknowledge(frame.id)
        if message is None:
            return []
        self.metrics["acked"] += 1
        self.metrics["duplicates"] += frame.duplicate
        tracker = self.trackers.get(message.stream)
        if tracker is not None and frame.epoch is not None and frame.seq is not None:
            tracker.expect(frame.id, frame.epoch, frame.seq)
        answer = Answer(frame.id, frame.epoch, frame.seq, frame.result, frame.duplicate)
        return [Settle(frame.id, answer), *self.flush(now)]

    def _reject(self, frame: Reject, now: float) -> list[Action]:
        after = None
        if frame.retry:
            after = RETRY_AFTER if frame.retry_after_ms is None else max(0.0, frame.retry_after_ms / 1000)
        final = self.outbox.reject(frame.id, frame.code, frame.reason, frame.detail, after, now)
        self.metrics["retries" if final is None else "rejected"] += 1
        settled: list[Action] = [] if final is None else [Settle(frame.id, final)]
        return settled + self.flush(now)

    def _ping(self, frame: Ping, now: float) -> list[Action]:
        applied = {
            name: tracker.applied.wire()
            for name, tracker in self.trackers.items()
            if tracker.applied is not None
        }
        actions: list[Action] = [Transmit(encode({"type": "PONG", "t": frame.t, "streams": applied}))]
        for name, tracker in self.trackers.items():
            if tracker.live:
                tracker.unverified = name not in frame.heads
        for name, raw in frame.heads.items():
            try:
                head = parse(raw)
            except InvalidPosition:
                continue
            found = self.trackers.get(name)
            if head is not None and found is not None and found.refusal is None and found.misses(head):
                actions += self._heal(found, now)
        return actions

    def _error(self, frame: Error, now: float) -> list[Action]:
        self.metrics["errors"] += 1
        if frame.reason == Reason.INVALID_SEQ:
            self._invalid.update(frame.streams)
            return []
        actions: list[Action] = []
        if not frame.streams:
            actions.append(Report(ServerError(frame.code, frame.reason, str(frame.detail or ""))))
        for name in frame.streams:
            tracker = self.trackers.get(name)
            if tracker is None or (tracker.awaiting and tracker.ref != frame.ref):
                continue
            if frame.ref is not None and tracker.ref != frame.ref:
                continue
            tracker.awaiting = False
            tracker.disconnect(now)
            if frame.code in (429, 503):
                delay = 1.0 if frame.retry_after_ms is None else max(0.0, frame.retry_after_ms / 1000)
                tracker.retry_at = now + jitter(delay)
            else:
                tracker.refusal = Refused(name, frame.code, frame.reason, str(frame.detail or ""))
                actions.append(Deny(tracker.refusal))
        return self.flush(now) + actions

    # -- time -----------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When `tick` is wanted next."""
        times = [tracker.retry_at for tracker in self.trackers.values() if tracker.retry_at is not None]
        if self.outbox.wake_at is not None:
            times.append(self.outbox.wake_at)
        return min(times, default=None) if self.welcomed else None

    def tick(self, now: float) -> list[Action]:
        """Does what the time asks for."""
        if not self.welcomed:
            return []
        again = [
            tracker
            for tracker in self.trackers.values()
            if tracker.retry_at is not None and tracker.retry_at <= now
        ]
        return [*self._ask(again, now), *self.flush(now)]

    def flush(self, now: float) -> list[Action]:
        """Transmits what may go."""
        if not self.welcomed:
            return []
        due = self.outbox.due(now, self._ready_at, self.clock.tick)
        for message in due:
            self.metrics["transmissions"] += 1
            self.metrics["retransmissions"] += message.transmissions > 1
        return [Transmit(self.outbox.frame(message)) for message in due]

    def _ready_at(self, stream: str) -> float:
        tracker = self.trackers.get(stream)
        if tracker is None or tracker.live or tracker.refusal is not None:
            return 0.0
        return tracker.behind_since + STREAM_WAIT

    def _overfull(self, tracker: Tracker) -> bool:
        limits = self.limits
        return (
            tracker.outstanding_entries > limits.window_entries
            or tracker.outstanding_bytes > limits.window_bytes
        )

    def _ask(self, trackers: list[Tracker], now: float) -> list[Action]:
        if not trackers or not self.welcomed:
            return []
        self._ref += 1
        positions: dict[str, Position | None] = {}
        for tracker in trackers:
            tracker.ask(self._ref, now)
            positions[tracker.name] = tracker.position
        streams = {name: position and position.wire() for name, position in positions.items()}
        return [Transmit(encode({"type": "SUBSCRIBE", "ref": self._ref, "streams": streams}))]

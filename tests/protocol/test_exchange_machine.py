"""A client and a shell that do anything in any order, against the promises of the exchange."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconnect_channels.protocol.actions import (
    Action,
    Bye,
    Deliver,
    Drifting,
    Greet,
    Ignore,
    Join,
    Leave,
    Ping,
    Report,
    Resync,
    Send,
    Wake,
)
from reconnect_channels.protocol.clock import MAX_JUMP
from reconnect_channels.protocol.codec import decode
from reconnect_channels.protocol.codes import Close
from reconnect_channels.protocol.exchange import REPORT_INTERVAL, Exchange, Phase
from reconnect_channels.protocol.limits import Limits
from reconnect_channels.protocol.position import Position
from reconnect_channels.protocol.subscription import Drift, State, Subscription

from .strategies import EPOCH, OTHER_EPOCH
from .talk import ack, hello, message, message_id, subscribe, unsubscribe
from .vectors import load, text

LIMITS = Limits(max_streams=4, rate=2, burst=3, max_message=40)
BAD = [text(case) for case in load("frames") if not case["valid"] and "text" in case]

names = st.sampled_from("abcdef")
good_claims = st.none() | st.builds(
    lambda epoch, seq: Position(epoch, seq, seq).wire(),
    st.sampled_from([EPOCH, OTHER_EPOCH]),
    st.integers(0, 50),
)
bad_claims = st.sampled_from(
    [0, "x", [], {}, {"epoch": EPOCH, "last_seq_id": -1, "checksum": 0}, {"epoch": ""}]
)
refs = st.integers(0, 5)


def streams(*, bad: bool = False, most: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(names, good_claims | bad_claims if bad else good_claims, max_size=most)


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.exchange = Exchange(self.now, LIMITS)
        self.joined: dict[str, Subscription] = {}  # as a shell knows it from Join and Leave
        self.everything: list[Subscription] = []
        self.left: Counter[int] = Counter()
        self.byes: list[Bye] = []
        self.greeted = False
        self.opened_at = self.heard_at = self.pinged_at = self.now
        self.progress: dict[int, float] = {}  # of each subscription: last progress, or last not waited for
        self.tokens, self.tokens_at = float(LIMITS.burst), self.now
        self.reported_at = -REPORT_INTERVAL
        self.messages = 0

    # -- the shell -------------------------------------------------------------------------------------

    def perform(self, actions: list[Action]) -> list[Action]:
        """Carries out the actions and checks that each is allowed at this point."""
        for action in actions:
            assert not self.byes, "nothing follows BYE"
            assert self.greeted or isinstance(action, (Send, Bye, Greet)), "nothing happens before HELLO"
            match action:
                case Send():
                    decode(action.text)
                case Greet():
                    assert not self.greeted
                    self.greeted = True
                case Join():
                    self.join(action)
                case Leave():
                    assert action.subscriptions
                    for subscription in action.subscriptions:
                        assert self.joined.pop(subscription.name) is subscription
                        assert subscription.state is State.ENDED
                        self.left[id(subscription)] += 1
                case Wake() | Resync():
                    assert self.joined[action.subscription.name] is action.subscription
                case Bye():
                    self.byes.append(action)
        return actions

    def join(self, action: Join) -> None:
        assert [subscription.name for subscription in action.subscriptions] == list(action.claims)
        for subscription in action.subscriptions:
            assert subscription.name not in self.joined, "the older one was left before"
            assert subscription.state is State.PENDING
            assert subscription.ref == action.ref
            self.joined[subscription.name] = subscription
            self.everything.append(subscription)
            self.progress[id(subscription)] = self.now

    def receive(self, frame: str | bytes | None) -> list[Action]:
        closed = bool(self.byes)
        actions = self.exchange.receive(frame, self.now)
        assert not (closed and actions)
        if not closed:
            self.heard_at = self.now
        return self.perform(actions)

    @property
    def is_open(self) -> bool:
        return self.greeted and not self.byes

    # -- the client ------------------------------------------------------------------------------------

    @initialize(opening=st.booleans(), claims=streams(most=4))
    def maybe_open(self, opening: bool, claims: dict[str, Any]) -> None:
        if opening:
            self.say_hello(claims, "reconnect.v1")

    @rule(claims=streams(bad=True), protocol=st.sampled_from(["reconnect.v1"] * 5 + ["reconnect.v2"]))
    def say_hello(self, claims: dict[str, Any], protocol: str) -> None:
        first = not self.greeted and not self.byes
        actions = self.receive(hello(streams=claims, protocol=protocol))
        if not first:
            assert not any(isinstance(action, Greet) for action in actions)
            return
        if protocol != "reconnect.v1":
            assert [action.code for action in actions] == [Close.BAD_PROTOCOL]
        elif len(claims) > LIMITS.max_streams:
            assert self.errors(actions) == [(413, "LIMIT")]
            assert not self.byes
        elif offending(claims):
            self.refused(actions, offending(claims), None)
        else:
            (greet,) = actions
            assert {name: claim and claim.wire() for name, claim in greet.claims.items()} == claims
            action, replaced = self.exchange.join(None, greet.claims, self.now)
            assert replaced == []
            self.perform([action])

    @rule(ref=refs, claims=streams(bad=True, most=3))
    def subscribe(self, ref: int, claims: dict[str, Any]) -> None:
        was_open = self.is_open
        before = set(self.joined)
        actions = self.receive(subscribe(ref, claims))
        if not was_open:
            return
        if len(before | set(claims)) > LIMITS.max_streams:
            assert self.answers(actions) == [("SUBSCRIBED", ref)]
            assert self.errors(actions) == [(413, "LIMIT")]
        elif offending(claims):
            self.refused(actions, offending(claims), ref)
        else:
            assert self.answers(actions) == [("SUBSCRIBED", ref)]
            assert set(self.joined) == before | set(claims)

    @rule(ref=refs, gone=st.lists(names, max_size=4))
    def unsubscribe(self, ref: int, gone: list[str]) -> None:
        was_open = self.is_open
        before = set(self.joined)
        actions = self.receive(unsubscribe(ref, *gone))
        if was_open:
            assert self.answers(actions) == [("UNSUBSCRIBED", ref)]
            assert set(self.joined) == before - set(gone)

    @rule(
        payload=st.none()
        | st.just("x" * 38)
        | st.just("x" * 39)
        | st.just("x" * 66_560)
        | st.just([0] * 1_000),
        ahead=st.sampled_from([0, 0, 0, 1, MAX_JUMP, MAX_JUMP + 1]),
        times=st.integers(1, 3),
    )
    def send_messages(self, payload: Any, ahead: int, times: int) -> None:
        for _ in range(times):
            self.messages += 1
            clock = self.exchange.clock.now
            actions = self.receive(message(self.messages, payload, clock=clock + ahead))
            if not self.is_open:
                continue
            (action,) = actions
            self.tokens = min(LIMITS.burst, self.tokens + LIMITS.rate * (self.now - self.tokens_at))
            self.tokens_at = self.now
            if self.tokens < 1:
                self.rejected(action, 429, "RATE", retry=True)
                continue
            self.tokens -= 1
            if ahead > MAX_JUMP:
                self.rejected(action, 400, "CLOCK")
            elif payload == [0] * 1_000:
                self.rejected(action, 400, "JSON")
            elif payload is not None and len(payload) > 38:
                self.rejected(action, 413, "SIZE")
            else:
                assert isinstance(action, Deliver)
                assert (action.message.id, action.message.payload) == (message_id(self.messages), payload)
                assert self.exchange.clock.now == clock + ahead
                continue
            assert self.exchange.clock.now == clock

    @rule(frame=st.sampled_from(BAD) | st.text(max_size=20) | st.binary(max_size=20) | st.none())
    def send_garbage(self, frame: str | bytes | None) -> None:
        before = set(self.joined), self.is_open
        actions = self.receive(frame)
        assert (set(self.joined), self.is_open) == before
        if not self.byes:
            assert len(actions) == 1
            assert json.loads(actions[0].text)["type"] in ("ERROR", "REJECT")

    @rule(
        metrics=st.dictionaries(
            names | st.just("ws_queue_depth"), st.none() | st.floats(allow_nan=False, allow_infinity=False)
        )
    )
    def send_telemetry(self, metrics: dict[str, Any]) -> None:
        actions = self.receive(json.dumps({"type": "TELEMETRY", "metrics": metrics}))
        if not self.is_open:
            return
        due = self.now - self.reported_at >= REPORT_INTERVAL
        if due:
            self.reported_at = self.now
        depth = metrics.get("ws_queue_depth")
        clamped = None if depth is None else min(max(depth, 0.0), 100_000.0)
        taken = due and clamped is not None
        assert actions == [Report({"ws_queue_depth": clamped}) if taken else Ignore()]

    @rule(
        claims=streams(bad=True),
        parts=st.dictionaries(names, st.integers(0, 5), max_size=2),
        pong=st.booleans(),
    )
    def acknowledge_anything(self, claims: dict[str, Any], parts: dict[str, int], pong: bool) -> None:
        acked = {name: (s.acked, s.part_acked) for name, s in self.joined.items()}
        was_open = self.is_open
        if pong:
            actions = self.receive(json.dumps({"type": "PONG", "t": 1, "streams": claims}))
        else:
            actions = self.receive(ack(claims, **parts))
        self.note_progress(acked)
        if was_open:
            assert not self.byes
            assert self.errors(actions) == ([(400, "INVALID_SEQ")] if offending(claims) else [])

    @precondition(lambda self: self.started())
    @rule(data=st.data(), wrong=st.sampled_from([0, 0, 0, 1]))
    def acknowledge_what_was_sent(self, data: st.DataObject, wrong: int) -> None:
        subscription = data.draw(st.sampled_from(self.started()), label="stream")
        sent = subscription.sent
        assert sent is not None
        seq = data.draw(st.integers(subscription.acked, sent.seq), label="seq")
        acked = {name: (s.acked, s.part_acked) for name, s in self.joined.items()}
        position = Position(sent.epoch, seq, seq + wrong)
        before = subscription.drift
        actions = self.receive(ack({subscription.name: position.wire()}))
        self.note_progress(acked)
        assert subscription.acked == seq
        worst = Drift.worst(each.drift for each in self.exchange.subscriptions.values())
        assert self.exchange.drift is worst
        actions = [action for action in actions if action != Drifting(worst)]
        if wrong and seq == sent.seq:
            assert subscription.drift is Drift.DIVERGED
        if wrong and seq == sent.seq and before is Drift.NONE:
            assert actions == [Resync(subscription, position)]
        elif not wrong:
            ready = subscription.state is State.CATCHING_UP and subscription.has_credit
            assert actions == ([Wake(subscription)] if ready else [])

    # -- the shell's side of a subscription ------------------------------------------------------------

    def started(self) -> list[Subscription]:
        if not self.is_open:
            return []
        return [subscription for subscription in self.joined.values() if subscription.sent is not None]

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), seq=st.integers(0, 50), live=st.booleans())
    def start_a_stream(self, data: st.DataObject, seq: int, live: bool) -> None:
        subscription = self.joined[data.draw(st.sampled_from(sorted(self.joined)), label="stream")]
        subscription.state = State.LIVE if live else State.CATCHING_UP
        subscription.start(Position(EPOCH, seq, seq), self.now)
        self.progress[id(subscription)] = self.now

    @precondition(lambda self: self.started())
    @rule(data=st.data(), count=st.sampled_from([0, 1, 300, 500]), size=st.sampled_from([1, 200_000]))
    def send_a_frame(self, data: st.DataObject, count: int, size: int) -> None:
        subscription = data.draw(st.sampled_from(self.started()), label="stream")
        sent = subscription.sent
        assert sent is not None
        subscription.took(Position(sent.epoch, sent.seq + count, sent.seq + count), size, self.now)
        subscription.waiting = not subscription.has_room

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), waiting=st.booleans())
    def wait_for_a_stream(self, data: st.DataObject, waiting: bool) -> None:
        self.joined[data.draw(st.sampled_from(sorted(self.joined)), label="stream")].waiting = waiting

    @precondition(lambda self: self.joined)
    @rule(data=st.data())
    def end_a_stream(self, data: st.DataObject) -> None:
        """As when a right is revoked."""
        name = data.draw(st.sampled_from(sorted(self.joined)), label="stream")
        self.perform([Leave([self.exchange.end(name)])])

    @rule(code=st.sampled_from(Close), rarely=st.integers(0, 4))
    def close(self, code: Close, rarely: int) -> None:
        if rarely == 0:
            closed = bool(self.byes)
            actions = self.perform(self.exchange.close(code, "why", (1, 2)))
            assert actions[-1:] == ([] if closed else [Bye(code, "why", (1, 2))])

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), rarely=st.integers(0, 4))
    def find_a_position_beyond_the_head(self, data: st.DataObject, rarely: int) -> None:
        if rarely == 0:
            found = data.draw(st.sets(st.sampled_from(sorted(self.joined)), min_size=1), label="streams")
            self.refused(self.perform(self.exchange.invalid_seq(found)), sorted(found), None)

    # -- time ------------------------------------------------------------------------------------------

    @rule(pause=st.sampled_from([0.0, 0.1, 1.0, 5.0, 9.9, 14.0, 25.0]))
    def time_passes(self, pause: float) -> None:
        self.now += pause
        was_open, was_closed = self.is_open, bool(self.byes)
        subscriptions = list(self.joined.values())
        for subscription in subscriptions:
            if not subscription.waiting:
                self.progress[id(subscription)] = self.now
        actions = self.perform(self.exchange.tick(self.now))
        reasons = [(action.code, action.reason) for action in actions if isinstance(action, Bye)]
        if was_closed:
            assert actions == []
        elif not was_open:
            late = self.now - self.opened_at >= LIMITS.hello_timeout
            assert reasons == ([(Close.NO_HELLO, "no HELLO")] if late else [])
        elif self.now - self.heard_at >= LIMITS.heartbeat + LIMITS.dead_after:
            assert reasons == [(Close.STALLED, "silent")]
        elif any(self.now - self.progress[id(s)] >= LIMITS.ack_timeout for s in subscriptions):
            assert reasons == [(Close.STALLED, "no ACK progress")]
        elif self.now - self.pinged_at >= LIMITS.heartbeat:
            assert actions == [Ping()]
            self.pinged_at = self.now
        else:
            assert actions == []

    # -- what always holds -----------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        assert self.exchange.subscriptions == self.joined
        assert len(self.joined) <= LIMITS.max_streams
        assert (self.exchange.phase is Phase.CLOSED) == bool(self.byes)
        assert (self.exchange.phase is Phase.OPEN) == self.is_open
        assert len(self.byes) <= 1
        assert not (self.byes and self.joined)

    @invariant()
    def every_subscription_ends_once(self) -> None:
        for subscription in self.everything:
            live = self.joined.get(subscription.name) is subscription
            assert self.left[id(subscription)] == (0 if live else 1)
            assert (subscription.state is State.ENDED) == (not live)

    @invariant()
    def credit_is_never_negative(self) -> None:
        for subscription in self.joined.values():
            assert subscription.unacked >= 0
            assert subscription._bytes >= 0

    # -- helpers ---------------------------------------------------------------------------------------

    def note_progress(self, acked: dict[str, tuple[int, int]]) -> None:
        for name, (seq, part) in acked.items():
            subscription = self.joined.get(name)
            if subscription is not None and (subscription.acked > seq or subscription.part_acked > part):
                self.progress[id(subscription)] = self.now

    @staticmethod
    def answers(actions: list[Action]) -> list[tuple[str, int | None]]:
        """The answers to SUBSCRIBE and UNSUBSCRIBE; the shell answers a Join."""
        found: list[tuple[str, int | None]] = []
        for action in actions:
            if isinstance(action, Join):
                found.append(("SUBSCRIBED", action.ref))
            elif isinstance(action, Send):
                frame = json.loads(action.text)
                if frame["type"].endswith("SUBSCRIBED"):
                    found.append((frame["type"], frame["ref"]))
        return found

    @staticmethod
    def errors(actions: list[Action]) -> list[tuple[int, str]]:
        found = [json.loads(action.text) for action in actions if isinstance(action, Send)]
        return [(frame["code"], frame["reason"]) for frame in found if frame["type"] == "ERROR"]

    def refused(self, actions: list[Action], streams: list[str], ref: int | None) -> None:
        """One ERROR INVALID_SEQ that names all, perhaps a Leave, one BYE 4000."""
        first, *left, bye = actions
        frame = json.loads(first.text)
        assert (frame["code"], frame["reason"]) == (400, "INVALID_SEQ")
        assert (frame["streams"], frame.get("ref")) == (streams, ref)
        assert [type(action) for action in left] in ([], [Leave])
        assert bye.code is Close.INVALID_SEQ

    def rejected(self, action: Action, code: int, reason: str, *, retry: bool = False) -> None:
        assert isinstance(action, Send)
        frame = json.loads(action.text)
        assert (frame["type"], frame["id"]) == ("REJECT", message_id(self.messages))
        assert (frame["code"], frame["reason"], frame["retry"]) == (code, reason, retry)
        assert (frame.get("retry_after_ms", 0) > 0) == retry


def offending(claims: dict[str, Any]) -> list[str]:
    good = [
        None,
        *(
            claim
            for claim in claims.values()
            if isinstance(claim, dict) and claim.get("last_seq_id", -1) >= 0
        ),
    ]
    return sorted(name for name, claim in claims.items() if claim not in good)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples=settings.default.max_examples * 3 // 2, stateful_step_count=50
)

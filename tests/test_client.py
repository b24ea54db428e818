"""The Python client: its pure parts without sockets, then the whole of it against a scripted server."""

import asyncio
import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from reconnect_channels.client import (
    Answer,
    Client,
    Closed,
    Entries,
    HandlerError,
    HandshakeError,
    OutcomeUnknown,
    QueueOverflow,
    Refused,
    Rejected,
    Snapshot,
    State,
    StateTransitionError,
    calculate_backoff,
    connect,
)
from reconnect_channels.client import frames as incoming
from reconnect_channels.client.client import origin_of
from reconnect_channels.client.lifecycle import LEGAL, Comeback, Ending, Lifecycle, ceiling
from reconnect_channels.client.outbox import Outbox
from reconnect_channels.client.session import Deliver, Deny, HangUp, Lost, Session, Settle, Transmit
from reconnect_channels.client.tracker import Delivery, Not, Tracker
from reconnect_channels.protocol.codec import CodecError
from reconnect_channels.protocol.position import Position, advance, fold, parse
from tests.protocol.vectors import each

EPOCH = "9f2c4b1a-0d3e-4f5a-8b6c-7d8e9f0a1b2c"
OTHER = "11111111-2222-4333-8444-555555555555"
START = Position(EPOCH, 0, 0)


def entry_id(seq: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(seq)))


@cache
def position(seq: int, epoch: str = EPOCH) -> Position:
    return Position(epoch, seq, fold(0, map(entry_id, range(1, seq + 1))))


def delta(after: int, to: int, *, epoch: str = EPOCH, complete: bool = True, **changes: Any) -> str:
    payload = [
        {
            "seq": seq,
            "id": entry_id(seq),
            "checksum": position(seq).checksum,
            "clock": seq,
            "key": None,
            "payload": seq,
        }
        for seq in range(after + 1, to + 1)
    ]
    frame = {
        "type": "SYNC_DELTA",
        "stream": "s",
        "epoch": epoch,
        "from": after,
        "to": to,
        "checksum": position(to).checksum,
        "complete": complete,
        "payload": payload,
    }
    return json.dumps(frame | changes)


def snapshot(seq: int, *, epoch: str = EPOCH, **changes: Any) -> str:
    frame = {
        "type": "SYNC_SNAPSHOT",
        "stream": "s",
        "epoch": epoch,
        "seq": seq,
        "checksum": position(seq).checksum,
        "reason": "new",
        "exact": True,
        "partial": False,
        "payload": {"at": seq},
    }
    return json.dumps(frame | changes)


def frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


# -- coming back ---------------------------------------------------------------------------------------


@each("backoff")
def test_backoff_never_exceeds_the_vectors(case):
    base, most = float(case["base"]), float(case["max"])
    if case.get("throws"):
        with pytest.raises(ValueError, match="positive"):
            calculate_backoff(case["attempt"], base, most)
    else:
        assert case["u"] * ceiling(case["attempt"], base, most) == case["delay"]
        assert 0 <= calculate_backoff(case["attempt"], base, most) <= most


def test_backoff_is_spread_over_its_whole_range_even_at_the_cap():
    delays = [calculate_backoff(20, 0.5, 20) for _ in range(2000)]
    assert min(delays) < 1
    assert max(delays) > 19
    assert 9 < sum(delays) / len(delays) < 11


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_every_transition_is_legal_or_raises(before, after):
    lifecycle = Lifecycle()
    lifecycle.state = before
    if after is before:
        assert not lifecycle.move(after)
    elif after in LEGAL[before]:
        assert lifecycle.move(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(StateTransitionError):
            lifecycle.move(after)
        assert lifecycle.state is before
        assert lifecycle.invalid_transitions == 1


def test_the_count_of_failures_resets_after_stable_uptime_only():
    comeback = Comeback(1, 100)
    for _ in range(3):
        comeback.after(Ending(1006), 4.9)
    assert comeback.failures == 3
    comeback.after(Ending(1006), 5.0)
    assert comeback.failures == 1


def test_a_window_of_the_server_overrides_backoff():
    comeback = Comeback(100, 1000)
    delays = [comeback.after(Ending(4012, window=(2.0, 3.0)), 100) for _ in range(200)]
    assert all(delay is not None and 2 <= delay <= 3 for delay in delays)
    assert len(set(delays)) > 100


def test_capped_waits_are_counted_and_attempts_run_out():
    comeback = Comeback(1, 2, max_attempts=3)
    assert comeback.after(Ending(1006), None) is not None
    assert comeback.after(Ending(1006), None) is not None
    assert comeback.capped == 1
    assert comeback.after(Ending(1006), None) is None
    assert Comeback(1, 2).after(Ending(4503, reconnect=False), 60) is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("ws://example.org/ws/", "http://example.org"),
        ("wss://example.org:443/ws/", "https://example.org"),
        ("wss://example.org:80/", "https://example.org:80"),
        ("ws://127.0.0.1:8000/ws/board/", "http://127.0.0.1:8000"),
        ("ws://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_the_origin_is_that_of_a_page_of_the_same_host(url, origin):
    assert origin_of(url) == origin


# -- one stream ----------------------------------------------------------------------------------------


def tracker(at: Position | None = START) -> Tracker:
    made = Tracker("s")
    made.position = at
    return made


def take(to: Tracker, text: str) -> Delivery | int | Not:
    read = incoming.read(text)
    if isinstance(read, incoming.Delta):
        return to.delta(read, len(text), 0)
    assert isinstance(read, incoming.State)
    return to.snapshot(read, len(text))


@each("apply")
def test_frames_are_applied_as_the_vectors_say(case):
    reader = tracker(parse(case["start"]))
    for step in case["steps"]:
        outcome = take(reader, json.dumps(step["frame"]))
        held = reader.position and reader.position.wire()
        match outcome:
            case Delivery(item=Entries() as item):
                seen = {"result": "applied", "entries": [entry.seq for entry in item]}
            case Delivery(item=Snapshot() as item):
                ack = reader.finish(outcome, 100, 65536, 0.0)
                assert ack is not None
                seen = {"result": "applied", "state": item.state, "ack": {"streams": {"s": ack.wire()}}}
            case Not.NEW:
                seen = {"result": "ignored", "entries": []}
            case Not.CONTINUOUS:
                seen = {"result": "hole", "entries": []}
            case Not.WHOLE:
                seen = {"result": "discarded"}
            case int():
                seen = {"result": "part", "ack": {"streams": {}, "parts": {"s": outcome}}}
        assert {**seen, "frame": step["frame"], "position": held} == step


def test_entries_whose_numbers_contradict_the_frame_are_not_applied():
    reader = tracker()
    swapped = json.loads(delta(0, 2))
    swapped["payload"][0]["seq"] = 2
    assert take(reader, json.dumps(swapped)) is Not.CONTINUOUS
    missing = json.loads(delta(0, 2))
    del missing["payload"][1]
    missing["checksum"] = position(1).checksum  # the sum fits what is there; the range doesn't
    assert take(reader, json.dumps(missing)) is Not.CONTINUOUS
    nonsense = json.loads(delta(0, 1))
    nonsense["payload"][0]["id"] = "not hex!"
    assert take(reader, json.dumps(nonsense)) is Not.CONTINUOUS
    assert reader.position == START


def test_parts_that_are_not_json_together_are_not_applied():
    reader = tracker()
    assert take(reader, snapshot(5, part=1, parts=2, chunk="{")) == 1
    assert take(reader, snapshot(5, part=2, parts=2, chunk="{")) is Not.WHOLE
    assert reader.position == START


def test_acknowledgements_come_after_enough_entries_or_bytes_and_only_once_handlers_finished():
    reader = tracker()
    reader.live = True
    deliveries = [take(reader, delta(seq, seq + 1)) for seq in range(7)]
    acks = [reader.finish(delivery, 3, 10**6, 0.0) for delivery in deliveries]  # type: ignore[arg-type]
    assert acks == [None, None, position(3), None, None, position(6), None]
    assert reader.outstanding_entries == reader.outstanding_bytes == 0
    big = take(reader, delta(7, 8))
    assert reader.finish(big, 100, 10, 0.0) == position(8)  # type: ignore[arg-type]


def test_what_was_applied_is_acknowledged_with_the_first_frame_5_seconds_later():
    reader = tracker()
    reader.live = True
    deliveries = [take(reader, delta(seq, seq + 1)) for seq in range(6)]
    times = [100.0, 104.9, 105.0, 105.1, 107.0, 110.2]
    acks = [reader.finish(delivery, 100, 10**6, at) for delivery, at in zip(deliveries, times, strict=True)]  # type: ignore[arg-type]
    assert acks == [None, None, position(3), None, None, position(6)]


def test_an_incomplete_page_is_acknowledged_whatever_its_size():
    reader = tracker()
    page = take(reader, delta(0, 1, complete=False))
    assert reader.finish(page, 100, 65536, 0.0) == position(1)  # type: ignore[arg-type]
    assert not reader.live


def test_an_empty_page_asks_for_an_acknowledgement():
    reader = tracker()
    assert reader.finish(take(reader, delta(0, 1)), 100, 65536, 0.0) is None  # type: ignore[arg-type]
    page = take(reader, delta(1, 1, complete=False))
    assert reader.finish(page, 100, 65536, 0.0) == position(1)  # type: ignore[arg-type]
    assert reader.live


@given(st.data())
def test_whatever_is_repeated_dropped_or_swapped_only_the_true_history_is_applied(data):
    """The frames of 30 entries, mangled; after each refusal the server answers from the position."""
    reader = tracker()
    applied: list[int] = []
    cuts = sorted({0, 30, *data.draw(st.lists(st.integers(1, 29), max_size=8))})
    sent = list(pairwise(cuts))
    for after, to in data.draw(st.lists(st.sampled_from(sent), max_size=20)) + sent:
        changes = data.draw(st.sampled_from([{}, {}, {}, {"checksum": 7}, {"epoch": OTHER}]))
        text = delta(after, to, **changes)
        for _ in range(2):
            outcome = take(reader, text)
            if isinstance(outcome, Delivery) and isinstance(outcome.item, Entries):
                applied += [entry.seq for entry in outcome.item]
            if outcome is not Not.CONTINUOUS:
                break
            assert reader.position is not None
            text = delta(reader.position.seq, max(reader.position.seq, to))
    assert applied == list(range(1, len(applied) + 1))
    assert reader.position == position(len(applied))
    assert len(applied) == 30


def test_an_acknowledged_message_in_whose_place_another_came_is_lost():
    reader = tracker()
    reader.expect("mine", EPOCH, 2)
    reader.expect("other", EPOCH, 3)
    reader.expect("elsewhere", OTHER, 1)
    true = json.loads(delta(0, 3))
    true["payload"][1]["key"] = "somebody's"
    true["payload"][2]["key"] = "other"
    delivery = take(reader, json.dumps(true))
    assert isinstance(delivery, Delivery)
    assert isinstance(delivery.item, Entries)
    assert reader.lost(delivery.item) == ["mine"]
    assert reader.lost(delivery.item) == []


def test_what_a_snapshot_covers_is_not_called_lost():
    reader = tracker()
    reader.expect("mine", EPOCH, 2)
    reader.expect("later", EPOCH, 6)
    take(reader, snapshot(5))
    delivery = take(reader, delta(5, 6))
    assert isinstance(delivery, Delivery)
    assert reader.lost(delivery.item) == ["later"]  # type: ignore[arg-type]


# -- the outbox ----------------------------------------------------------------------------------------


class Ticker:
    now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def due(outbox: Outbox, now: float = 0, ready_at: Callable[[str], float] = lambda stream: 0.0) -> list[int]:
    return [message.n for message in outbox.due(now, ready_at, Ticker())]


def opened(**limits: Any) -> Outbox:
    outbox = Outbox(**limits)
    outbox.open(50, 1000, 16, 0)
    return outbox


def fill(outbox: Outbox, count: int, stream: str = "s") -> list[str]:
    return [outbox.put(stream, "1")[0].id for _ in range(count)]


def test_numbers_are_given_at_first_transmission_per_stream():
    outbox = opened()
    fill(outbox, 2, "a")
    fill(outbox, 1, "b")
    fill(outbox, 1, "a")
    sent = outbox.due(0, lambda stream: 0, Ticker())
    assert [(message.stream, message.n) for message in sent] == [("a", 1), ("a", 2), ("b", 1), ("a", 3)]
    assert [message.clock for message in sent] == [1, 2, 3, 4]


def test_nothing_is_transmitted_without_a_connection():
    outbox = Outbox()
    fill(outbox, 1)
    assert due(outbox) == []


def test_at_most_so_many_are_in_flight():
    outbox = opened()
    ids = fill(outbox, 40)
    assert due(outbox) == list(range(1, 17))
    assert due(outbox) == []
    outbox.acknowledge(ids[3])
    outbox.acknowledge(ids[3])
    assert due(outbox) == [17]


def test_the_rate_of_welcome_paces_after_the_burst():
    outbox = Outbox()
    fill(outbox, 5)
    outbox.open(2, 3, 16, 0)
    assert due(outbox) == [1, 2, 3]
    assert outbox.wake_at == 0.5
    assert due(outbox, 0.5) == [4]
    assert due(outbox, 1.0) == [5]
    assert outbox.wake_at == 10.0  # when the first answer is overdue


def test_an_answer_that_does_not_come_is_asked_for_again_ever_more_slowly():
    outbox = opened()
    [message] = fill(outbox, 1)
    assert due(outbox) == [1]
    assert due(outbox, 9.9) == []
    assert (due(outbox, 10), due(outbox, 29.9), due(outbox, 30)) == ([1], [], [1])
    assert (outbox.in_flight, outbox.wake_at) == (1, 70)
    outbox.acknowledge(message)
    assert due(outbox, 70) == []


def test_after_a_drop_the_unanswered_go_first_with_their_ids_and_numbers():
    outbox = opened()
    ids = fill(outbox, 3)
    due(outbox)
    outbox.acknowledge(ids[1])
    outbox.close()
    fill(outbox, 1)
    outbox.open(50, 1000, 16, 1)
    sent = outbox.due(1, lambda stream: 0, Ticker())
    assert [message.n for message in sent] == [1, 3, 4]
    assert [message.id for message in sent[:2]] == [ids[0], ids[2]]
    assert sent[0].transmissions == 2


def test_settled_is_the_highest_number_without_an_unanswered_one_below():
    outbox = opened()
    ids = fill(outbox, 4)
    sent = outbox.due(0, lambda stream: 0, Ticker())

    def settled() -> int:
        return int(json.loads(outbox.frame(sent[3]))["settled"])

    assert settled() == 0
    outbox.acknowledge(ids[1])
    assert settled() == 0
    outbox.acknowledge(ids[0])
    assert settled() == 2
    assert outbox.reject(ids[2], 422, "INVALID", None, None, 0) is not None
    assert settled() == 3


def test_a_stream_that_must_wait_holds_back_its_own_messages_only():
    outbox = opened()
    fill(outbox, 2, "a")
    fill(outbox, 1, "b")
    sent = outbox.due(0, lambda stream: 9.0 if stream == "a" else 0.0, Ticker())
    assert [message.stream for message in sent] == ["b"]
    assert outbox.wake_at == 9
    assert due(outbox, 9, lambda stream: 9.0 if stream == "a" else 0.0) == [1, 2]


def test_a_message_to_be_retried_is_not_overtaken():
    outbox = opened()
    ids = fill(outbox, 3)
    due(outbox)
    assert outbox.reject(ids[0], 503, "UNAVAILABLE", None, 1.0, 0) is None
    for later in ids[1:]:
        assert outbox.reject(later, 409, "ORDER", None, 0.0, 0) is None
    fill(outbox, 1)
    assert due(outbox, 0.9) == []
    assert outbox.wake_at is not None
    assert 1.0 <= outbox.wake_at <= 1.31
    assert due(outbox, 1.4) == [1, 2, 3, 4]


def test_order_asks_for_everything_from_the_oldest_unanswered_one():
    outbox = opened()
    ids = fill(outbox, 3)
    due(outbox)
    outbox.reject(ids[2], 409, "ORDER", None, 0.0, 0)
    assert due(outbox, 1) == [1, 2, 3]


@pytest.mark.parametrize("reason", ["RATE", "ORDER", "IN_PROGRESS", "UNAVAILABLE"])
def test_only_a_failing_handler_counts_towards_giving_up(reason):
    outbox = opened()
    [identity] = fill(outbox, 1)
    for _ in range(50):
        due(outbox, 100)
        assert outbox.reject(identity, 500, reason, None, 0.0, 0) is None
    assert len(outbox) == 1


def test_a_message_whose_handler_fails_five_times_is_given_up_and_settled():
    outbox = opened()
    identity, later = fill(outbox, 2)
    for _ in range(4):
        due(outbox, 100)
        assert outbox.reject(identity, 500, "FAILED", "boom", 0.0, 0) is None
    due(outbox, 100)
    given_up = outbox.reject(identity, 500, "FAILED", "boom", 0.0, 0)
    assert isinstance(given_up, Rejected)
    assert given_up.reason == "FAILED"
    [message] = [message for message in outbox._sent.values() if message.id == later]
    assert json.loads(outbox.frame(message))["settled"] == 1


def test_a_full_outbox_evicts_the_oldest_that_was_never_sent():
    outbox = Outbox(max_messages=3)
    ids = fill(outbox, 3)
    outbox.open(50, 1, 16, 0)
    due(outbox)  # the first one is out
    _, evicted = outbox.put("s", "1")
    assert [message.id for message in evicted] == [ids[1]]
    assert len(outbox) == 3
    outbox.open(50, 1000, 16, 0)
    assert due(outbox) == [1, 2, 3]  # no hole where one was evicted
    with pytest.raises(QueueOverflow):
        outbox.put("s", "1")
    assert len(outbox) == 3


def test_the_outbox_is_bounded_by_bytes_too():
    outbox = Outbox(max_bytes=10)
    for _ in range(3):
        outbox.put("s", "333")
    _, evicted = outbox.put("s", "55555")
    assert len(evicted) == 2
    assert outbox.size == 8
    with pytest.raises(QueueOverflow):
        outbox.put("s", "x" * 11)
    assert len(outbox) == 2


@given(
    st.lists(
        st.sampled_from(["put", "due", "ack", "again", "final", "order", "drop", "open", "withdraw"]),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_however_it_goes_numbers_have_no_holes_and_order_holds(steps, random):
    outbox = Outbox(max_messages=8)
    outbox.open(10**6, 10**6, 4, 0)
    now = 0.0
    log: list[int] = []  # what a server would accept: in order, settled ones skipped
    answered: set[int] = set()
    created: list[str] = []
    numbers: dict[str, int] = {}
    for step in steps:
        now += 100
        flying = [message for message in outbox._sent.values() if message.in_flight]
        match step:
            case "put":
                with contextlib.suppress(QueueOverflow):
                    created.append(outbox.put("s", "1")[0].id)
            case "withdraw" if created:
                outbox.withdraw(random.choice(created))
            case "due":
                chosen = outbox.due(now, lambda stream: 0, Ticker())
                for message in chosen:
                    assert numbers.setdefault(message.id, message.n) == message.n
                    log.append(message.n)
                assert [message.n for message in chosen] == sorted(message.n for message in chosen)
            case "ack" if flying:
                message = random.choice(flying)
                outbox.acknowledge(message.id)
                answered.add(message.n)
            case "final" if flying:
                message = random.choice(flying)
                outbox.reject(message.id, 422, "INVALID", None, None, now)
                answered.add(message.n)
            case "again" | "order" if flying:
                reason = "ORDER" if step == "order" else "UNAVAILABLE"
                outbox.reject(random.choice(flying).id, 503, reason, None, 1.0, now)
            case "drop":
                outbox.close()
            case "open":
                outbox.open(10**6, 10**6, 4, now)
        assert outbox.in_flight == sum(message.in_flight for message in outbox._sent.values()) <= 4
        assert len(outbox) <= 8
        assert outbox.size == len(outbox)
        lane = outbox._lanes.get("s")
        if lane is not None:
            assert set(range(1, lane.settled + 1)) <= answered
            assert lane.settled + 1 not in answered
            first = list(dict.fromkeys(log))
            assert first == list(range(1, lane.given + 1))


# -- the session ---------------------------------------------------------------------------------------


class Talk:
    """A session and what it did last, for tests that speak the server's part."""

    def __init__(self) -> None:
        self.session = Session()
        self.now = 1000.0
        self.delivered: list[Any] = []
        self.others: list[Any] = []

    def do(self, actions: list[Any]) -> list[dict[str, Any]]:
        sent = []
        self.others = []
        for action in actions:
            if isinstance(action, Transmit):
                sent.append(json.loads(action.text))
            elif isinstance(action, Deliver):
                self.delivered.append(action.delivery.item)
                sent += self.do(self.session.finished(action.tracker, action.delivery, self.now))
            else:
                self.others.append(action)
        return sent

    def hear(self, text: str) -> list[dict[str, Any]]:
        return self.do(self.session.receive(text, self.now))

    def send(self, payload: Any = 1, stream: str = "s") -> list[dict[str, Any]]:
        return self.do(self.session.send(stream, payload, self.now)[2])

    def open(self, **welcome: Any) -> dict[str, Any]:
        hello = json.loads(self.session.open(self.now))
        self.hear(frame("WELCOME", **welcome))
        return hello

    @property
    def stream(self) -> Tracker:
        return self.session.trackers["s"]


@pytest.fixture
def talk() -> Talk:
    """A session that follows `s` and is live at 3."""
    made = Talk()
    made.do(made.session.subscribe("s", made.now))
    made.open()
    made.hear(snapshot(3))
    made.hear(delta(3, 3))
    assert made.stream.live
    return made


def test_hello_resumes_every_stream_and_counts_attempts(talk):
    talk.session.close(1006, talk.now)
    talk.do(talk.session.subscribe("t", talk.now))
    hello = talk.open(identity="who", clock=70)
    assert hello["streams"] == {"s": position(3).wire(), "t": None}
    assert (hello["protocol"], hello["attempt"], hello["term"]) == ("reconnect.v1", 2, 0)
    assert "identity" not in hello
    talk.session.close(1006, talk.now)
    again = talk.open()
    assert (again["identity"], again["clock"], again["attempt"]) == ("who", 70, 3)
    assert again["client_id"] == hello["client_id"]


def test_a_stream_subscribed_to_between_hello_and_welcome_is_subscribed_to_after_it():
    talk = Talk()
    talk.session.open(talk.now)
    assert talk.do(talk.session.subscribe("s", talk.now)) == []
    assert talk.hear(frame("WELCOME")) == [{"type": "SUBSCRIBE", "ref": 1, "streams": {"s": None}}]


def test_a_snapshot_is_acknowledged_and_live_entries_after_as_many_as_welcome_says(talk):
    assert talk.hear(snapshot(5)) == [{"type": "ACK", "streams": {"s": position(5).wire()}}]
    assert talk.hear(delta(5, 254)) == []
    assert talk.hear(delta(254, 255)) == [{"type": "ACK", "streams": {"s": position(255).wire()}}]


def test_a_hole_is_healed_by_asking_again_and_old_frames_are_ignored_until_the_answer(talk):
    [asked] = talk.hear(delta(4, 5))
    assert asked == {"type": "SUBSCRIBE", "ref": 1, "streams": {"s": position(3).wire()}}
    assert not talk.stream.live
    before = len(talk.delivered)
    assert talk.hear(delta(3, 6)) == []  # of the older subscription, though it would fit
    assert talk.hear(frame("SUBSCRIBED", ref=7)) == []
    assert talk.hear(delta(3, 6)) == []
    assert len(talk.delivered) == before
    talk.hear(frame("SUBSCRIBED", ref=1))
    talk.hear(delta(3, 6))
    assert talk.session.trackers["s"].position == position(6)
    assert talk.stream.live


def test_a_server_that_answers_holes_with_holes_is_asked_for_a_snapshot_then_left(talk):
    asked = []
    for ref in range(1, 7):
        asked += talk.hear(delta(8, 9))
        talk.hear(frame("SUBSCRIBED", ref=ref))
    assert [frame["streams"]["s"] is None for frame in asked] == [False, False, False, True, True, True]
    talk.hear(delta(8, 9))
    assert talk.others == [HangUp()]


def test_parts_are_acknowledged_one_by_one(talk):
    assert talk.hear(snapshot(9, part=1, parts=2, chunk='{"a"')) == [
        {"type": "ACK", "streams": {}, "parts": {"s": 1}}
    ]
    assert talk.hear(snapshot(9, part=2, parts=2, chunk=":1}")) == [
        {"type": "ACK", "streams": {"s": position(9).wire()}}
    ]
    assert talk.delivered[-1].state == {"a": 1}


def test_a_broken_collection_of_parts_asks_again(talk):
    talk.hear(snapshot(9, part=1, parts=3, chunk="["))
    [asked] = talk.hear(snapshot(9, part=3, parts=3, chunk="]"))
    assert asked["type"] == "SUBSCRIBE"


def test_ping_is_answered_with_positions(talk):
    assert talk.hear(frame("PING", t=5, heads={"s": position(3).wire()})) == [
        {"type": "PONG", "t": 5, "streams": {"s": position(3).wire()}}
    ]
    assert not talk.stream.stale


@pytest.mark.parametrize(
    "head", [position(4), position(3)._replace(checksum=1), position(3, OTHER)._replace(seq=1)]
)
def test_a_head_that_is_not_here_means_lost_frames(talk, head):
    pong, asked = talk.hear(frame("PING", t=5, heads={"s": head.wire()}))
    assert (pong["type"], asked["type"]) == ("PONG", "SUBSCRIBE")
    assert len(talk.hear(frame("PING", t=6, heads={"s": head.wire()}))) == 1  # already asked


def test_a_stream_that_ping_leaves_out_is_stale_until_it_is_verified(talk):
    talk.hear(frame("PING", t=1, heads={}))
    assert talk.stream.stale
    talk.hear(frame("PING", t=2, heads={"s": position(3).wire()}))
    assert not talk.stream.stale


def test_streams_that_the_server_joined_are_tracked_and_acknowledged():
    talk = Talk()
    talk.open(streams=["s"])
    assert talk.hear(snapshot(2)) == [{"type": "ACK", "streams": {"s": position(2).wire()}}]
    talk.hear(delta(2, 4))
    [asked] = talk.do(talk.session.subscribe("s", talk.now))
    assert asked["streams"] == {"s": None}  # a late subscriber needs the state
    talk.session.close(1006, talk.now)
    assert talk.open(streams=["s"])["streams"] == {"s": None}


def test_invalid_seq_forgets_the_named_then_all_then_backs_off(talk):
    talk.do(talk.session.subscribe("t", talk.now))
    talk.session.trackers["t"].position = position(1)
    endings = []
    forgotten = []
    for _ in range(3):
        talk.stream.position = position(3)
        talk.session.trackers["t"].position = position(1)
        talk.hear(frame("ERROR", code=400, reason="INVALID_SEQ", streams=["s"]))
        talk.hear(frame("BYE", code=4000, reason="INVALID_SEQ", reconnect=True, retry_after_ms=[0, 0]))
        assert talk.others == [HangUp()]
        endings.append(talk.session.close(4000, talk.now))
        forgotten.append([name for name, one in talk.session.trackers.items() if one.position is None])
        talk.now += 5
        talk.open()
    assert [ending.promptly for ending in endings] == [True, True, False]
    assert forgotten == [["s"], ["s", "t"], ["s", "t"]]
    talk.now += 61
    assert talk.session.close(4000, talk.now).promptly


def test_bye_wins_over_the_close_code(talk):
    talk.hear(frame("BYE", code=4012, reason="GOING_AWAY", reconnect=True, retry_after_ms=[2000, 9000]))
    assert talk.session.close(4503, talk.now) == Ending(4012, "GOING_AWAY", True, (2.0, 9.0))


def test_a_terminal_bye_is_final_whatever_code_a_server_shows(talk):
    talk.hear(frame("BYE", code=4501, reason="UNAUTHENTICATED", reconnect=False, retry_after_ms=[0, 0]))
    assert not talk.session.close(1006, talk.now).reconnect


@each("codes")
def test_without_bye_the_code_decides(case):
    talk = Talk()
    talk.open()
    assert talk.session.close(case["code"], 0).reconnect is case["reconnects"]


def test_a_refused_stream_is_final_and_left_out_of_hello(talk):
    talk.hear(frame("ERROR", code=403, reason="FORBIDDEN", detail="", streams=["s"]))
    [denied] = talk.others
    assert isinstance(denied, Deny)
    assert denied.error.code == 403
    talk.session.close(1006, talk.now)
    assert talk.open()["streams"] == {}
    [asked] = talk.do(talk.session.subscribe("s", talk.now))  # unless the application asks again
    assert asked["streams"] == {"s": None}


def test_a_session_that_has_nothing_to_send_waits_for_nothing(talk):
    """A time that is over and isn't cleared would make the client spin."""
    [message] = talk.send()
    assert talk.session.deadline() is not None
    talk.hear(frame("ACK", id=message["id"], epoch=EPOCH, seq=4, result=None, duplicate=False))
    talk.now += 60
    assert talk.do(talk.session.tick(talk.now)) == []
    assert talk.session.deadline() is None


def test_a_busy_server_is_asked_again_after_its_delay(talk):
    talk.hear(delta(8, 9))
    talk.hear(frame("ERROR", code=503, reason="UNAVAILABLE", ref=1, streams=["s"], retry_after_ms=2000))
    assert talk.others == []
    at = talk.session.deadline()
    assert at is not None
    assert 2.0 <= at - talk.now <= 2.6
    assert talk.do(talk.session.tick(at - 0.01)) == []
    [asked] = talk.do(talk.session.tick(at))
    assert asked == {"type": "SUBSCRIBE", "ref": 2, "streams": {"s": position(3).wire()}}


def test_an_error_of_an_older_subscription_means_nothing(talk):
    talk.hear(delta(8, 9))
    talk.hear(frame("SUBSCRIBED", ref=1))
    talk.hear(delta(8, 9))
    talk.hear(frame("ERROR", code=403, reason="FORBIDDEN", ref=1, streams=["s"]))
    assert talk.others == []
    assert talk.stream.awaiting


def test_a_message_waits_for_its_stream_but_not_for_ever(talk):
    talk.session.close(1006, talk.now)
    talk.open()
    assert talk.send() == []
    [elsewhere] = talk.send(stream="elsewhere")
    talk.hear(frame("ACK", id=elsewhere["id"], epoch=None, seq=None, result=None, duplicate=False))
    deadline = talk.session.deadline()
    assert deadline == talk.now + 10
    assert [frame["stream"] for frame in talk.do(talk.session.tick(deadline))] == ["s"]


def test_a_message_goes_as_soon_as_its_stream_is_live(talk):
    talk.session.close(1006, talk.now)
    talk.now += 3600  # a long outage must not look like a long wait
    talk.open()
    assert talk.send({"move": 7}) == []
    [message] = talk.hear(delta(3, 5))
    assert message["payload"] == {"move": 7}
    assert message["clock"] == 6  # above what its author has seen
    assert (message["n"], message["settled"]) == (1, 0)
    assert uuid.UUID(message["id"]).version == 4


def test_answers_settle_messages(talk):
    [sent] = talk.send()
    talk.hear(frame("ACK", id=sent["id"], epoch=EPOCH, seq=4, result={"card": 1}, duplicate=True))
    assert talk.others == [Settle(sent["id"], Answer(sent["id"], EPOCH, 4, {"card": 1}, True))]
    talk.hear(frame("ACK", id=sent["id"], epoch=EPOCH, seq=4, result=None, duplicate=True))
    assert talk.others == []
    [sent] = talk.send()
    talk.hear(frame("REJECT", id=sent["id"], code=422, reason="INVALID", detail="no", retry=False))
    [settled] = talk.others
    assert isinstance(settled.outcome, Rejected)
    assert settled.outcome.detail == "no"


def test_another_key_where_the_ack_pointed_means_lost(talk):
    [sent] = talk.send()
    talk.hear(frame("ACK", id=sent["id"], epoch=EPOCH, seq=5, result=None, duplicate=False))
    talk.hear(delta(3, 4))
    assert talk.others == []
    talk.hear(delta(4, 5))
    assert talk.others == [Lost("s", sent["id"])]


def test_what_cannot_travel_is_refused_before_it_is_queued(talk):
    with pytest.raises(CodecError):
        talk.session.send("s", float("nan"), talk.now)
    with pytest.raises(CodecError):
        talk.session.send("s", "x" * 70_000, talk.now)
    with pytest.raises(ValueError, match="name of a stream"):
        talk.session.send('s"', 1, talk.now)
    with pytest.raises(ValueError, match="name of a stream"):
        talk.session.subscribe("a b", talk.now)
    assert len(talk.session.outbox) == 0


def test_a_broken_handler_gets_one_snapshot_and_another_only_after_a_while(talk):
    [asked] = talk.do(talk.session.failed(talk.stream, talk.now))
    assert asked["streams"] == {"s": None}
    assert talk.stream.stale
    talk.hear(frame("SUBSCRIBED", ref=1))
    talk.hear(snapshot(4))
    talk.hear(delta(4, 4))
    assert not talk.stream.stale
    assert talk.do(talk.session.failed(talk.stream, talk.now)) == []
    assert talk.stream.stale
    talk.now += 11
    assert len(talk.do(talk.session.failed(talk.stream, talk.now))) == 1


def test_a_subscriber_that_is_far_behind_is_left_out_of_hello_until_it_caught_up(talk):
    actions = talk.session.receive(delta(3, 1100), talk.now)
    [work] = [action for action in actions if isinstance(action, Deliver)]
    talk.session.close(1006, talk.now)
    assert talk.open()["streams"] == {}
    [asked] = talk.do(talk.session.finished(work.tracker, work.delivery, talk.now))
    assert asked["streams"] == {"s": position(1100).wire()}


def test_giving_up_tells_apart_what_was_sent():
    talk = Talk()
    talk.open(limits={"in_flight": 1})
    talk.send()
    talk.send()
    outcomes = [action.outcome for action in talk.session.give_up(Closed("enough"))]  # type: ignore[union-attr]
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, Closed]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[]",
        "{}",
        '{"type":7}',
        '{"type":"FUTURE"}',
        '{"type":"SYNC_DELTA"}',
        '{"type":"SYNC_DELTA","stream":"s","epoch":1,"from":"3","to":4,"checksum":0,"complete":1,"payload":[]}',
        '{"type":"PING","heads":{"s":{"epoch":1}}}',
        '{"type":"ACK","id":7}',
        '{"type":"WELCOME","limits":{"rate":"fast"}}',
        "[" * 100_000,
        "\ud800",
    ],
)
def test_no_frame_breaks_the_client(talk, text):
    talk.hear(text)
    assert talk.stream.position == position(3)
    assert talk.hear(delta(3, 4)) == []
    assert talk.stream.position == position(4)


@each("frames", **{"from": "server"})
def test_every_server_frame_of_the_vectors_is_read(case):
    incoming.read(case["text"])


# -- the whole client, against a server that follows a script ------------------------------------------


class Board:
    """A small server of one stream `s`: a log, keys that are known, and faults on demand."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str | None, Any]] = []  # id, key, payload
        self.known: dict[str, int] = {}  # key: seq
        self.connections: list[ServerConnection] = []
        self.heard: list[dict[str, Any]] = []
        self.subprotocols: Any = ["reconnect.v1"]
        self.welcome: dict[str, Any] | None = {}
        self.drop_acks = 0  # that many answers are swallowed, with the connection
        self.unavailable = 0  # that many times a stream is answered with 503
        self.on_message: Callable[[dict[str, Any]], str | None] = lambda message: None
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Board"]:
        async with serve(self.talk, "127.0.0.1", self.port, subprotocols=self.subprotocols) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/"

    def at(self, seq: int) -> Position:
        return Position(EPOCH, seq, fold(0, [identity for identity, *_ in self.log[:seq]]))

    def delta(self, after: int) -> str:
        checksum, payload = self.at(after).checksum, []
        for seq, (identity, key, value) in enumerate(self.log[after:], after + 1):
            checksum = advance(checksum, identity)
            entry = {"seq": seq, "id": identity, "checksum": checksum, "clock": seq, "key": key}
            payload.append({**entry, "payload": value})
        return delta(after, len(self.log), payload=payload, checksum=checksum)

    async def publish(self, value: Any, key: str | None = None) -> int:
        self.log.append((str(uuid.uuid4()), key, value))
        seq = len(self.log)
        if key is not None:
            self.known[key] = seq
        text = self.delta(seq - 1)
        for connection in self.connections:
            with contextlib.suppress(ConnectionClosed):
                await connection.send(text)
        return seq

    def cut(self) -> None:
        for connection in self.connections:
            connection.transport.abort()

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] == kind]

    async def sync(self, connection: ServerConnection, streams: dict[str, Any]) -> None:
        if "s" not in streams:
            return
        if self.unavailable:
            self.unavailable -= 1
            error = {"code": 503, "reason": "UNAVAILABLE", "streams": ["s"], "retry_after_ms": 20}
            await connection.send(frame("ERROR", **error))
            return
        claim = parse(streams["s"])
        if claim is None:
            here = self.at(len(self.log))
            state = [value for *_, value in self.log]
            await connection.send(snapshot(here.seq, checksum=here.checksum, payload=state))
            claim = here
        assert claim == self.at(claim.seq), "a client that holds another history"
        await connection.send(self.delta(claim.seq))

    async def talk(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                heard = json.loads(text)
                self.heard.append(heard)
                match heard["type"]:
                    case "HELLO":
                        if self.welcome is None:
                            continue
                        await connection.send(frame("WELCOME", **self.welcome))
                        await self.sync(connection, heard["streams"])
                        self.connections.append(connection)
                    case "SUBSCRIBE":
                        await connection.send(frame("SUBSCRIBED", ref=heard["ref"]))
                        await self.sync(connection, heard["streams"])
                    case "MESSAGE":
                        await self.message(connection, heard)
        if connection in self.connections:
            self.connections.remove(connection)

    async def message(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        answer = self.on_message(message)
        if answer is None:
            duplicate = message["id"] in self.known
            if not duplicate:
                await self.publish(message["payload"], message["id"])
            seq = self.known[message["id"]]
            answer = frame("ACK", id=message["id"], epoch=EPOCH, seq=seq, result=seq, duplicate=duplicate)
            if self.drop_acks:
                self.drop_acks -= 1
                connection.transport.abort()
                return
        await connection.send(answer)


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    async with Board().running() as server:
        yield server


def follow(board: Board, **options: Any) -> tuple[Client, list[Any]]:
    """A quick client of `s`, and what it applied."""
    seen: list[Any] = []

    def reset(item: Snapshot) -> None:
        seen[:] = item.state

    client = connect(board.url, base=0.01, maximum=0.05, **options)
    client.subscribe("s", on_snapshot=reset, on_entries=lambda item: seen.extend(e.payload for e in item))
    return client, seen


async def test_a_stream_arrives_and_goes_on_across_cuts(board):
    for value in range(3):
        await board.publish(value)
    client, seen = follow(board)
    states = []
    client._on_state = states.append
    async with client:
        await client.live("s", 5)
        assert seen == [0, 1, 2]
        await board.publish(3)
        board.cut()
        await board.publish(4)
        await until(lambda: seen == [0, 1, 2, 3, 4])
        assert client.position("s") == board.at(5)
        assert client.metrics["snapshots"] == 1  # the second HELLO got a delta
    assert states == [
        State.RECONNECTING,
        State.CONNECTED,
        State.DISCONNECTED,
        State.RECONNECTING,
        State.CONNECTED,
        State.DISCONNECTED,
    ]


async def test_a_stream_that_is_unavailable_is_asked_for_again_though_nothing_else_happens(board):
    await board.publish(0)
    board.unavailable = 2
    client, seen = follow(board)
    async with client:
        await client.live("s", 5)
    assert seen == [0]
    assert client.metrics["errors"] == 2
    assert client.metrics["connects"] == 1


async def test_a_message_that_shall_be_sent_again_is_though_nothing_else_happens(board):
    refused = {"code": 503, "reason": "UNAVAILABLE", "retry": True, "retry_after_ms": 20}
    tries: list[str] = []

    def refuse(message: dict[str, Any]) -> str | None:
        tries.append(message["id"])
        return frame("REJECT", id=message["id"], **refused) if len(tries) < 3 else None

    board.on_message = refuse
    async with connect(board.url) as client:
        await client.ready(5)
        async with asyncio.timeout(5):
            await client.send("other", "hello")
    assert len(tries) == 3


async def test_the_handshake_is_what_a_browser_would_send(board):
    async with connect(board.url, cookies={"a": "1", "b": "2"}, headers={"X-Test": "yes"}) as client:
        await client.ready(5)
        headers = board.connections[0].request.headers  # type: ignore[union-attr]
        assert headers["Origin"] == f"http://127.0.0.1:{board.port}"
        assert headers["Cookie"] == "a=1; b=2"
        assert headers["X-Test"] == "yes"
        assert headers["Sec-WebSocket-Protocol"] == "reconnect.v1"
    await asyncio.sleep(0.05)
    assert board.connections == []


async def test_a_message_whose_ack_was_cut_off_is_answered_once(board):
    client, seen = follow(board)
    async with client:
        await client.live("s", 5)
        board.drop_acks = 2
        answer = await asyncio.wait_for(client.send("s", "hello"), 5)
        assert answer == Answer(answer.id, EPOCH, 1, 1, True)
        await client.live("s", 5)
        assert seen == ["hello"]
        sent = board.frames("MESSAGE")
        assert [(frame["id"], frame["n"]) for frame in sent] == [(answer.id, 1)] * 3
        assert client.metrics["retransmissions"] == 2


async def test_messages_of_an_outage_arrive_in_order_when_it_ends(board):
    client, seen = follow(board)
    async with client:
        await client.live("s", 5)
        board.welcome = None
        board.cut()
        await until(lambda: client.state is State.RECONNECTING)
        sending = [asyncio.create_task(client.send("s", number)) for number in range(50)]
        await until(lambda: client.waiting == 50)
        assert seen == []
        board.welcome = {}
        client.cut()
        answers = await asyncio.wait_for(asyncio.gather(*sending), 5)
        assert [answer.seq for answer in answers] == list(range(1, 51))
        assert seen == list(range(50))
        await client.drained(1)


async def test_a_storm_of_cuts_loses_and_doubles_nothing(board):
    clients = [follow(board) for _ in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        for client, _ in clients:
            await stack.enter_async_context(client)

        async def send(client: Client, name: int) -> None:
            for number in range(40):
                await client.send("s", [name, number])

        async def cut() -> None:
            while True:
                await asyncio.sleep(0.02)
                board.drop_acks = 1

        storm = asyncio.create_task(cut())
        work = [asyncio.create_task(send(client, name)) for name, (client, _) in enumerate(clients)]
        await asyncio.wait_for(asyncio.gather(*work), 30)
        storm.cancel()
        board.drop_acks = 0
        for client, seen in clients:
            await client.live("s", 5)
            assert seen == [value for *_, value in board.log]
        for name in range(5):
            assert [value[1] for *_, value in board.log if value[0] == name] == list(range(40))
        assert sum(client.metrics["retransmissions"] for client, _ in clients) > 0


@pytest.mark.parametrize("code", [4501, 4503, 4509])
async def test_a_terminal_code_ends_in_failed_and_settles_everything(board, code):
    client, _ = follow(board)
    async with client:
        await client.live("s", 5)
        board.on_message = lambda message: ""  # never a proper answer
        sending = asyncio.create_task(client.send("s", 1))
        iterator = client.stream("s")
        await asyncio.sleep(0.05)
        attempts = client.metrics["attempts"]
        await board.connections[0].close(code)
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(sending, 5)
        assert client.state is State.FAILED
        assert client.metrics["attempts"] == attempts
        for doomed in (client.send("s", 1), client.live("s"), client.ready()):
            with pytest.raises(Closed) as closed:
                await doomed
            assert closed.value.code == code
        with pytest.raises(Closed):
            async for _item in iterator:
                pass
        client.reopen()
        await client.live("s", 5)


async def test_a_server_without_the_subprotocol_is_reported_not_talked_to():
    board = Board()
    board.subprotocols = None
    errors: list[Exception] = []
    async with (
        board.running(),
        connect(board.url, base=0.01, maximum=0.02, on_error=errors.append) as client,
    ):
        await until(lambda: errors)
        assert client.state is State.RECONNECTING
        assert isinstance(errors[0], HandshakeError)
        assert board.heard == []


async def test_three_opens_without_welcome_are_reported(board):
    board.welcome = None
    errors: list[Exception] = []
    options = {"base": 0.01, "maximum": 0.02, "connect_timeout": 0.05}
    async with connect(board.url, on_error=errors.append, **options) as client:
        await until(lambda: len(board.frames("HELLO")) >= 5)
        assert [type(error) for error in errors] == [HandshakeError]
        assert client.state is State.RECONNECTING
        board.welcome = {}
        await client.ready(5)


async def test_attempts_run_out_when_they_are_bounded():
    async with connect("ws://127.0.0.1:9/", base=0.01, maximum=0.01, max_attempts=2) as client:
        with pytest.raises(Closed):
            await client.ready(5)
        assert client.state is State.FAILED
        assert client.metrics["attempts"] == 2
        client.reopen()
        with pytest.raises(Closed):
            await client.ready(5)
        assert client.metrics["attempts"] == 4


async def test_a_silent_connection_is_dead(board):
    client, _ = follow(board, silence=0.1)
    async with client:
        await client.live("s", 5)
        board.connections.clear()  # as if the server had forgotten
        await until(lambda: len(board.frames("HELLO")) > 1)
        assert client.metrics["silent"] > 0


async def test_async_handlers_run_in_order_and_hold_back_acknowledgements_not_heartbeats(board):
    applied: list[int] = []
    gate = asyncio.Event()

    async def slowly(item: Entries) -> None:
        await gate.wait()
        applied.extend(entry.seq for entry in item)

    async with connect(board.url) as client:
        client.subscribe("s", on_entries=slowly)
        await client.live("s", 5)
        for value in range(600):
            await board.publish(value)
        await board.connections[0].send(frame("PING", t=9, heads={}))
        await until(lambda: board.frames("PONG"))
        assert applied == []
        assert board.frames("PONG")[0]["streams"]["s"]["last_seq_id"] == 0
        assert client.position("s") == board.at(600)
        gate.set()
        await client.live("s", 5)
        assert applied == list(range(1, 601))
        await until(lambda: len(board.frames("ACK")) == 3)
        acked = [frame["streams"]["s"]["last_seq_id"] for frame in board.frames("ACK")]
        assert acked == [0, 250, 500]


async def test_a_handler_may_send_and_wait_for_the_answer(board):
    answered = []

    async def echo(item: Entries) -> None:
        for entry in item:
            if entry.payload == "ping":
                answered.append(await client.send("s", "pong"))

    async with connect(board.url) as client:
        client.subscribe("s", on_entries=echo)
        await client.live("s", 5)
        await board.publish("ping")
        await until(lambda: answered)
        assert answered[0].seq == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handler_that_raises_gets_a_snapshot(board, asynchronous):
    seen: list[Any] = []
    errors: list[Exception] = []

    def apply(item: Entries) -> None:
        if any(entry.payload == "bad" for entry in item):
            raise KeyError("bad")
        seen.extend(entry.payload for entry in item)

    async def apply_later(item: Entries) -> None:
        await asyncio.sleep(0)
        apply(item)

    def reset(item: Snapshot) -> None:
        seen[:] = item.state

    async with connect(board.url, on_error=errors.append) as client:
        client.subscribe("s", on_snapshot=reset, on_entries=apply_later if asynchronous else apply)
        await client.live("s", 5)
        for value in ("good", "bad", "better"):
            await board.publish(value)
        await until(lambda: seen == ["good", "bad", "better"])
        assert isinstance(errors[0], HandlerError)
        assert isinstance(errors[0].__cause__, KeyError)
        assert client.state is State.CONNECTED
        assert client.metrics["handler_errors"] == 1


async def test_a_stream_can_be_iterated(board):
    await board.publish("old")
    items: list[Any] = []
    async with connect(board.url, base=0.01) as client:
        async with client.stream("s") as stream:
            async for item in stream:
                items.append(item)
                if len(items) == 1:
                    await board.publish("new")
                elif len(items) == 2:
                    board.cut()
                    await board.publish("newer")
                else:
                    break
        assert client.position("s") is None
        await asyncio.sleep(0.05)
        assert board.frames("UNSUBSCRIBE")
    assert isinstance(items[0], Snapshot)
    assert items[0].state == ["old"]
    assert [entry.payload for item in items[1:] for entry in item] == ["new", "newer"]


async def test_closing_ends_an_iteration(board):
    client = connect(board.url)
    async with client:
        stream = client.stream("s")
        reading = asyncio.create_task(anext(stream))
        await reading
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.02)
    with pytest.raises(StopAsyncIteration):
        await reading
    with pytest.raises(Closed):
        await client.send("s", 1)


async def test_two_subscribers_each_see_everything(board):
    await board.publish("old")
    first: list[Any] = []
    second: list[Any] = []
    async with connect(board.url) as client:
        one = client.subscribe("s", on_snapshot=lambda item: first.append(item.state))
        await client.live("s", 5)
        client.subscribe(
            "s",
            on_snapshot=lambda item: second.append(item.state),
            on_entries=lambda item: second.extend(entry.payload for entry in item),
        )
        await client.live("s", 5)
        one.close()
        await board.publish("new")
        await until(lambda: second == [["old"], "new"])
        assert first == [["old"], ["old"]]


async def test_a_refused_stream_raises_where_it_is_waited_for(board):
    async with connect(board.url) as client:
        client.subscribe("secret")
        await client.ready(5)
        stream = client.stream("other")
        await board.connections[0].send(
            frame("ERROR", code=403, reason="FORBIDDEN", streams=["secret", "other"], ref=None)
        )
        board.on_message = lambda message: None
        with pytest.raises(Refused) as refused:
            await client.live("secret", 5)
        assert refused.value.code == 403
        del stream


async def test_rejections_reach_the_sender(board):
    board.on_message = lambda message: frame(
        "REJECT", id=message["id"], code=422, reason="INVALID", detail={"field": "no"}, retry=False
    )
    async with connect(board.url) as client:
        with pytest.raises(Rejected) as rejected:
            await asyncio.wait_for(client.send("s", 1), 5)
        assert (rejected.value.code, rejected.value.detail) == (422, {"field": "no"})


async def test_a_message_that_is_evicted_raises_overflow():
    async with connect("ws://127.0.0.1:9/", max_messages=2) as client:
        first, *others = [asyncio.create_task(client.send("s", number)) for number in range(3)]
        with pytest.raises(QueueOverflow):
            await asyncio.wait_for(first, 5)
        assert client.waiting == 2
        assert client.metrics["evicted"] == 1
        others[0].cancel()
        await asyncio.gather(*others[:1], return_exceptions=True)
        assert client.waiting == 1  # it was never sent, so it is taken back
        await client.close()
        with pytest.raises(Closed):
            await others[1]


async def test_callbacks_that_raise_do_not_break_the_connection(board):
    def broken(*arguments: object) -> None:
        raise RuntimeError("in a callback")

    async with connect(board.url, on_state=broken, on_error=broken) as client:
        client.subscribe("s")
        await client.live("s", 5)


async def test_bye_is_heeded(board):
    client, seen = follow(board)
    async with client:
        await client.live("s", 5)
        await board.connections[0].send(
            frame("BYE", code=4012, reason="GOING_AWAY", reconnect=True, retry_after_ms=[200, 250])
        )
        await until(lambda: client.state is not State.CONNECTED)
        left = asyncio.get_running_loop().time()
        await board.publish("meanwhile")
        await client.live("s", 5)
        assert 0.15 < asyncio.get_running_loop().time() - left < 1
        assert seen == ["meanwhile"]


async def test_nothing_of_the_client_is_left_behind(board):
    before = asyncio.all_tasks()
    client, _ = follow(board)
    async with client:
        await client.live("s", 5)
        client.subscribe("s", on_snapshot=lambda item: asyncio.sleep(60))
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() - before == set()


def test_it_needs_no_django():
    code = "import sys, reconnect_channels.client; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The exchange, rule by rule; test_exchange_machine.py says the same of any order of events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.actions import (
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
from reconnect_channels.protocol.clock import MAX_JUMP, LamportClock
from reconnect_channels.protocol.codes import Close
from reconnect_channels.protocol.exchange import Exchange, Phase
from reconnect_channels.protocol.limits import Limits
from reconnect_channels.protocol.position import Position
from reconnect_channels.protocol.subscription import Drift, State

from .strategies import EPOCH, OTHER_EPOCH, nested, short
from .talk import ack, hello, message, message_id, only, opened, said, subscribe, unsubscribe
from .vectors import each, load, text

WIRE = {"epoch": EPOCH, "last_seq_id": 41, "checksum": 1234}
POSITION = Position(EPOCH, 41, 1234)


def at(seq: int, checksum: int | None = None) -> Position:
    return Position(EPOCH, seq, seq if checksum is None else checksum)


# -- opening -------------------------------------------------------------------------------------------


def test_a_good_hello_is_greeted_with_its_claims():
    exchange = Exchange(0.0)
    (greet,) = exchange.receive(hello(streams={"a": WIRE, "b": None}, attempt=3), 1.0)
    assert greet == Greet(exchange.hello, {"a": POSITION, "b": None})
    assert exchange.hello.attempt == 3
    assert exchange.phase is Phase.OPEN


EARLY = [
    subscribe(1, {"s": None}),
    unsubscribe(1, "s"),
    message(),
    ack({"s": WIRE}),
    json.dumps({"type": "PONG"}),
    json.dumps({"type": "TELEMETRY"}),
]


@pytest.mark.parametrize("frame", EARLY, ids=lambda frame: json.loads(frame)["type"])
def test_nothing_is_done_before_hello(frame):
    exchange = Exchange(0.0)
    answer = only(exchange.receive(frame, 1.0))
    assert (answer["type"], answer["code"], answer["reason"]) == ("ERROR", 400, "HELLO")
    assert exchange.phase is Phase.AWAITING_HELLO
    assert isinstance(exchange.receive(hello(), 2.0)[0], Greet)


def test_hello_is_said_once():
    exchange = opened()
    answer = only(exchange.receive(hello(), 1.0))
    assert (answer["code"], answer["reason"]) == (400, "HELLO")
    assert exchange.phase is Phase.OPEN


def test_another_protocol_ends_the_exchange_for_good():
    exchange = Exchange(0.0)
    (bye,) = exchange.receive(hello(protocol="reconnect.v2"), 1.0)
    assert bye.code is Close.BAD_PROTOCOL
    assert "reconnect.v1" in bye.reason


def test_too_many_streams_in_hello_leave_the_exchange_waiting():
    exchange = Exchange(0.0, Limits(max_streams=2))
    answer = only(exchange.receive(hello(streams=dict.fromkeys("abc")), 1.0))
    assert (answer["code"], answer["reason"]) == (413, "LIMIT")
    assert isinstance(exchange.receive(hello(streams=dict.fromkeys("ab")), 2.0)[0], Greet)


@pytest.mark.parametrize(("now", "ends"), [(9.999, False), (10.0, True), (50.0, True)])
def test_no_hello_within_ten_seconds(now, ends):
    exchange = Exchange(0.0)
    exchange.receive("garbage", 9.0)  # noise is no HELLO
    actions = exchange.tick(now)
    assert actions == ([Bye(Close.NO_HELLO, "no HELLO")] if ends else [])


# -- positions that can't be ---------------------------------------------------------------------------

MALFORMED = {"b": {"epoch": 1}, "a": 5, "d": {**WIRE, "last_seq_id": -1}}


@pytest.mark.parametrize("opening", [True, False], ids=["HELLO", "SUBSCRIBE"])
def test_invalid_positions_are_all_named_once_and_then_comes_one_bye(opening):
    claims = {**MALFORMED, "c": WIRE, "n": None}
    if opening:
        exchange = Exchange(0.0)
        actions = exchange.receive(hello(streams=claims), 1.0)
    else:
        exchange = opened(z=None)
        (subscription,) = exchange.subscriptions.values()
        actions = exchange.receive(subscribe(7, claims), 1.0)
        left = actions.pop(1)
        assert left == Leave([subscription])
        assert subscription.state is State.ENDED
    refusal, bye = actions
    frame = only([refusal])
    assert (frame["code"], frame["reason"], frame["streams"]) == (400, "INVALID_SEQ", ["a", "b", "d"])
    assert frame.get("ref") == (None if opening else 7)
    assert (bye.code, bye.reason) == (Close.INVALID_SEQ, "INVALID_SEQ")
    assert exchange.phase is Phase.CLOSED
    assert exchange.subscriptions == {}
    assert exchange.close(Close.RESYNC, "again") == []


def test_a_shell_that_finds_a_position_beyond_the_head_ends_it_alike():
    exchange = opened(a=WIRE)
    refusal, left, bye = exchange.invalid_seq({"b", "a"}, 3)
    assert only([refusal])["streams"] == ["a", "b"]
    assert isinstance(left, Leave)
    assert bye.code is Close.INVALID_SEQ


def test_a_malformed_position_in_an_ack_is_an_error_and_no_end():
    exchange = opened(s=WIRE)
    answer = only(exchange.receive(ack({"b": 1, "a": {"epoch": ""}, "s": WIRE}), 1.0))
    assert (answer["code"], answer["reason"], sorted(answer["streams"])) == (400, "INVALID_SEQ", ["a", "b"])
    assert exchange.phase is Phase.OPEN


# -- subscribing ---------------------------------------------------------------------------------------


def test_subscribe_asks_to_join_with_the_claims():
    exchange = opened()
    (join,) = exchange.receive(subscribe(5, {"a": WIRE, "b": None}), 1.0)
    assert (join.ref, join.claims) == (5, {"a": POSITION, "b": None})
    assert [(s.name, s.ref, s.state) for s in join.subscriptions] == [
        ("a", 5, State.PENDING),
        ("b", 5, State.PENDING),
    ]
    assert list(exchange.subscriptions.values()) == join.subscriptions


def test_subscribing_again_leaves_the_older_subscription_first():
    exchange = opened(a=None, b=None)
    older = exchange.subscriptions["a"]
    leave, join = exchange.receive(subscribe(5, {"a": WIRE}), 1.0)
    assert leave == Leave([older])
    assert older.state is State.ENDED
    assert join.subscriptions == [exchange.subscriptions["a"]] != [older]
    assert exchange.subscriptions.keys() == {"a", "b"}


def test_unsubscribe_leaves_and_answers():
    exchange = opened(a=None, b=None, c=None)
    gone = [exchange.subscriptions["a"], exchange.subscriptions["b"]]
    leave, answer = exchange.receive(unsubscribe(6, "a", "b", "a", "nobody"), 1.0)
    assert leave == Leave(gone)
    assert all(subscription.state is State.ENDED for subscription in gone)
    assert only([answer]) == {"type": "UNSUBSCRIBED", "ref": 6}
    assert exchange.subscriptions.keys() == {"c"}


def test_unsubscribing_what_was_never_subscribed_is_answered_all_the_same():
    assert only(opened().receive(unsubscribe(6, "nobody"), 1.0)) == {"type": "UNSUBSCRIBED", "ref": 6}


def test_the_limit_of_streams_counts_each_stream_once():
    exchange = opened(limits=Limits(max_streams=3), a=None, b=None)
    assert isinstance(exchange.receive(subscribe(1, {"a": None, "c": None}), 1.0)[-1], Join)
    answers = said(exchange.receive(subscribe(2, {"d": None}), 1.0))
    assert answers[0] == {"type": "SUBSCRIBED", "ref": 2}
    assert {key: answers[1][key] for key in ("code", "reason", "ref", "streams")} == {
        "code": 413,
        "reason": "LIMIT",
        "ref": 2,
        "streams": ["d"],
    }
    assert exchange.subscriptions.keys() == {"a", "b", "c"}


def test_what_an_error_says_has_ended_has_ended():
    """docs/protocol.md 5.3: ERROR 413 with `ref` names the streams that have ended."""
    exchange = opened(limits=Limits(max_streams=2), a=None, b=None)
    older = exchange.subscriptions["a"]
    actions = exchange.receive(subscribe(1, {"a": WIRE, "c": None}), 1.0)
    (refused,) = [frame for frame in said(actions) if frame["type"] == "ERROR"]
    if "a" in refused["streams"]:
        assert "a" not in exchange.subscriptions
        assert older.state is State.ENDED
        assert Leave([older]) in actions
    else:
        assert exchange.subscriptions["a"] is not None


def test_a_thousand_subscriptions_are_at_most_a_hundred():
    exchange = opened()
    for ref in range(1_000):
        exchange.receive(subscribe(ref, {f"s{ref}": None}), 1.0)
    assert len(exchange.subscriptions) == 100


# -- acknowledging -------------------------------------------------------------------------------------


def test_an_ack_wakes_a_stream_that_is_catching_up_when_there_is_credit():
    exchange = opened(s=None)
    subscription = exchange.subscriptions["s"]
    subscription.state = State.CATCHING_UP
    subscription.start(at(0), 0.0)
    subscription.took(at(500), 1, 0.0)
    subscription.took(at(1_000), 1, 0.0)
    assert exchange.receive(ack({"s": at(100).wire()}), 1.0) == []
    assert exchange.receive(ack({"s": at(500).wire()}), 1.0) == [Wake(subscription)]
    subscription.state = State.LIVE
    assert exchange.receive(ack({"s": at(1_000).wire()}), 1.0) == []


@pytest.mark.parametrize("kind", ["ACK", "PONG"])
def test_a_wrong_checksum_in_an_ack_or_pong_asks_for_a_resync(kind):
    exchange = opened(s=None)
    subscription = exchange.subscriptions["s"]
    subscription.start(at(0), 0.0)
    subscription.took(at(5), 1, 0.0)
    wrong = json.dumps({"type": kind, "streams": {"s": at(5, 77).wire()}})
    assert exchange.receive(wrong, 1.0) == [Resync(subscription, at(5, 77)), Drifting(Drift.DIVERGED)]
    assert exchange.receive(wrong, 2.0) == []  # the same drift: its snapshot isn't acknowledged yet
    subscription.start(at(6), 3.0)
    right = json.dumps({"type": kind, "streams": {"s": at(6).wire()}})
    assert exchange.receive(right, 4.0) == [Drifting(Drift.NONE)]


def test_acks_of_what_is_not_subscribed_are_ignored():
    exchange = opened(s=None)
    assert exchange.receive(ack({"x": WIRE, "s": None}, x=5), 1.0) == []
    exchange.receive(unsubscribe(1, "s"), 1.0)
    assert exchange.receive(ack({"s": WIRE}), 1.0) == []


def test_each_part_of_a_snapshot_wakes_once():
    exchange = opened(s=None)
    (subscription,) = exchange.subscriptions.values()
    assert exchange.receive(ack({}, s=1), 1.0) == [Wake(subscription)]
    assert exchange.receive(ack({}, s=1), 2.0) == []
    assert exchange.receive(ack({}, s=2), 3.0) == [Wake(subscription)]
    assert exchange.receive(ack({}, s=1), 4.0) == []
    assert (subscription.part_acked, subscription.progressed) == (2, 3.0)


# -- messages ------------------------------------------------------------------------------------------


def test_a_good_message_is_delivered_and_moves_the_clock():
    exchange = opened()
    (deliver,) = exchange.receive(message(1, {"move": 7}, clock=9), 1.0)
    assert isinstance(deliver, Deliver)
    assert (deliver.message.id, deliver.message.payload) == (message_id(1), {"move": 7})
    assert exchange.clock.now == 9


def test_the_rate_is_a_burst_and_then_a_promise():
    exchange = opened(limits=Limits(rate=3, burst=3))
    answers = [exchange.receive(message(number), 1.0) for number in range(5)]
    assert [isinstance(actions[0], Deliver) for actions in answers] == [True, True, True, False, False]
    refusal = only(answers[3])
    assert (refusal["type"], refusal["id"]) == ("REJECT", message_id(3))
    assert (refusal["code"], refusal["reason"], refusal["retry"]) == (429, "RATE", True)
    assert 334 <= refusal["retry_after_ms"] <= 335
    later = 1.0 + refusal["retry_after_ms"] / 1000
    assert isinstance(exchange.receive(message(3), later)[0], Deliver)


def test_each_message_over_the_rate_is_given_a_turn_of_its_own():
    exchange = opened(limits=Limits(rate=50, burst=10))
    answers = [exchange.receive(message(number), 1.0) for number in range(18)]
    assert all(isinstance(actions[0], Deliver) for actions in answers[:10])
    turns = [only(actions)["retry_after_ms"] for actions in answers[10:]]
    assert turns == [number * 20 + 1 for number in range(1, 9)]
    for number, turn in enumerate(turns, 10):
        assert isinstance(exchange.receive(message(number), 1.0 + turn / 1000)[0], Deliver)
    assert only(exchange.receive(message(18), 1.162))["retry_after_ms"] <= 21  # all had their turn


@pytest.mark.parametrize(("burst", "most"), [(1, 501), (4, 2_001), (1_000, 10_001)])
def test_whoever_floods_is_not_sent_away_for_longer_than_the_bucket_takes_to_be_full(burst, most):
    exchange = opened(limits=Limits(rate=2, burst=burst))
    answers = [exchange.receive(message(number), 1.0) for number in range(burst + 500)]
    waits = [only(actions)["retry_after_ms"] for actions in answers[burst:]]
    assert max(waits) == most


@pytest.mark.parametrize(("ahead", "taken"), [(0, True), (MAX_JUMP, True), (MAX_JUMP + 1, False)])
def test_a_clock_too_far_ahead_is_refused(ahead, taken):
    exchange = Exchange(0.0, clock=LamportClock(100))
    exchange.receive(hello(), 0.0)
    actions = exchange.receive(message(clock=100 + ahead), 1.0)
    if taken:
        assert isinstance(actions[0], Deliver)
        assert exchange.clock.now == 100 + ahead
    else:
        refusal = only(actions)
        assert (refusal["code"], refusal["reason"], refusal["retry"]) == (400, "CLOCK", False)
        assert exchange.clock.now == 100


@pytest.mark.parametrize(
    ("payload", "taken"),
    [
        ("x" * 65_534, True),
        ("x" * 65_535, False),
        ("x" * 66_560, False),
        ("\u20ac" * 21_844, True),
        ("\u20ac" * 21_845, False),
    ],
    ids=["64 KiB", "one byte more", "65 KiB", "64 KiB of three bytes each", "one more of them"],
)
def test_a_payload_is_at_most_64_kib(payload, taken):
    exchange = opened()
    frame = message(1, payload) if payload.isascii() else message(1, 0).replace("0}", f'"{payload}"}}')
    actions = exchange.receive(frame, 1.0)
    if taken:
        assert isinstance(actions[0], Deliver)
    else:
        refusal = only(actions)
        assert (refusal["type"], refusal["id"]) == ("REJECT", message_id(1))
        assert (refusal["code"], refusal["reason"], refusal["retry"]) == (413, "SIZE", False)


def test_the_size_limit_is_a_setting():
    exchange = opened(limits=Limits(max_message=5))
    assert isinstance(exchange.receive(message(1, "abc"), 1.0)[0], Deliver)
    assert only(exchange.receive(message(2, "abcd"), 1.0))["code"] == 413


@pytest.mark.parametrize(
    "payload",
    [
        "a\0b",
        {"a\0b": 1},
        {"__proto__": 1},
        2**53 + 1,
        -(2**53) - 1,
        2**64,
        nested(33),
        [0] * 1_000,
        [0] * 3_000,
    ],
    ids=[
        "NUL",
        "NUL in a key",
        "__proto__",
        "2^53+1",
        "-2^53-1",
        "2^64",
        "33 levels",
        "1001 values",
        "3001 values",
    ],
)
def test_a_payload_that_cannot_be_kept_is_rejected_by_its_id(payload):
    """Otherwise its sender never learns which message it was, and sends it for ever."""
    exchange = opened()
    refusal = only(exchange.receive(message(1, payload), 1.0))
    assert (refusal["type"], refusal.get("id")) == ("REJECT", message_id(1))
    assert (refusal["code"], refusal["reason"], refusal["retry"]) == (400, "JSON", False)
    assert isinstance(exchange.receive(message(2), 1.0)[0], Deliver)


@pytest.mark.parametrize(
    "payload",
    [
        nested(32),
        nested(31, []),
        nested(31, {"a": 1}),
        [0] * 999,
        2**53,
        -(2**53),
        "\U0001f469\u200d\u2028",
        None,
        {},
    ],
    ids=short,
)
def test_a_payload_at_its_limits_is_delivered(payload):
    (deliver,) = opened().receive(message(1, payload), 1.0)
    assert isinstance(deliver, Deliver)
    assert deliver.message.payload == payload


# -- bad frames ----------------------------------------------------------------------------------------


@each("frames", **{"from": "client", "valid": False})
@pytest.mark.parametrize("opening", [False, True], ids=["open", "opening"])
def test_a_bad_frame_is_answered_and_lived_through(case, opening):
    exchange = Exchange(0.0) if opening else opened(a=None)
    answer = only(exchange.receive(text(case), 1.0))
    assert (answer["code"], answer["reason"]) == (case["code"], case["reason"])
    if "id" in case:
        assert (answer["type"], answer["id"], answer["retry"]) == ("REJECT", case["id"], False)
    else:
        assert (answer["type"], answer.get("ref")) == ("ERROR", case.get("ref"))
    if opening:
        assert isinstance(exchange.receive(hello(), 2.0)[0], Greet)
    else:
        assert exchange.subscriptions.keys() == {"a"}
        assert isinstance(exchange.receive(subscribe(1, {"b": None}), 2.0)[0], Join)


def test_the_whole_corpus_on_one_connection():
    exchange = opened(a=None)
    for case in load("frames"):
        if case["from"] == "client" and not case["valid"]:
            assert all(isinstance(action, Send) for action in exchange.receive(text(case), 1.0))
    assert isinstance(exchange.receive(message(), 2.0)[0], Deliver)


@given(st.none() | st.text() | st.binary(), st.booleans())
def test_any_frame_at_all_is_lived_through(raw, opening):
    exchange = Exchange(0.0) if opening else opened()
    (answer,) = exchange.receive(raw, 1.0)
    assert json.loads(answer.text)["type"] == "ERROR"


def telemetry(**fields):
    return json.dumps({"type": "TELEMETRY", "metrics": {"ws_queue_depth": 3, "mine": 1}, **fields})


def test_telemetry_is_handed_on_without_unknown_names():
    assert opened().receive(telemetry(), 1.0) == [Report({"ws_queue_depth": 3.0}, None)]


def test_telemetry_says_in_which_environment():
    assert opened().receive(telemetry(environment="firefox"), 1.0) == [
        Report({"ws_queue_depth": 3.0}, "firefox")
    ]


def test_telemetry_brings_transitions_without_those_that_are_malformed():
    steps = [[1200, "CONNECTED", "DISCONNECTED"], [1, "CONNECTED", "CONNECTED"], [2], None]
    assert opened().receive(telemetry(metrics={}, transitions=steps), 1.0) == [
        Report({}, None, ((1200, "CONNECTED", "DISCONNECTED"),))
    ]


def test_telemetry_that_says_nothing_known_is_ignored():
    assert opened().receive(telemetry(metrics={"mine": 1}), 1.0) == [Ignore()]


def test_one_report_in_ten_seconds_and_the_others_are_ignored():
    exchange = opened()
    actions = [exchange.receive(telemetry(), float(at)) for at in range(35)]
    assert [at for at, action in enumerate(actions) if action != [Ignore()]] == [0, 10, 20, 30]


# -- time ----------------------------------------------------------------------------------------------


def test_a_heartbeat_every_15_seconds():
    exchange = opened()
    pings = []
    for tenth in range(1, 1_000):
        exchange.receive('{"type":"PONG"}', tenth / 10)
        if exchange.tick(tenth / 10) == [Ping()]:
            pings.append(tenth / 10)
    assert pings == [15, 30, 45, 60, 75, 90]


def test_silence_ends_the_exchange_25_seconds_after_the_first_ping():
    exchange = opened()
    exchange.receive("anything counts as a sign of life", 10.0)
    assert exchange.tick(15.0) == [Ping()]
    assert exchange.tick(25.0 + 14.9) == [Ping()]
    assert exchange.tick(10.0 + 15.0 + 24.9) == []
    assert exchange.tick(10.0 + 15.0 + 25.0) == [Bye(Close.STALLED, "silent")]
    assert exchange.tick(1_000.0) == []


def stalled(exchange: Exchange, start: float, *, seconds: float, waiting: bool) -> list:
    """Ticks and sends noise, that only the ACKs be missing."""
    for subscription in exchange.subscriptions.values():
        subscription.waiting = waiting
    actions = []
    for step in range(1, int(seconds * 10) + 1):
        now = start + step / 10
        exchange.receive('{"type":"PONG"}', now)
        actions += [action for action in exchange.tick(now) if action != Ping()]
    return actions


@pytest.mark.parametrize(("seconds", "ends"), [(24.9, False), (25.0, True)])
def test_no_ack_progress_for_25_seconds_while_waiting(seconds, ends):
    exchange = opened(s=None)
    (subscription,) = exchange.subscriptions.values()
    actions = stalled(exchange, 0.0, seconds=seconds, waiting=True)
    assert actions == ([Leave([subscription]), Bye(Close.STALLED, "no ACK progress")] if ends else [])


def test_no_ack_progress_is_no_fault_while_nobody_waits():
    exchange = opened(s=None)
    assert stalled(exchange, 0.0, seconds=100, waiting=False) == []
    assert stalled(exchange, 100.0, seconds=24.9, waiting=True) == []  # the time before doesn't count


@pytest.mark.parametrize("how", ["ack", "part", "start"])
def test_progress_gives_another_25_seconds(how):
    exchange = opened(s=None)
    (subscription,) = exchange.subscriptions.values()
    subscription.start(at(0), 0.0)
    subscription.took(at(5), 1, 0.0)
    assert stalled(exchange, 0.0, seconds=20, waiting=True) == []
    if how == "start":
        subscription.start(at(9), 20.0)
    else:
        exchange.receive(ack({"s": at(3).wire()}) if how == "ack" else ack({}, s=1), 20.0)
    assert stalled(exchange, 20.0, seconds=24.9, waiting=True) == []
    assert stalled(exchange, 44.9, seconds=1, waiting=True)[-1].code is Close.STALLED


@pytest.mark.parametrize(
    "frame",
    [ack({"s": at(3).wire()}), ack({"s": at(9).wire()}), ack({"s": {**at(4).wire(), "epoch": OTHER_EPOCH}})],
    ids=["repeated", "beyond", "foreign"],
)
def test_an_ack_that_covers_nothing_new_is_no_progress(frame):
    exchange = opened(s=None)
    (subscription,) = exchange.subscriptions.values()
    subscription.start(at(3), 0.0)
    subscription.took(at(5), 1, 0.0)
    assert stalled(exchange, 0.0, seconds=20, waiting=True) == []
    exchange.receive(frame, 20.0)
    assert stalled(exchange, 20.0, seconds=5, waiting=True)[-1].code is Close.STALLED


# -- the end -------------------------------------------------------------------------------------------


def test_after_the_end_there_is_nothing():
    exchange = opened(a=None, b=None)
    gone = list(exchange.subscriptions.values())
    bye = Bye(Close.GOING_AWAY, "deploy", (100, 5_000))
    assert exchange.close(Close.GOING_AWAY, "deploy", (100, 5_000)) == [Leave(gone), bye]
    assert all(subscription.state is State.ENDED for subscription in gone)
    assert exchange.subscriptions == {}
    for frame in [*EARLY, hello(), "garbage", None]:
        assert exchange.receive(frame, 2.0) == []
    assert exchange.tick(1_000.0) == []
    assert exchange.close(Close.FORBIDDEN, "again") == []


def test_the_limits_that_welcome_says():
    assert Limits().wire() == {
        "message_bytes": 65_536,
        "frame_bytes": 131_072,
        "streams": 100,
        "rate": 50,
        "burst": 1_000,
        "in_flight": 16,
        "ack_entries": 250,
        "ack_bytes": 196_608,
        "window_entries": 1_000,
        "window_bytes": 1_048_576,
    }

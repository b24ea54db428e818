from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.position import MODULUS, Position
from reconnect_channels.protocol.subscription import Subscription

from .strategies import EPOCH, OTHER_EPOCH

PAGE = 256 * 1024


def checksum(seq: int) -> int:
    """The history that was sent."""
    return seq * 7 % MODULUS


def at(seq: int, off: int = 0, epoch: str = EPOCH) -> Position:
    return Position(epoch, seq, (checksum(seq) + off) % MODULUS)


def started(seq: int = 0) -> Subscription:
    subscription = Subscription("s", 1, 0.0)
    subscription.start(at(seq), 0.0)
    return subscription


frames = st.tuples(
    st.just("send"),
    st.sampled_from([0, 1, 3, 250, 500, 501, 999]),
    st.sampled_from([1, PAGE // 2, PAGE, PAGE * 2]),
)
acks = st.tuples(
    st.just("ack"),
    st.integers(-600, 2_000),
    st.sampled_from([0, 0, 0, 1, MODULUS - 1]),
    st.sampled_from([EPOCH, EPOCH, OTHER_EPOCH]),
)
boundary_acks = st.tuples(st.just("ack at frame"), st.integers(0, 5), st.sampled_from([0, 0, 1]))
restarts = st.tuples(st.just("start"), st.integers(0, 5_000))


@given(st.lists(frames | acks | boundary_acks | restarts, max_size=30))
def test_an_ack_frees_exactly_what_it_covers(steps):
    """Against a plain list of the frames that are not acknowledged yet."""
    subscription = started()
    sent = acked = 0
    waiting: list[tuple[int, int]] = []  # (to, size)
    now = progressed = 0.0
    for step in steps:
        now += 1
        if step[0] == "send":
            sent += step[1]
            waiting.append((sent, step[2]))
            subscription.took(at(sent), step[2])
        elif step[0] == "start":
            sent = acked = step[1]
            waiting.clear()
            progressed = now
            subscription.start(at(sent), now)
        else:
            if step[0] == "ack at frame":
                seq, off, epoch = (waiting[step[1] % len(waiting)][0] if waiting else sent), step[2], EPOCH
            else:
                seq, off, epoch = acked + step[1], step[2], step[3]
            position = at(seq, off, epoch)
            proven = subscription.acknowledge(position, now)
            if epoch != EPOCH or not acked <= seq <= sent:
                assert proven  # late or nonsense: harmless
            else:
                boundary = seq == sent or seq in [to for to, _ in waiting]
                assert proven == (off == 0 or not boundary)
                progressed = now if seq > acked else progressed
                acked = seq
                waiting = [(to, size) for to, size in waiting if to > seq]
        assert subscription.sent == at(sent)
        assert subscription.acked == acked
        assert subscription.unacked == sent - acked >= 0
        assert subscription.progressed == progressed
        size = sum(size for _, size in waiting)
        assert subscription.has_room == (sent - acked < 1_000 and size < 1 << 20)
        assert subscription.has_credit == (sent - acked <= 500 and size <= PAGE)


@pytest.mark.parametrize("seq", [3, 5, 9])
def test_a_wrong_checksum_is_noticed_at_the_end_of_every_frame(seq):
    for off in (1, MODULUS - 1, 12345):
        subscription = started()
        for to in (3, 5, 9):
            subscription.took(at(to), 10)
        assert not subscription.acknowledge(at(seq, off), 1.0)


def test_a_wrong_checksum_at_the_very_start_is_noticed():
    subscription = started(7)
    assert not subscription.acknowledge(at(7, 1), 1.0)
    assert subscription.acknowledge(at(7), 1.0)


def test_a_wrong_checksum_is_noticed_again_at_the_position_last_sent():
    subscription = started()
    subscription.took(at(3), 10)
    assert subscription.acknowledge(at(3), 1.0)
    assert not subscription.acknowledge(at(3, 1), 2.0)


@pytest.mark.parametrize(
    "position",
    [at(2), at(11), at(2**53), at(2, 1), at(11, 1), at(7, 0, OTHER_EPOCH), at(10, 1, OTHER_EPOCH)],
    ids=[
        "backwards",
        "beyond",
        "far",
        "backwards, wrong",
        "beyond, wrong",
        "other epoch",
        "other epoch, wrong",
    ],
)
def test_a_late_or_foreign_ack_changes_nothing(position):
    subscription = started()
    subscription.took(at(4), 10)
    subscription.took(at(10), 10)
    subscription.acknowledge(at(4), 1.0)
    before = (subscription.sent, subscription.acked, subscription.progressed, subscription.unacked)
    assert subscription.acknowledge(position, 2.0)
    assert (subscription.sent, subscription.acked, subscription.progressed, subscription.unacked) == before
    assert not subscription.acknowledge(at(10, 1), 3.0)  # and the marks are still there


def test_an_ack_before_anything_was_sent_is_harmless():
    subscription = Subscription("s", 1, 0.0)
    assert subscription.acknowledge(at(5), 1.0)
    assert (subscription.unacked, subscription.has_room, subscription.has_credit) == (0, True, True)


@pytest.mark.parametrize(
    ("entries", "room", "credit"),
    [(500, True, True), (501, True, False), (999, True, False), (1_000, False, False)],
)
def test_the_window_in_entries(entries, room, credit):
    subscription = started(42)
    subscription.took(at(42 + entries), 1)
    assert (subscription.has_room, subscription.has_credit) == (room, credit)


@pytest.mark.parametrize(
    ("size", "room", "credit"),
    [(PAGE, True, True), (PAGE + 1, True, False), ((1 << 20) - 1, True, False), (1 << 20, False, False)],
)
def test_the_window_in_bytes(size, room, credit):
    subscription = started()
    subscription.took(at(1), size)
    assert (subscription.has_room, subscription.has_credit) == (room, credit)


def test_a_repeated_ack_is_no_progress():
    subscription = started()
    subscription.took(at(5), 10)
    subscription.acknowledge(at(3), 1.0)
    subscription.acknowledge(at(3), 9.0)
    assert subscription.progressed == 1.0


def test_a_new_start_forgets_what_was_sent_before():
    subscription = started()
    subscription.took(at(3), PAGE * 2)
    subscription.took(at(10), PAGE * 2)
    subscription.part_acked = 4
    subscription.start(at(2, epoch=OTHER_EPOCH), 1.0)
    assert (subscription.unacked, subscription.part_acked, subscription.progressed) == (0, 0, 1.0)
    assert subscription.has_credit
    subscription.took(at(10, off=5, epoch=OTHER_EPOCH), PAGE + 1)
    assert not subscription.has_credit
    assert subscription.acknowledge(at(10, off=5, epoch=OTHER_EPOCH), 2.0)
    subscription.took(at(11, epoch=OTHER_EPOCH), PAGE + 1)
    assert not subscription.has_credit

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.position import MODULUS, Position
from reconnect_channels.protocol.subscription import Drift, Mark, State, Subscription

from .strategies import EPOCH, OTHER_EPOCH

PAGE = 16 * 1024


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
    st.sampled_from([1, PAGE // 2, PAGE, PAGE * 20]),
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
    whole = 0  # the end of the last frame that was acknowledged whole
    now = progressed = 0.0
    for step in steps:
        now += 1
        if step[0] == "send":
            sent += step[1]
            waiting.append((sent, step[2]))
            subscription.took(at(sent), step[2], 0.0)
        elif step[0] == "start":
            sent = acked = whole = step[1]
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
                boundary = seq == whole or seq in [to for to, _ in waiting]
                assert proven == (off == 0 or not boundary)
                whole = max([whole, *(to for to, _ in waiting if to <= seq)])
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
            subscription.took(at(to), 10, 0.0)
        assert not subscription.acknowledge(at(seq, off), 1.0)


def test_a_wrong_checksum_at_the_very_start_is_noticed():
    subscription = started(7)
    assert not subscription.acknowledge(at(7, 1), 1.0)
    assert subscription.acknowledge(at(7), 1.0)


def test_a_wrong_checksum_is_noticed_again_at_the_position_last_sent():
    subscription = started()
    subscription.took(at(3), 10, 0.0)
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
    subscription.took(at(4), 10, 0.0)
    subscription.took(at(10), 10, 0.0)
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
    subscription.took(at(42 + entries), 1, 0.0)
    assert (subscription.has_room, subscription.has_credit) == (room, credit)


@pytest.mark.parametrize(
    ("size", "room", "credit"),
    [(PAGE, True, True), (PAGE + 1, True, False), ((1 << 20) - 1, True, False), (1 << 20, False, False)],
)
def test_the_window_in_bytes(size, room, credit):
    subscription = started()
    subscription.took(at(1), size, 0.0)
    assert (subscription.has_room, subscription.has_credit) == (room, credit)


def test_a_repeated_ack_is_no_progress():
    subscription = started()
    subscription.took(at(5), 10, 0.0)
    subscription.acknowledge(at(3), 1.0)
    subscription.acknowledge(at(3), 9.0)
    assert subscription.progressed == 1.0


def test_a_new_start_forgets_what_was_sent_before():
    subscription = started()
    subscription.took(at(3), PAGE * 2, 0.0)
    subscription.took(at(10), PAGE * 2, 0.0)
    subscription.part_acked = 4
    subscription.start(at(2, epoch=OTHER_EPOCH), 1.0)
    assert (subscription.unacked, subscription.part_acked, subscription.progressed) == (0, 0, 1.0)
    assert subscription.has_credit
    subscription.took(at(10, off=5, epoch=OTHER_EPOCH), PAGE + 1, 0.0)
    assert not subscription.has_credit
    assert subscription.acknowledge(at(10, off=5, epoch=OTHER_EPOCH), 2.0)
    subscription.took(at(11, epoch=OTHER_EPOCH), PAGE + 1, 0.0)
    assert not subscription.has_credit


def test_a_live_frame_is_taken_only_where_it_continues_what_was_sent():
    feed = Mark(at(5))
    here, behind, elsewhere = started(5), started(4), started(5)
    here.follow(feed)
    mark = feed.then(at(6), 10, 0.0)
    assert here.offer(mark)
    assert not here.offer(mark)
    assert not behind.offer(mark)
    assert not elsewhere.offer(mark)  # stands there, and follows nobody
    assert (here.sent, elsewhere.sent) == (at(6), at(5))


@pytest.mark.parametrize(("count", "size"), [(1_000, 1), (4, 1 << 18)])
def test_a_live_frame_beyond_the_window_is_left_to_catching_up(count, size):
    feed = Mark(at(0))
    subscription = started()
    subscription.follow(feed)
    for seq in range(1, count + 1):
        feed = feed.then(at(seq), size, 0.0)
        assert subscription.offer(feed)
    feed = feed.then(at(count + 1), size, 0.0)
    assert not subscription.has_room
    assert not subscription.offer(feed)
    assert subscription.acknowledge(at(count), 1.0)
    assert subscription.offer(feed)


steps_of_two = st.lists(
    st.tuples(st.just("flush"), st.sampled_from([1, 2, 300]), st.sampled_from([1, PAGE]))
    | st.tuples(st.just("page"), st.integers(0, 1), st.sampled_from([1, PAGE]))
    | st.tuples(st.just("ack"), st.integers(0, 1), st.integers(0, 400), st.sampled_from([0, 0, 0, 1])),
    max_size=40,
)


@given(steps_of_two)
def test_subscriptions_of_one_feed_share_its_frames_and_nothing_else(steps):
    """Each against a plain list of its own frames; pages are sent to one, flushes to whom they fit."""
    head = Mark(at(0))
    both = [started(), started()]
    waiting: list[list[tuple[int, int]]] = [[], []]
    sent = [0, 0]
    acked = [0, 0]
    whole = [0, 0]  # the end of the last frame that was acknowledged whole
    for subscription in both:
        subscription.follow(head)
    for step in steps:
        if step[0] == "flush":
            behind = head.position.seq
            head = head.then(at(behind + step[1]), step[2], 0.0)
            for i, subscription in enumerate(both):
                size = sum(size for _, size in waiting[i])
                fits = sent[i] == behind and sent[i] - acked[i] < 1_000 and size < 1 << 20
                assert subscription.offer(head) == fits
                if fits:
                    sent[i] = behind + step[1]
                    waiting[i].append((sent[i], step[2]))
        elif step[0] == "page":
            i = step[1]
            if sent[i] < head.position.seq:
                sent[i] = head.position.seq
                both[i].took(at(sent[i]), step[2], 0.0)
                waiting[i].append((sent[i], step[2]))
                both[i].follow(head)
        else:
            _, i, ahead, off = step
            seq = min(acked[i] + ahead, sent[i])
            boundary = seq == whole[i] or seq in [to for to, _ in waiting[i]]
            assert both[i].acknowledge(at(seq, off), 1.0) == (off == 0 or not boundary)
            acked[i] = seq
            whole[i] = max([whole[i], *(to for to, _ in waiting[i] if to <= seq)])
            waiting[i] = [(to, size) for to, size in waiting[i] if to > seq]
        for i, subscription in enumerate(both):
            size = sum(size for _, size in waiting[i])
            assert subscription.sent == at(sent[i])
            assert subscription.has_room == (sent[i] - acked[i] < 1_000 and size < 1 << 20)
            assert subscription.has_credit == (sent[i] - acked[i] <= 500 and size <= PAGE)


def paced(seconds: list[float]) -> list[int]:
    """The sizes of pages of a client that takes that long for each."""
    subscription, now, sizes = started(), 0.0, []
    for seq, taken in enumerate(seconds, 1):
        sizes.append(subscription.page_bytes // 1024)
        subscription.took(at(seq), 1, 0.0)
        subscription.time_page(now)
        now += taken
        subscription.acknowledge(at(seq), now)
    return sizes


def test_pages_grow_for_who_acknowledges_them_at_once_and_shrink_for_who_needs_long():
    assert paced([0.1] * 7) == [16, 32, 64, 128, 256, 256, 256]
    assert paced([2.0] * 3) == [16, 16, 16]
    assert paced([16.0] * 5) == [16, 8, 4, 4, 4]
    assert paced([0.1, 0.1, 9.0, 0.1]) == [16, 32, 64, 32]


def test_an_ack_of_what_was_sent_before_a_page_says_nothing_about_it():
    subscription = started()
    subscription.took(at(1), 1, 0.0)
    subscription.took(at(2), 1, 0.0)
    subscription.time_page(10.0)
    subscription.acknowledge(at(1), 10.1)
    assert subscription.page_bytes == PAGE
    subscription.acknowledge(at(2), 10.2)
    assert subscription.page_bytes == PAGE * 2


def test_who_falls_behind_gets_small_pages_again():
    subscription = started()
    subscription.page_bytes = 256 * 1024
    subscription.fall_behind()
    assert (subscription.state, subscription.page_bytes) == (State.CATCHING_UP, PAGE)


# -- drift -----------------------------------------------------------------------------------------

GRACE = 15.0


def live(seq: int = 0) -> tuple[Subscription, Mark]:
    """A live subscription, and the mark that the next frame follows."""
    subscription, mark = started(seq), Mark(at(seq))
    subscription.follow(mark)
    subscription.state = State.LIVE
    return subscription, mark


def test_a_repeated_position_is_compared_too():
    subscription = started()
    subscription.took(at(3), 10, 0.0)
    subscription.took(at(5), 10, 0.0)
    assert subscription.acknowledge(at(3), 1.0)
    assert not subscription.acknowledge(at(3, 1), 2.0)


def test_a_diverged_client_is_healed_by_acknowledging_what_follows_the_snapshot():
    subscription = started()
    subscription.took(at(5), 10, 0.0)
    assert not subscription.acknowledge(at(5, 1), 1.0)
    assert subscription.drift is Drift.DIVERGED
    subscription.acknowledge(at(5), 2.0)  # no snapshot was sent yet
    assert subscription.drift is Drift.DIVERGED
    subscription.start(at(9), 3.0)
    subscription.took(at(12), 10, 3.0)
    assert not subscription.acknowledge(at(9, 1), 4.0)  # said before the snapshot came
    subscription.acknowledge(at(10), 4.0)  # inside of a frame: proves nothing
    assert subscription.drift is Drift.DIVERGED
    subscription.acknowledge(at(12), 5.0)
    assert subscription.drift is Drift.NONE


def test_a_diverged_client_that_is_silent_about_it_stays_diverged():
    subscription, _ = live()
    subscription.acknowledge(at(0, 1), 1.0)
    subscription.spoke(100.0, GRACE)
    assert subscription.drift is Drift.DIVERGED


def test_who_speaks_but_leaves_old_entries_unacknowledged_lags():
    subscription, mark = live()
    assert subscription.offer(mark.then(at(3), 10, 100.0))
    subscription.spoke(115.0, GRACE)
    assert subscription.drift is Drift.NONE
    subscription.spoke(115.1, GRACE)
    assert subscription.drift is Drift.LAGGING
    subscription.acknowledge(at(3), 120.0)
    subscription.spoke(130.0, GRACE)
    assert subscription.drift is Drift.NONE


def test_the_oldest_unacknowledged_frame_decides():
    subscription, mark = live()
    for seq in range(1, 41):
        mark = mark.then(at(seq), 10, float(seq))
        assert subscription.offer(mark)
        if seq % 5 == 0:  # as our client: five seconds after the first
            subscription.acknowledge(at(seq), float(seq))
            subscription.spoke(float(seq), GRACE)
            assert subscription.drift is Drift.NONE
    subscription.acknowledge(at(40), 40.0)
    subscription.spoke(1_000.0, GRACE)  # nothing to acknowledge
    assert subscription.drift is Drift.NONE


def test_whom_the_server_still_serves_page_by_page_does_not_lag():
    subscription = started()
    subscription.state = State.CATCHING_UP
    subscription.took(at(500), 10, 0.0)
    subscription.spoke(100.0, GRACE)
    assert subscription.drift is Drift.NONE


@given(st.lists(st.sampled_from(list(Drift))))
def test_the_worst_drift_is_the_clients(drifts):
    worst = Drift.worst(drifts)
    assert worst in {*drifts, Drift.NONE}
    assert (worst is Drift.DIVERGED) == (Drift.DIVERGED in drifts)
    assert (worst is Drift.NONE) == (not any(drifts))

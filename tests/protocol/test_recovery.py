from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, target
from hypothesis import strategies as st

from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import MODULUS, Position, fold
from reconnect_channels.protocol.recovery import (
    MAX_DELTA,
    Answer,
    Decision,
    Head,
    decide,
    known_checksum,
    needs_checksum,
)

from .strategies import EPOCH, OTHER_EPOCH, entry_id

DELTA = Decision(Answer.DELTA)
INVALID = Decision(Answer.INVALID)


def snapshot(reason: Resync) -> Decision:
    return Decision(Answer.SNAPSHOT, reason)


# -- row by row: a log of 20 000 entries whose checksum after n is n -----------------------------------

HEAD = Head(EPOCH, seq=20_000, checksum=20_000, floor=10_001, floor_checksum=10_000, clock=7)
RIGHT = object()


def judged(
    seq: int,
    *,
    epoch: str = EPOCH,
    checksum: int | object = RIGHT,
    log: int | object | None = RIGHT,
    **options,
):
    """The decision for a position at `seq`, right or with another checksum, when the log says `log` there."""
    position = Position(epoch, seq, seq if checksum is RIGHT else checksum)
    return decide(position, HEAD, checksum=seq if log is RIGHT else log, **options)


def test_the_largest_gap_is_5000():
    assert MAX_DELTA == 5_000


@pytest.mark.parametrize(
    ("seq", "expected"),
    [
        (20_000, DELTA),
        (19_999, DELTA),
        (15_001, DELTA),  # gap 4999
        (15_000, DELTA),  # gap 5000
        (14_999, snapshot(Resync.GAP)),  # gap 5001
        (10_001, snapshot(Resync.GAP)),  # the floor
        (10_000, snapshot(Resync.GAP)),  # floor - 1
        (9_999, snapshot(Resync.TRIMMED)),  # floor - 2
        (0, snapshot(Resync.TRIMMED)),
        (20_001, INVALID),  # head + 1
        (20_000 + 10**9, INVALID),
        (2**53, INVALID),
    ],
)
def test_a_right_position_is_judged_by_its_place(seq, expected):
    assert judged(seq) == expected


@pytest.mark.parametrize(
    ("seq", "expected"),
    [(20_000, DELTA), (10_001, DELTA), (10_000, DELTA), (9_999, snapshot(Resync.TRIMMED)), (20_001, INVALID)],
)
def test_without_a_bound_every_kept_position_gets_a_delta(seq, expected):
    assert judged(seq, max_delta=10_000) == expected


@pytest.mark.parametrize("seq", [20_000, 19_999, 15_000, 14_999, 10_001, 10_000])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_checksum_wins_over_the_gap(seq, off):
    assert judged(seq, checksum=seq + off) == snapshot(Resync.DIVERGED)


@pytest.mark.parametrize("seq", [19_999, 15_000, 14_999, 10_001])
def test_an_entry_that_the_log_does_not_have_is_another_history(seq):
    assert judged(seq, log=None) == snapshot(Resync.DIVERGED)


@pytest.mark.parametrize("seq", [20_000, 10_000])
def test_at_both_ends_the_head_alone_is_the_proof(seq):
    assert judged(seq, max_delta=10_000, log=None) == DELTA
    assert judged(seq, max_delta=10_000, log=seq + 1) == DELTA
    assert judged(seq, max_delta=10_000, log=seq + 1, checksum=seq + 1) == snapshot(Resync.DIVERGED)


@pytest.mark.parametrize("seq", [20_001, 9_999, 0])
def test_outside_the_log_the_checksum_does_not_matter(seq):
    assert judged(seq, checksum=77) == judged(seq)


@pytest.mark.parametrize("seq", [0, 9_999, 10_000, 15_000, 20_000, 20_001, 2**53])
def test_another_epoch_is_another_history_wherever_it_stands(seq):
    assert judged(seq, epoch=OTHER_EPOCH) == snapshot(Resync.EPOCH)
    assert judged(seq, epoch=OTHER_EPOCH, retired={EPOCH: Resync.REWOUND}) == snapshot(Resync.EPOCH)


@pytest.mark.parametrize("reason", [Resync.REWOUND, Resync.DIVERGED])
def test_a_retired_epoch_is_answered_with_its_reason(reason):
    assert judged(20_001, epoch=OTHER_EPOCH, retired={OTHER_EPOCH: reason}) == snapshot(reason)
    assert judged(15_000, retired={OTHER_EPOCH: reason}) == DELTA
    assert judged(20_001, retired={OTHER_EPOCH: reason}) == INVALID


def test_nothing_is_answered_with_a_snapshot():
    assert decide(None, HEAD) == snapshot(Resync.NEW)
    assert decide(None, HEAD, checksum=1, retired={EPOCH: Resync.REWOUND}) == snapshot(Resync.NEW)


def test_an_empty_stream():
    head = Head(EPOCH, 0, 0, 1, 0, 0)
    assert decide(Position(EPOCH, 0, 0), head) == DELTA
    assert decide(Position(EPOCH, 0, 1), head) == snapshot(Resync.DIVERGED)
    assert decide(Position(EPOCH, 1, 0), head) == INVALID


def test_a_log_that_keeps_nothing():
    head = Head(EPOCH, 9, 900, 10, 900, 0)
    assert decide(Position(EPOCH, 9, 900), head) == DELTA
    assert decide(Position(EPOCH, 9, 901), head) == snapshot(Resync.DIVERGED)
    assert decide(Position(EPOCH, 8, 800), head) == snapshot(Resync.TRIMMED)
    assert decide(Position(EPOCH, 10, 900), head) == INVALID


@pytest.mark.parametrize(
    ("seq", "known"),
    [
        (9_999, None),
        (10_000, 10_000),
        (10_001, None),
        (15_000, None),
        (19_999, None),
        (20_000, 20_000),
        (20_001, None),
    ],
)
def test_what_the_head_alone_knows(seq, known):
    position = Position(EPOCH, seq, 5)
    assert known_checksum(position, HEAD) == known
    assert needs_checksum(position, HEAD) == (10_001 <= seq <= 19_999)
    assert not needs_checksum(position._replace(epoch=OTHER_EPOCH), HEAD)
    assert not needs_checksum(None, HEAD)


# -- a log that lives ----------------------------------------------------------------------------------


@dataclass
class Log:
    """One stream: what was ever in it, and what a reader could honestly hold of it."""

    epoch: str = EPOCH
    ids: list[str] = field(default_factory=list)
    floor: int = 1
    made: int = 0
    held: list[tuple[Position, list[str]]] = field(
        default_factory=list
    )  # with the history that it stands for
    retired: dict[str, Resync] = field(default_factory=dict)

    def append(self, count: int) -> None:
        for _ in range(count):
            self.ids.append(entry_id(self.made))
            self.made += 1

    def trim(self, to: int) -> None:
        self.floor = max(self.floor, min(to, len(self.ids) + 1))

    def restart(self, reason: Resync | None) -> None:
        if reason is not None:
            self.retired[self.epoch] = reason
        self.made += 1
        self.epoch, self.ids, self.floor = str(uuid.uuid5(uuid.NAMESPACE_URL, str(self.made))), [], 1

    def roll_back(self, count: int, refill: int) -> None:
        """As after a failover to a copy that lagged: the same epoch, other entries."""
        del self.ids[max(self.floor - 1, len(self.ids) - count) :]
        self.append(refill)

    def remember(self) -> None:
        self.held.extend((self.at(seq), self.ids[:seq]) for seq in range(len(self.ids) + 1))

    def at(self, seq: int) -> Position:
        return Position(self.epoch, seq, fold(0, self.ids[:seq]))

    @property
    def head(self) -> Head:
        end, floor = self.at(len(self.ids)), self.at(self.floor - 1)
        return Head(self.epoch, end.seq, end.checksum, self.floor, floor.checksum, 0)

    def decide(self, position: Position | None, max_delta: int) -> Decision:
        """As a shell does: the entry is read only where the head doesn't tell."""
        head = self.head
        checksum = self.at(position.seq).checksum if position and needs_checksum(position, head) else None
        return decide(position, head, checksum=checksum, retired=self.retired, max_delta=max_delta)


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("trim"), st.integers(1, 12)),
        st.tuples(st.just("restart"), st.sampled_from([None, Resync.REWOUND, Resync.DIVERGED])),
        st.tuples(st.just("roll_back"), st.integers(1, 4), st.integers(0, 6)),
    ),
    max_size=10,
)


def lived(steps) -> Log:
    log = Log()
    log.remember()
    for name, *arguments in steps:
        getattr(log, name)(*arguments)
        log.remember()
    return log


@given(deeds, st.integers(0, 6))
@example([("append", 3), ("roll_back", 1, 1)], 6)
@example([("append", 3), ("trim", 4), ("append", 2)], 1)
def test_a_delta_is_only_for_who_holds_a_true_prefix_of_the_log(steps, max_delta):
    """Every position that was ever true, judged against the log as it is at last."""
    log = lived(steps)
    target(float(len(log.held)))
    for position, history in log.held:
        decision = log.decide(position, max_delta)
        mine = position.epoch == log.epoch
        prefix = mine and history == log.ids[: position.seq]
        kept = log.floor - 1 <= position.seq <= len(log.ids)
        near = len(log.ids) - position.seq <= max_delta
        assert (decision.answer is Answer.DELTA) == (prefix and kept and near)
        if not mine:
            assert decision == snapshot(log.retired.get(position.epoch, Resync.EPOCH))
        elif position.seq > len(log.ids):
            assert decision == INVALID
        elif position.seq < log.floor - 1:
            assert decision == snapshot(Resync.TRIMMED)
        elif not prefix:
            assert decision == snapshot(Resync.DIVERGED)
        elif not near:
            assert decision == snapshot(Resync.GAP)


@given(deeds, st.data())
def test_a_forged_position_never_gets_a_delta(steps, data):
    log = lived(steps)
    seq = data.draw(st.integers(0, len(log.ids) + 2))
    epoch = data.draw(st.sampled_from([log.epoch, EPOCH, OTHER_EPOCH, ""]))
    checksum = data.draw(
        st.integers(0, MODULUS - 1) | st.sampled_from([held.checksum for held, _ in log.held])
    )
    position = Position(epoch, seq, checksum)
    decision = log.decide(position, 5)
    if decision.answer is Answer.DELTA:
        assert position == log.at(seq)
        assert log.floor - 1 <= seq <= len(log.ids)
        assert len(log.ids) - seq <= 5


@given(deeds)
def test_only_the_future_is_invalid(steps):
    """Whoever holds what was true keeps its socket, unless the log went backwards in silence."""
    log = lived(steps)
    for position, _ in log.held:
        if log.decide(position, 5).answer is Answer.INVALID:
            assert position.epoch == log.epoch
            assert position.seq > len(log.ids)
            assert any(step[0] == "roll_back" for step in steps)
    assert log.decide(None, 5) == snapshot(Resync.NEW)

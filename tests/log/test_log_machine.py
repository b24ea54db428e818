"""The log against a list, in whatever order its operations come."""

import uuid

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reconnect_channels.log import log_for
from reconnect_channels.log.base import Draft, Mismatch
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import MODULUS, Position, fold

pytestmark = [pytest.mark.django_db, pytest.mark.database]

sizes = st.integers(1, 4)


class LogMachine(RuleBasedStateMachine):
    """The model keeps the ids and texts of all entries, trimmed ones too, and does without checksums."""

    @initialize()
    def begin(self):
        self.log = log_for("s")
        self.stream = f"s:{uuid.uuid4()}"
        self.born()

    def born(self):
        self.drafts: list[Draft] = []
        self.floor = 1
        self.clock = 0
        self.epochs = [self.log.heads([self.stream])[self.stream].epoch]
        self.lost: list[Position] = []

    @property
    def head(self) -> int:
        return len(self.drafts)

    def checksum(self, seq: int) -> int:
        return fold(0, [draft.id for draft in self.drafts[:seq]])

    def position(self, seq: int) -> Position:
        return Position(self.epochs[-1], seq, self.checksum(seq))

    @rule(size=sizes, clock=st.integers(0, 50))
    def append(self, size, clock):
        self.drafts += self.appended(size, clock)
        self.clock = max(self.clock, clock) + size

    def appended(self, size, clock):
        drafts = self.new(size)
        entries = self.log.append(self.stream, drafts, clock)
        last = max(self.clock, clock) + size
        assert [entry.seq for entry in entries] == [self.head + i for i in range(1, size + 1)]
        assert [entry.clock for entry in entries] == list(range(last - size + 1, last + 1))
        self.newest = entries[-1].position
        return drafts

    def new(self, size):
        return [Draft(str(uuid.uuid4()), None, str(self.head + i)) for i in range(size)]

    @rule(size=sizes, clock=st.integers(0, 50))
    def append_in_vain(self, size, clock):
        with transaction.atomic():
            self.appended(size, clock)
            transaction.set_rollback(True)
        self.lost.append(self.newest)

    @rule(share=st.floats(0, 1.2))
    def trim(self, share):
        floor = int(self.head * share) + 1
        gone = self.log.trim(self.stream, floor)
        raised = max(self.floor, min(floor, self.head + 1))
        assert gone == raised - self.floor
        self.floor = raised

    @rule(age=st.integers(0, 2))
    def new_epoch(self, age):
        expected = self.epochs[-1 - min(age, len(self.epochs) - 1)]
        head = self.log.new_epoch(self.stream, expected)
        if expected == self.epochs[-1]:
            assert head.epoch not in self.epochs
            self.epochs.append(head.epoch)
        assert head.epoch == self.epochs[-1]

    @rule()
    def drop(self):
        old = self.epochs[-1]
        self.log.drop(self.stream)
        self.born()
        assert self.epochs[-1] != old

    @rule(share=st.floats(0, 1), limit=st.integers(1, 5))
    def read(self, share, limit):
        seq = self.floor - 1 + round((self.head - self.floor + 1) * share)
        run = self.log.read(self.stream, self.position(seq), limit)
        assert [(entry.seq, entry.id, entry.text) for entry in run.entries] == [
            (seq + i, draft.id, draft.text) for i, draft in enumerate(self.drafts[seq : seq + limit], 1)
        ]
        for entry in run.entries:
            assert entry.position == self.position(entry.seq)
        assert run.head == self.log.heads([self.stream])[self.stream]

    @rule(seq=st.integers(0, 40), shift=st.integers(1, MODULUS - 1), limit=st.integers(1, 5))
    def read_what_is_not_there(self, seq, shift, limit):
        checksum = (self.checksum(seq) + shift) % MODULUS
        self.refused(
            Position(self.epochs[-1], seq, checksum),
            limit,
            Resync.REWOUND
            if seq > self.head
            else Resync.TRIMMED
            if seq < self.floor - 1
            else Resync.DIVERGED,
        )
        self.refused(Position("f" * 16, seq, self.checksum(seq)), limit, Resync.EPOCH)
        for epoch in self.epochs[:-1]:
            self.refused(Position(epoch, seq, self.checksum(seq)), limit, Resync.EPOCH)

    @rule(limit=st.integers(1, 5))
    def read_what_was_rolled_back(self, limit):
        for lost in self.lost:
            if lost.epoch != self.epochs[-1]:
                reason = Resync.EPOCH
            elif lost.seq > self.head:
                reason = Resync.REWOUND
            else:
                reason = Resync.TRIMMED if lost.seq < self.floor - 1 else Resync.DIVERGED
            self.refused(lost, limit, reason)

    def refused(self, position, limit, reason):
        with pytest.raises(Mismatch) as mismatch:
            self.log.read(self.stream, position, limit)
        assert mismatch.value.reason is reason
        assert mismatch.value.head.position == self.position(self.head)

    @rule(seq=st.integers(0, 40))
    def ask_for_a_checksum(self, seq):
        kept = self.floor <= seq <= self.head
        assert self.log.checksum_at(self.stream, self.epochs[-1], seq) == (
            self.checksum(seq) if kept else None
        )

    @invariant()
    def the_head_is_the_model_s(self):
        head = self.log.heads([self.stream])[self.stream]
        assert head.position == self.position(self.head)
        assert (head.floor, head.floor_checksum) == (self.floor, self.checksum(self.floor - 1))
        assert head.clock == self.clock


def test_the_log_is_a_list_with_proofs():
    examples = settings.default.max_examples // 2
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=examples, stateful_step_count=25))

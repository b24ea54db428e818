"""States that are folded from the log and stored now and then (design 7.7): exact, whatever happens."""

import random
from typing import Any

import msgspec
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction

from reconnect_channels import folding
from reconnect_channels.folding import Unfoldable, fold
from reconnect_channels.log import log_for
from reconnect_channels.models import StoredSnapshot, StreamEntry
from reconnect_channels.protocol.position import Position
from reconnect_channels.registry import consumers
from reconnect_channels.snapshots import take

from .conftest import drafts
from .folded import TallyConsumer
from .threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.database]

A = "tally:a"


@pytest.fixture(autouse=True)
def _small(settings: Any) -> None:
    settings.RECONNECT_CHANNELS = {"SNAPSHOT_EVERY": 10}


@pytest.fixture
def tally() -> Any:
    """A class of this test's own, which counts what it reduces."""
    return type("Tally", (TallyConsumer,), {"reduced": []})


def append(count: int, first: int = 1) -> None:
    log_for(A).append(A, drafts(count, first=first), 0)


def numbers(folded: folding.Fold) -> list[int]:
    state = msgspec.json.decode(folded.text)
    assert state["at"] == len(state["all"]) == folded.position.seq
    return state["all"]


def stored(**only: Any) -> list[int]:
    rows = StoredSnapshot.objects.filter(stream=A, **only)
    return list(rows.order_by("seq").values_list("seq", flat=True))


def test_the_state_is_the_fold_of_all_entries_at_the_head_s_position(tally):
    append(3)
    assert numbers(fold(tally, A)) == [1, 2, 3]
    assert fold(tally, A).position == log_for(A).heads([A])[A].position


def test_an_empty_stream_has_the_initial_state(tally):
    folded = fold(tally, A)
    assert folded.position == log_for(A).heads([A])[A].position
    assert msgspec.json.decode(folded.text) == {"of": A, "at": 0, "all": []}
    assert not stored()


def test_a_state_is_stored_every_so_many_entries_and_folds_go_on_from_it(tally):
    append(9)
    assert fold(tally, A).stored is None
    append(1, first=10)
    assert fold(tally, A).stored == 10
    append(4, first=11)
    del tally.reduced[:]
    folded = fold(tally, A)
    assert (numbers(folded), folded.stored) == (list(range(1, 15)), 10)
    assert tally.reduced == [11, 12, 13, 14]
    assert stored() == [10]


def test_only_the_newest_states_of_a_stream_are_kept(tally):
    for n in range(5):
        append(10, first=10 * n + 1)
        fold(tally, A)
    assert stored() == [40, 50]


def test_a_fold_reads_page_by_page(tally, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(folding, "PAGE", 7)
    append(50)
    said = []
    assert numbers(fold(tally, A, progress=said.append)) == list(range(1, 51))
    assert said == [7, 14, 21, 28, 35, 42, 49, 50]


def test_a_stream_that_never_rests_is_folded_to_where_it_was_when_asked(tally, monkeypatch):
    monkeypatch.setattr(folding, "PAGE", 5)
    append(12)

    class Restless(tally):
        @classmethod
        def reduce(cls, state: Any, entry: Any) -> Any:
            append(1, first=entry.seq + 12)
            return super().reduce(state, entry)

    assert len(numbers(fold(Restless, A))) in range(12, 18)


# -- what stored states are worth ---------------------------------------------------------------------


def test_trimmed_entries_live_on_in_the_stored_state(tally):
    append(12)
    fold(tally, A)
    log_for(A).trim(A, 13)
    append(3, first=13)
    assert numbers(fold(tally, A)) == list(range(1, 16))


def test_a_stored_state_survives_a_new_epoch(tally):
    append(12)
    epoch = fold(tally, A).position.epoch
    log_for(A).trim(A, 13)
    log_for(A).new_epoch(A, epoch)
    folded = fold(tally, A)
    assert folded.position == log_for(A).heads([A])[A].position
    assert folded.position.epoch != epoch
    assert numbers(folded) == list(range(1, 13))


@pytest.mark.parametrize("seq", [10, 25], ids=["below the head", "above the head"])
def test_a_stored_state_of_another_history_is_not_believed_and_forgotten(tally, seq):
    append(12)
    wrong = '{"of": "x", "at": 10, "all": [7, 7, 7]}'
    StoredSnapshot.objects.create(stream=A, seq=seq, checksum=4711, text=wrong)
    assert numbers(fold(tally, A)) == list(range(1, 13))
    assert stored() == [12]


def test_where_the_newest_state_is_of_another_history_the_one_before_serves(tally):
    append(20)
    fold(tally, A)
    log_for(A).trim(A, 15)
    StoredSnapshot.objects.filter(stream=A).update(seq=20)
    append(5, first=21)
    StoredSnapshot.objects.create(stream=A, seq=23, checksum=4711, text="{}")
    assert numbers(fold(tally, A)) == list(range(1, 26))


def test_without_a_stored_state_a_trimmed_stream_is_refused_by_name(tally):
    append(5)
    log_for(A).trim(A, 3)
    with pytest.raises(Unfoldable, match=r"tally:a is kept from 3 on.*version 1"):
        fold(tally, A)


def test_missing_entries_are_noticed(tally):
    append(9)
    StreamEntry.objects.filter(seq=5).delete()
    with pytest.raises(Unfoldable, match="missing"):
        fold(tally, A)


def test_a_log_that_is_trimmed_under_a_fold_is_folded_from_a_newer_state(tally, monkeypatch):
    monkeypatch.setattr(folding, "PAGE", 5)
    append(20)

    class Overtaken(tally):
        overtaken = False

        @classmethod
        def reduce(cls, state: Any, entry: Any) -> Any:
            if not cls.overtaken:
                cls.overtaken = True
                fold(tally, A)
                log_for(A).trim(A, 21)
            return super().reduce(state, entry)

    assert numbers(fold(Overtaken, A)) == list(range(1, 21))
    assert Overtaken.overtaken


def test_a_dropped_stream_leaves_no_state_behind(tally):
    append(12)
    fold(tally, A)
    log_for(A).drop(A)
    assert not stored()
    append(2)
    assert numbers(fold(tally, A)) == [1, 2]


# -- versions ---------------------------------------------------------------------------------------------


def test_another_version_folds_anew_and_leaves_the_old_one_to_its_nodes(tally):
    append(12)
    fold(tally, A)
    tally.snapshot_version = 2
    assert numbers(fold(tally, A)) == list(range(1, 13))
    assert (stored(version=1), stored(version=2)) == ([12], [12])


def test_a_state_of_an_older_version_is_upgraded_where_the_entries_are_gone(tally):
    append(12)
    fold(tally, A)
    log_for(A).trim(A, 13)

    class Next(tally):
        snapshot_version = 2

    with pytest.raises(Unfoldable, match="version 2"):
        fold(Next, A)

    class Upgraded(Next):
        @classmethod
        def upgrade_state(cls, state: Any, version: int) -> Any:
            return {**state, "all": [-n for n in state["all"]], "upgraded from": version}

    folded = fold(Upgraded, A)
    assert numbers(folded) == [-n for n in range(1, 13)]
    assert msgspec.json.decode(folded.text)["upgraded from"] == 1
    assert stored(version=2) == [12]


# -- what a reduce may be -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [{1: "a number as key"}, ["a", ("tuple",)]], ids=str)
def test_a_state_that_json_does_not_give_back_is_refused(tally, state):
    class Odd(tally):
        @classmethod
        def reduce(cls, _: Any, entry: Any) -> Any:
            return state

    append(1)
    with pytest.raises(TypeError, match="JSON"):
        fold(Odd, A)


def test_only_one_hook_makes_the_state():
    class Both(TallyConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return {}

    with pytest.raises(ImproperlyConfigured, match="get_snapshot and reduce"):
        take(Both, A)


def test_a_reduce_only_computes():
    class Waiting(TallyConsumer):
        @classmethod
        async def reduce(cls, state: Any, entry: Any) -> Any:
            return state

    with pytest.raises(ImproperlyConfigured, match="plain def"):
        take(Waiting, A)


def test_a_check_finds_consumers_with_two_states(monkeypatch):
    class Both(TallyConsumer):
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return {}

    assert "reconnect_channels.E004" not in [message.id for message in run_checks()]
    monkeypatch.setattr("reconnect_channels.registry.consumers", [*consumers, Both])
    [error] = [message for message in run_checks() if message.id == "reconnect_channels.E004"]
    assert "Both" in error.msg


# -- storing -----------------------------------------------------------------------------------------------


def test_a_state_that_cannot_be_stored_serves_all_the_same(tally, monkeypatch, caplog):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("the disk is full")

    append(12)
    monkeypatch.setattr("django.db.models.query.QuerySet.bulk_create", fail)
    folded = fold(tally, A)
    assert (numbers(folded), folded.stored) == (list(range(1, 13)), None)
    assert "couldn't be stored" in caplog.text


def test_what_was_folded_in_a_transaction_that_is_rolled_back_is_not_stored(tally):
    append(5)
    with transaction.atomic():
        append(10, first=6)
        assert numbers(fold(tally, A)) == list(range(1, 16))
        transaction.set_rollback(True)
    assert not stored()
    append(1, first=100)
    assert numbers(fold(tally, A)) == [1, 2, 3, 4, 5, 100]


@pytest.mark.django_db(transaction=True)
def test_many_may_fold_and_store_at_once(tally):
    append(30)
    states = at_once(*[lambda: fold(tally, A)] * 4)
    assert [numbers(state) for state in states] == [list(range(1, 31))] * 4
    assert stored() == [30]


@pytest.mark.parametrize("seed", range(8))
def test_the_state_is_the_fold_whatever_came_between(tally, monkeypatch, seed):
    """Random appends, folds, trims up to what is stored, epochs and lost states, against a list."""
    rng = random.Random(seed)
    monkeypatch.setattr(folding, "PAGE", rng.choice([1, 3, 50]))
    log, model = log_for(A), []
    for _ in range(60):
        match rng.choice(["append", "append", "fold", "trim", "epoch", "lose"]):
            case "append":
                count = rng.randrange(1, 9)
                append(count, first=len(model) + 1)
                model += range(len(model) + 1, len(model) + 1 + count)
            case "fold":
                assert numbers(fold(tally, A, every=rng.choice([None, 1]))) == model
            case "trim":
                log.trim(A, rng.randrange((folding.lowest_floor(A) or 1) + 1))
            case "epoch":
                log.new_epoch(A, log.heads([A])[A].epoch)
            case "lose" if log.heads([A])[A].floor == 1:
                StoredSnapshot.objects.all().delete()
    folded = fold(tally, A)
    assert numbers(folded) == model
    assert folded.position == log.heads([A])[A].position
    assert log.read(A, Position(*folded.position), 1).entries == []

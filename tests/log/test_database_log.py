"""The log in the database, one caller (design 5, 7.2); `test_writers` has many."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from reconnect_channels.log import log_for
from reconnect_channels.log.base import Mismatch
from reconnect_channels.log.database import ROWS_PER_INSERT
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.protocol.position import MODULUS, Position, advance, fold

from .conftest import drafts

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def seqs(entries):
    return [entry.seq for entry in entries]


# -- appending -----------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_first_entry(log):
    [entry] = log.append("s", drafts(1, key="k"), 0)
    assert (entry.stream, entry.seq, entry.key, entry.text) == ("s", 1, "k", "1")
    assert entry.checksum == advance(0, entry.id)
    assert log.heads(["s"])["s"].position == entry.position


def test_entries_follow_one_another_whatever_the_batches(log):
    appended = [entry for count in (1, 3, 1, 2) for entry in log.append("s", drafts(count), 0)]
    assert seqs(appended) == [1, 2, 3, 4, 5, 6, 7]
    assert len({entry.epoch for entry in appended}) == 1
    at = Position(appended[0].epoch, 0, 0)
    for entry in appended:
        at = at.then(entry.id)
        assert entry.position == at
    assert log.heads(["s"])["s"].position == at


def test_a_batch_leads_where_its_entries_one_by_one_lead(log):
    batch = drafts(40)
    log.append("batch", batch, 0)
    for draft in batch:
        log.append("single", [draft], 0)
    checksum = fold(0, [draft.id for draft in batch])
    heads = log.heads(["batch", "single"])
    assert [heads[name].checksum for name in ("batch", "single")] == [checksum, checksum]
    stored = StreamEntry.objects.order_by("seq").values_list("checksum", flat=True)
    assert list(stored.filter(stream__name="batch")) == list(stored.filter(stream__name="single"))


def test_a_batch_may_be_larger_than_one_statement(log):
    count = 2 * ROWS_PER_INSERT + 1
    entries = log.append("s", drafts(count), 0)
    run = log.read("s", Position(entries[0].epoch, 0, 0), count)
    assert run.entries == entries
    assert run.head.position == entries[-1].position


def test_nothing_appended_takes_no_seq(log):
    log.append("s", drafts(2), 0)
    assert log.append("s", [], 50) == []
    assert log.heads(["s"])["s"].seq == 2


def test_what_is_read_is_what_was_appended(log):
    texts = ['{"a":[1,2.50,null]}', '"\\u00e9 é 😀"', '"x\'%s%%"']
    batch = [draft._replace(text=text) for draft, text in zip(drafts(3, key="k"), texts, strict=True)]
    appended = log.append("s", batch, 7)
    assert [entry.text for entry in appended] == texts
    assert log.read("s", Position(appended[0].epoch, 0, 0), 10).entries == appended


def test_clocks_rise_with_seq_and_above_what_the_author_had_seen(log):
    first = log.append("s", drafts(2), 100)
    assert [entry.clock for entry in first] == [101, 102]
    behind = log.append("s", drafts(2), 5)
    assert [entry.clock for entry in behind] == [103, 104]
    assert log.heads(["s"])["s"].clock == 104


def test_an_id_comes_once_in_a_stream(log):
    batch = drafts(2)
    log.append("s", batch, 0)
    with pytest.raises(IntegrityError), transaction.atomic():
        log.append("s", [drafts(1)[0], batch[1]], 0)
    assert log.heads(["s"])["s"].seq == 2
    assert [entry.seq for entry in log.append("other", batch, 0)] == [1, 2]


def test_those_of_some_ids_that_exist_are_found_with_their_places(log):
    batch = drafts(3)
    appended = log.append("s", batch, 0)
    log.append("other", batch[:1], 0)
    wanted = [batch[2].id, batch[0].id, drafts(1)[0].id]
    assert log.existing("s", wanted) == {appended[i].id: appended[i] for i in (0, 2)}
    assert log.existing("unknown", wanted) == {}


def test_what_was_rolled_back_is_not_there(log):
    log.append("s", drafts(1), 0)
    before = log.heads(["s"])
    with transaction.atomic():
        log.append("s", drafts(5), 900)
        transaction.set_rollback(True)
    assert log.heads(["s"]) == before
    assert seqs(log.append("s", drafts(1), 0)) == [2]


# -- heads -------------------------------------------------------------------------------------------------


def test_heads_of_many_streams_are_one_query(log, django_assert_num_queries):
    for name in "abc":
        log.append(name, drafts(ord(name) - 96), 0)
    with django_assert_num_queries(1):
        heads = log.heads(["a", "b", "c"])
    assert {name: head.seq for name, head in heads.items()} == {"a": 1, "b": 2, "c": 3}


def test_an_unknown_stream_is_begun_and_keeps_its_epoch(log):
    log.append("known", drafts(1), 0)
    heads = log.heads(["known", "new", "newer", "new"])
    assert set(heads) == {"known", "new", "newer"}
    assert heads["new"][1:] == (0, 0, 1, 0, 0)
    assert len({head.epoch for head in heads.values()}) == 3
    assert log.heads(["new"])["new"] == heads["new"]
    assert log.append("new", drafts(1), 0)[0].epoch == heads["new"].epoch


def test_no_streams_have_no_heads(log, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert log.heads([]) == {}


# -- reading from a position ---------------------------------------------------------------------------------


@pytest.fixture
def history(log):
    """Positions 0 to 10 of a stream whose entries 1 to 3 were trimmed."""
    entries = log.append("s", drafts(10), 0)
    log.trim("s", 4)
    return [Position(entries[0].epoch, 0, 0), *(entry.position for entry in entries)]


@pytest.mark.parametrize("seq", [3, 4, 7, 9, 10])
def test_a_proven_position_is_followed_by_what_comes_after(log, history, django_assert_num_queries, seq):
    with django_assert_num_queries(1):
        run = log.read("s", history[seq], 100)
    assert [entry.position for entry in run.entries] == history[seq + 1 :]
    assert run.head == log.heads(["s"])["s"]


@pytest.mark.parametrize(
    ("seq", "limit", "expected"),
    [
        (3, 2, [4, 5]),
        (4, 2, [5, 6]),
        (8, 2, [9, 10]),
        (9, 2, [10]),
        (10, 2, []),
        (3, 7, [4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_a_read_is_bounded(log, history, seq, limit, expected):
    run = log.read("s", history[seq], limit)
    assert seqs(run.entries) == expected
    assert run.head.seq == 10


WRONG = {"checksum": 4_711}


@pytest.mark.parametrize(
    ("seq", "change", "reason"),
    [
        pytest.param(10, {"epoch": "other"}, Resync.EPOCH, id="another epoch"),
        pytest.param(10, {"epoch": "other", "seq": 99}, Resync.EPOCH, id="another epoch, above the head"),
        pytest.param(0, {"epoch": "other"}, Resync.EPOCH, id="another epoch, below the floor"),
        pytest.param(10, {"seq": 11}, Resync.REWOUND, id="above the head"),
        pytest.param(10, {"seq": 2**53}, Resync.REWOUND, id="far above the head"),
        pytest.param(2, {}, Resync.TRIMMED, id="below the floor"),
        pytest.param(0, {}, Resync.TRIMMED, id="the beginning"),
        pytest.param(3, WRONG, Resync.DIVERGED, id="before the floor, wrong checksum"),
        pytest.param(4, WRONG, Resync.DIVERGED, id="the floor, wrong checksum"),
        pytest.param(7, WRONG, Resync.DIVERGED, id="wrong checksum"),
        pytest.param(10, WRONG, Resync.DIVERGED, id="the head, wrong checksum"),
    ],
)
@pytest.mark.parametrize("limit", [1, 100])
def test_a_position_that_is_not_in_the_log_is_refused(
    log, history, django_assert_num_queries, seq, change, reason, limit
):
    with django_assert_num_queries(1), pytest.raises(Mismatch) as mismatch:
        log.read("s", history[seq]._replace(**change), limit)
    assert mismatch.value.reason is reason
    assert mismatch.value.head == log.heads(["s"])["s"]


def test_a_history_that_was_rolled_back_and_refilled_looks_continuous_and_is_refused(log):
    kept = log.append("s", drafts(2), 0)
    with transaction.atomic():
        lost = log.append("s", drafts(2), 0)
        transaction.set_rollback(True)
    log.append("s", drafts(3), 0)
    assert seqs(log.read("s", kept[-1].position, 10).entries) == [3, 4, 5]
    for entry in lost:
        with pytest.raises(Mismatch, match="diverged"):
            log.read("s", entry.position, 10)


def test_a_stream_that_vanished_is_another_life(log, history):
    log.drop("s")
    with pytest.raises(Mismatch) as mismatch:
        log.read("s", history[10], 100)
    assert mismatch.value.reason is Resync.EPOCH
    assert mismatch.value.head == log.heads(["s"])["s"]
    assert mismatch.value.head.epoch != history[10].epoch


def test_the_beginning_of_an_empty_stream_can_be_read(log):
    position = log.heads(["s"])["s"].position
    assert log.read("s", position, 10).entries == []


def test_the_checksum_of_one_kept_entry(log, history):
    epoch = history[0].epoch
    assert [log.checksum_at("s", epoch, seq) for seq in (4, 10)] == [
        history[4].checksum,
        history[10].checksum,
    ]
    assert [log.checksum_at("s", epoch, seq) for seq in (0, 3, 11)] == [None] * 3
    assert log.checksum_at("s", "other", 4) is None
    assert log.checksum_at("unknown", epoch, 4) is None


# -- trimming ------------------------------------------------------------------------------------------------


def test_trimming_raises_the_floor_and_keeps_the_checksum_before_it(log):
    entries = log.append("s", drafts(6), 0)
    assert log.trim("s", 4) == 3
    head = log.heads(["s"])["s"]
    assert (head.floor, head.floor_checksum) == (4, entries[2].checksum)
    assert head.position == entries[-1].position
    assert StreamEntry.objects.count() == 3
    assert log.trim("s", 5) == 1
    assert log.heads(["s"])["s"].floor_checksum == entries[3].checksum


@pytest.mark.parametrize("floor", [-1, 0, 1, 3, 4])
def test_the_floor_never_falls(log, history, floor):
    before = log.heads(["s"])
    assert log.trim("s", floor) == 0
    assert log.heads(["s"]) == before


@pytest.mark.parametrize("floor", [11, 12, 10**6])
def test_a_wholly_trimmed_stream_keeps_its_head(log, history, floor):
    assert log.trim("s", floor) == 7
    head = log.heads(["s"])["s"]
    assert head.position == history[10]
    assert (head.floor, head.floor_checksum) == (11, history[10].checksum)
    assert log.read("s", history[10], 10).entries == []
    with pytest.raises(Mismatch, match="trimmed"):
        log.read("s", history[9], 10)
    with pytest.raises(Mismatch, match="diverged"):
        log.read("s", history[10]._replace(**WRONG), 10)
    [entry] = log.append("s", drafts(1), 0)
    assert entry.position == history[10].then(entry.id)
    assert log.read("s", history[10], 10).entries == [entry]


def test_trimming_touches_no_other_stream(log, history):
    log.append("other", drafts(3), 0)
    log.trim("s", 8)
    assert log.heads(["other"])["other"].floor == 1
    assert StreamEntry.objects.filter(stream__name="other").count() == 3
    assert log.trim("unknown", 8) == 0


# -- epochs --------------------------------------------------------------------------------------------------


def test_a_new_epoch_ends_every_position_and_keeps_the_entries(log, history):
    head = log.new_epoch("s", history[10].epoch)
    assert head.epoch != history[10].epoch
    assert head == log.heads(["s"])["s"]
    assert (head.seq, head.checksum) == history[10][1:]
    with pytest.raises(Mismatch, match="epoch"):
        log.read("s", history[10], 10)
    assert seqs(log.read("s", history[7]._replace(epoch=head.epoch), 10).entries) == [8, 9, 10]


def test_a_new_epoch_is_made_once_for_one_that_was_expected(log, history):
    first = log.new_epoch("s", history[10].epoch)
    assert log.new_epoch("s", history[10].epoch) == first
    assert log.new_epoch("s", first.epoch) != first


def test_a_dropped_stream_is_born_again_from_nothing(log, history):
    log.append("other", drafts(1), 0)
    log.drop("s")
    assert not StreamEntry.objects.filter(stream__name="s").exists()
    [entry] = log.append("s", drafts(1), 0)
    assert entry.seq == 1
    assert entry.checksum == advance(0, entry.id)
    assert entry.epoch != history[10].epoch
    assert log.heads(["other"])["other"].seq == 1


def test_dropping_an_unknown_stream_is_no_error(log):
    log.drop("unknown")


# -- what the database itself refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"head": -1, "floor": 1},
        {"floor": 0},
        {"head": 3, "floor": 5},
        {"checksum": -1},
        {"checksum": MODULUS},
        {"floor_checksum": -1},
        {"floor_checksum": MODULUS},
        {"name": "other"},
    ],
)
def test_a_stream_that_cannot_be_is_refused(log, change):
    log.append("s", drafts(2), 0)
    log.append("other", drafts(2), 0)
    with pytest.raises(IntegrityError), transaction.atomic():
        Stream.objects.filter(name="s").update(**change)


@pytest.mark.parametrize("change", [{"seq": 0}, {"seq": 1}, {"uid": "first"}])
def test_an_entry_that_cannot_be_is_refused(log, change):
    first, second = drafts(2)
    log.append("s", [first._replace(id="first-00000000"), second], 0)
    StreamEntry.objects.filter(seq=1).update(uid="first")
    with pytest.raises(IntegrityError), transaction.atomic():
        StreamEntry.objects.filter(seq=2).update(**change)


def test_the_age_of_an_entry_can_be_asked_for(log):
    """Retention by age compares `created`: raw inserts must store what the ORM compares with."""
    start = timezone.now()
    log.append("s", drafts(1), 0)
    entry = StreamEntry.objects.get()
    assert start <= entry.created <= timezone.now()
    for model in (Stream, StreamEntry):
        created = model.objects.get().created
        assert model.objects.filter(created__lte=created).exists()
        assert model.objects.filter(created=created).exists()
        assert not model.objects.filter(created__gt=created).exists()
        assert not model.objects.filter(created__lt=created - timedelta(microseconds=1)).exists()


def test_a_log_writes_where_the_router_says_unless_it_is_told(settings):
    assert log_for("s").using == "default"
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
            "far": {
                "BACKEND": "reconnect_channels.log.database.DatabaseLog",
                "USING": "elsewhere",
                "PREFIXES": ["far:", "far:near:x"],
            },
            "near": {
                "BACKEND": "reconnect_channels.log.database.DatabaseLog",
                "USING": "near",
                "PREFIXES": ["far:near:"],
            },
        }
    }
    places = {name: log_for(name).using for name in ("s", "far:1", "far:near:1", "far:near:x", "fa")}
    assert places == {
        "s": "default",
        "far:1": "elsewhere",
        "far:near:1": "near",
        "far:near:x": "elsewhere",
        "fa": "default",
    }

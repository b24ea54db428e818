import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconnect_channels.protocol.position import (
    FACTOR,
    MAX_EPOCH,
    MAX_SEQ,
    MODULUS,
    InvalidPosition,
    Position,
    advance,
    batch,
    before,
    entry_hash,
    fold,
    parse,
)

from .strategies import EPOCH, checksums, entry_id, entry_ids, json_values, positions, short

runs = st.lists(entry_ids, max_size=20)


# -- the checksum --------------------------------------------------------------------------------------


@given(checksums, runs)
def test_fold_is_the_closed_form(checksum, ids):
    a, b = batch(ids)
    assert fold(checksum, ids) == (checksum * a + b) % MODULUS
    assert checksum * a + b < 2**63  # a bigint of SQL


@given(checksums, runs)
def test_before_inverts_fold(checksum, ids):
    assert before(fold(checksum, ids), ids) == checksum
    assert fold(before(checksum, ids), ids) == checksum


@given(checksums, runs, runs)
def test_a_fold_may_be_cut_anywhere(checksum, first, second):
    assert fold(fold(checksum, first), second) == fold(checksum, first + second)


@given(checksums, entry_ids)
def test_a_step_stays_in_range_and_below_what_a_double_holds(checksum, identity):
    assert 0 <= entry_hash(identity) < MODULUS
    assert checksum * FACTOR + entry_hash(identity) < 2**53
    assert 0 <= advance(checksum, identity) < MODULUS


@given(checksums, entry_ids, entry_ids)
def test_a_step_keeps_histories_apart(checksum, first, second):
    """Two entries lead from one checksum to the same one only if their hashes are the same."""
    assert (advance(checksum, first) == advance(checksum, second)) == (
        entry_hash(first) == entry_hash(second)
    )


@given(checksums, checksums, runs)
def test_histories_that_differed_once_stay_different(one, other, ids):
    """No entries that follow can hide it: a step is a bijection."""
    assert (fold(one, ids) == fold(other, ids)) == (one == other)


@given(checksums, runs, entry_ids, runs)
def test_a_dropped_or_repeated_entry_changes_the_checksum(checksum, head, identity, tail):
    """But for one checksum a hash: the fixed point, where `30 · checksum + h = 0 (mod 2^31 - 1)`.

    There the seq still tells, since it counts the entries.
    """
    at = fold(checksum, head)
    whole = fold(at, [identity, *tail])
    fixed = (30 * at + entry_hash(identity)) % MODULUS == 0
    assert (fold(at, tail) == whole) == fixed  # dropped; read backwards: an entry slipped in
    assert (fold(at, [identity, identity, *tail]) == whole) == fixed  # repeated


def test_the_fixed_point_that_hides_a_drop_exists():
    assert advance(0, "00000000") == 0
    checksum = -entry_hash(EPOCH) * pow(30, -1, MODULUS) % MODULUS
    assert advance(checksum, EPOCH) == checksum


@given(checksums, st.lists(entry_ids, min_size=2, max_size=20), st.data())
def test_two_swapped_entries_change_the_checksum_if_their_hashes_differ(checksum, ids, data):
    """Exactly then, for entries less than 2^31 - 2 apart: 31 is a primitive root."""
    i, j = sorted(data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=2, max_size=2, unique=True)))
    swapped = list(ids)
    swapped[i], swapped[j] = ids[j], ids[i]
    assert (fold(checksum, swapped) == fold(checksum, ids)) == (entry_hash(ids[i]) == entry_hash(ids[j]))


def test_the_factor_is_a_primitive_root():
    order = MODULUS - 1
    primes = [2, 3, 7, 11, 31, 151, 331]
    assert order == 3 * math.prod(primes)
    assert all(pow(FACTOR, order // prime, MODULUS) != 1 for prime in primes)


@given(positions, entry_ids)
def test_then_is_one_step(position, identity):
    assert position.then(identity) == (position.epoch, position.seq + 1, fold(position.checksum, [identity]))


# -- the wire form -------------------------------------------------------------------------------------

GOOD = {"epoch": EPOCH, "last_seq_id": 41, "checksum": 1234}


@given(positions)
def test_the_wire_form_is_read_back(position):
    assert parse(position.wire()) == position
    assert type(parse(position.wire())) is Position


def test_null_is_no_position():
    assert parse(None) is None


def test_unknown_fields_of_a_position_are_ignored():
    assert parse({**GOOD, "new": 1}) == Position(EPOCH, 41, 1234)


@pytest.mark.parametrize(
    "change",
    [
        {"last_seq_id": 0},
        {"last_seq_id": MAX_SEQ},
        {"checksum": 0},
        {"checksum": MODULUS - 1},
        {"epoch": "e"},
        {"epoch": "e" * MAX_EPOCH},
    ],
    ids=repr,
)
def test_the_edges_of_a_position_are_accepted(change):
    assert parse({**GOOD, **change}).wire() == {**GOOD, **change}


NOT_COUNTS = [-1, -0.0, 0.0, 1.0, 1.5, math.nan, math.inf, -math.inf, True, False, None, "5", "", [], {}, [1]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("last_seq_id", value) for value in [*NOT_COUNTS, 2**53 + 1, 2**63, 10**30]),
        *(("checksum", value) for value in [*NOT_COUNTS, MODULUS, MODULUS + 1, 2**32, 2**53]),
        *(
            ("epoch", value)
            for value in ["", "e" * (MAX_EPOCH + 1), "e" * 1000, None, 1, True, b"e", [], {}, ["e"]]
        ),
    ],
    ids=short,
)
def test_any_other_value_of_a_position_is_refused(field, value):
    with pytest.raises(InvalidPosition):
        parse({**GOOD, field: value})


@pytest.mark.parametrize("field", GOOD)
def test_a_position_without_a_field_is_refused(field):
    with pytest.raises(InvalidPosition):
        parse({key: value for key, value in GOOD.items() if key != field})


@pytest.mark.parametrize("raw", [0, 1, "", "x", False, True, [], [EPOCH, 41, 1234], 1.5, {}], ids=repr)
def test_what_is_neither_an_object_nor_null_is_refused(raw):
    with pytest.raises(InvalidPosition):
        parse(raw)


def test_a_tuple_is_not_the_wire_form():
    with pytest.raises(InvalidPosition):
        parse(Position(EPOCH, 41, 1234))


@given(json_values | st.fixed_dictionaries(dict.fromkeys(GOOD, json_values)))
def test_whatever_json_holds_it_is_a_position_or_invalid(raw):
    assume(raw is not None)
    try:
        position = parse(raw)
    except InvalidPosition:
        return
    assert position.wire().items() <= raw.items()
    assert 0 <= position.seq <= MAX_SEQ
    assert 0 <= position.checksum < MODULUS


def test_the_prefixes_of_a_log_have_checksums_of_their_own():
    """A checksum has 31 bits: among 20 000 prefixes of a log some tenth of a collision is expected."""
    seen, checksum = set(), 0
    for number in range(20_000):
        checksum = advance(checksum, entry_id(number))
        seen.add(checksum)
    assert len(seen) >= 19_998

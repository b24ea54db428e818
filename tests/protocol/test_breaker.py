from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.breaker import Breaker


def opened(failures: int = 5) -> Breaker:
    breaker = Breaker(failures)
    for _ in range(failures):
        breaker.failed(0.0)
    return breaker


@given(st.integers(1, 10), st.lists(st.booleans(), max_size=60))
def test_it_opens_with_the_nth_failure_in_a_row_and_closes_with_the_first_success(limit, outcomes):
    breaker = Breaker(limit)
    in_a_row, is_open = 0, False
    for success in outcomes:
        if success:
            assert breaker.succeeded() is is_open
            in_a_row, is_open = 0, False
        else:
            in_a_row += 1
            assert breaker.failed(0.0) is (in_a_row == limit)
            is_open = is_open or in_a_row == limit
        assert breaker.is_open is is_open


@given(st.floats(0.01, 10), st.lists(st.floats(0, 5), max_size=60), st.lists(st.booleans(), max_size=60))
def test_probes_are_never_closer_than_asked_whether_they_fail_or_not(every, pauses, failing):
    breaker = Breaker(1, every)
    now = 1000.0
    breaker.failed(now)
    probes = [now]
    for pause, fails in zip(pauses, [*failing, *[True] * 60], strict=False):
        now += pause
        if breaker.may_probe(now):
            probes.append(now)
        if fails:
            breaker.failed(now)
    assert all(later - earlier >= every - 1e-9 for earlier, later in pairwise(probes))


def test_a_probe_is_due_at_last_however_long_it_was_open():
    breaker = opened()
    assert not breaker.may_probe(0.999)
    assert breaker.may_probe(1.0)
    assert breaker.may_probe(1e9)


def test_a_closed_breaker_needs_no_probe():
    assert not Breaker().may_probe(1e9)


def test_it_takes_as_many_failures_again_after_it_was_closed():
    breaker = opened(3)
    breaker.succeeded()
    assert [breaker.failed(0.0) for _ in range(3)] == [False, False, True]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.clock import MAX_JUMP, LamportClock

PROCESSES = 4
events = st.lists(
    st.tuples(
        st.sampled_from(["local", "send", "receive"]), st.integers(0, PROCESSES - 1), st.integers(0, 10)
    ),
    max_size=60,
)


@given(events)
def test_what_happened_before_has_the_smaller_time(steps):
    """Lamport's clock condition, against vector clocks, on any exchange of messages."""
    clocks = [LamportClock() for _ in range(PROCESSES)]
    vectors = [[0] * PROCESSES for _ in range(PROCESSES)]
    flying: list[tuple[int, list[int]]] = []
    happened: list[tuple[list[int], int]] = []
    for kind, process, which in steps:
        if kind == "receive":
            if not flying:
                continue
            time, vector = flying[which % len(flying)]  # late, twice, out of order: as networks do
            clocks[process].observe(time)
            vectors[process] = [max(pair) for pair in zip(vectors[process], vector, strict=True)]
        vectors[process][process] += 1
        time = clocks[process].tick()
        happened.append((list(vectors[process]), time))
        if kind == "send":
            flying.append(happened[-1][::-1])
    for earlier, time in happened:
        for later, other in happened:
            if earlier != later and all(a <= b for a, b in zip(earlier, later, strict=True)):
                assert time < other


@given(st.integers(0, 2**53), st.lists(st.integers(0, 2**53)))
def test_a_clock_never_goes_back(now, seen):
    clock = LamportClock(now)
    for time in seen:
        last = clock.now
        clock.observe(time)
        assert clock.now == max(last, time)
        assert clock.tick() == clock.now == max(last, time) + 1


@pytest.mark.parametrize("now", [0, 5, 2**40])
def test_a_peer_may_be_ahead_by_a_bound(now):
    clock = LamportClock(now)
    assert MAX_JUMP == 2**20
    assert clock.plausible(0)
    assert clock.plausible(now)
    assert clock.plausible(now + MAX_JUMP)
    assert not clock.plausible(now + MAX_JUMP + 1)
    assert not clock.plausible(-1)
    assert clock.now == now

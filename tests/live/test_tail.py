"""Rows that are read by their ids, though ids become visible in another order than they were taken."""

from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.live import tail
from reconnect_channels.live.tail import Tail


@given(
    start=st.integers(0, 1000),
    steps=st.lists(st.sampled_from(["begin", "commit", "roll back", "look"]), max_size=80),
    random=st.randoms(use_true_random=False),
)
def test_every_committed_row_comes_once_whatever_the_order_of_commits(start, steps, random):
    followed, next_id = Tail(start), start
    running, visible, found = [], set(), []

    def look():
        wanted = {id_ for id_ in visible if id_ > followed.high} | (visible & set(followed.missed))
        found.extend(followed.take(wanted, now=0.0))

    for step in steps:
        if step == "begin":
            next_id += 1
            running.append(next_id)
        elif step == "look":
            look()
        elif running:
            id_ = running.pop(random.randrange(len(running)))
            if step == "commit":
                visible.add(id_)
    visible.update(running)
    look()
    assert sorted(found) == sorted(visible)


def test_rows_that_never_come_are_given_up():
    followed = Tail(0)
    assert followed.take([3], now=0.0) == {3}
    assert followed.missed == [1, 2]
    followed.take([], now=tail.KEEP + 1)
    assert followed.missed == []
    assert followed.take([1], now=tail.KEEP + 1) == set()


def test_a_jump_of_ids_is_not_waited_for_one_by_one():
    followed = Tail(0)
    followed.take([10**9], now=0.0)
    assert len(followed.missed) == tail.MOST
    followed.take([2 * 10**9], now=1.0)
    assert len(followed.missed) == tail.MOST
    assert min(followed.missed) > 10**9

"""The storm's checker, with a bad history for every verdict, and the storm itself."""

import pytest

from reconnect_channels.protocol.position import Position
from reconnect_channels.storm.history import FAULTS, MAX_EXAMPLES, History, Seen, Verdict

EPOCH, OTHER = "one", "two"


def entry(seq: int, key: str | None = None, *, epoch: str = EPOCH, id: str | None = None) -> Seen:
    return Seen(epoch, seq, id or f"id-{seq}", f"key-{seq}" if key is None else key)


def stand(history: History, seq: int, *clients: str, epoch: str = EPOCH, checksum: int = 7) -> None:
    for client in clients:
        history.standing(client, "s", Position(epoch, seq, checksum))


def good() -> History:
    """Two clients see three messages of theirs; the second joined after the first message."""
    history = History()
    for seq, producer in enumerate("aba", 1):
        history.sent()
        history.acknowledged("s", producer, seq, f"key-{seq}", EPOCH, seq)
    history.snapshot("a", "s", EPOCH, 0)
    history.snapshot("b", "s", EPOCH, 1)
    history.applied("a", "s", [entry(1), entry(2), entry(3)])
    history.applied("b", "s", [entry(2), entry(3)])
    return history


def judge(history: History, *, at: int = 3) -> Verdict:
    stand(history, at, "a", "b")
    return history.judge()


def faults(verdict: Verdict) -> dict[str, int]:
    assert verdict.ok is (not verdict.faults)
    return dict(verdict.faults)


def test_a_good_history_is_good():
    verdict = judge(good())
    assert faults(verdict) == {}
    assert (verdict.sent, verdict.acked, verdict.proven, verdict.unproven) == (3, 3, 3, 0)


def test_lost_another_entry_where_the_ack_pointed():
    history = good()
    history.acknowledged("s", "b", 9, "mine", EPOCH, 3)
    assert faults(judge(history))["lost"] == 1


def test_lost_nobody_ever_saw_it():
    history = good()
    history.acknowledged("s", "b", 9, "mine", EPOCH, 4)
    verdict = judge(history)
    assert faults(verdict) == {"lost": 1}
    assert "mine" in verdict.examples["lost"][0]


def test_lost_although_no_client_is_left_to_ask():
    history = History()
    history.acknowledged("s", "a", 1, "mine", EPOCH, 1)
    history.standing("a", "s", None)
    assert history.judge().faults["lost"] == 1


def test_the_right_key_at_another_seq_is_lost_and_so_is_the_one_it_displaced():
    history = good()
    history.acknowledged("s", "b", 2, "key-3", EPOCH, 2)
    assert faults(judge(history))["lost"] == 1


def test_what_every_client_passed_by_snapshot_is_unproven_not_lost():
    history = good()
    history.acknowledged("s", "a", 9, "mine", EPOCH, 5)
    for client in "ab":
        history.snapshot(client, "s", EPOCH, 6)
    verdict = judge(history, at=6)
    assert faults(verdict) == {}
    assert verdict.unproven == 1


def test_what_an_older_epoch_held_is_unproven():
    history = good()
    history.acknowledged("s", "a", 9, "mine", EPOCH, 4)
    for client in "ab":
        history.snapshot(client, "s", OTHER, 9)
    stand(history, 9, "a", "b", epoch=OTHER)
    verdict = history.judge()
    assert faults(verdict) == {}
    assert verdict.unproven == 1


def test_a_key_in_two_entries_is_a_duplicate():
    history = good()
    for client in "ab":
        history.applied(client, "s", [entry(4, "key-2")])
    verdict = judge(history, at=4)
    assert faults(verdict) == {"duplicates": 1}
    assert "[2, 4]" in verdict.examples["duplicates"][0]


def test_a_key_in_two_epochs_is_a_duplicate_unless_it_is_the_same_entry():
    history = good()
    for client in "ab":
        history.snapshot(client, "s", OTHER, 2)
        history.applied(client, "s", [entry(3, epoch=OTHER)])
    stand(history, 3, "a", "b", epoch=OTHER)
    assert faults(history.judge()) == {}
    for client in "ab":
        history.applied(client, "s", [entry(4, "key-3", epoch=OTHER)])
    stand(history, 4, "a", "b", epoch=OTHER)
    assert faults(history.judge()) == {"duplicates": 1}


def test_handlers_that_publish_several_entries_may():
    history = History(entries_per_message=2)
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1, "key"), entry(2, "key")])
    history.acknowledged("s", "a", 1, "key", EPOCH, 2)
    stand(history, 2, "a")
    assert faults(history.judge()) == {}
    history.applied("a", "s", [entry(3, "key")])
    stand(history, 3, "a")
    assert faults(history.judge()) == {"duplicates": 1}


def test_entries_of_others_without_a_key_are_no_duplicates():
    history = good()
    for client in "ab":
        history.applied(client, "s", [Seen(EPOCH, 4, "id-4", None), Seen(EPOCH, 5, "id-5", None)])
    assert faults(judge(history, at=5)) == {}


def test_a_rejected_message_that_took_effect_was_not_aborted():
    history = good()
    history.rejected("s", "key-4")
    assert faults(judge(history)) == {}
    history.applied("a", "s", [entry(4)])
    history.applied("b", "s", [entry(4)])
    assert faults(judge(history, at=4)) == {"aborted": 1}


def test_a_skipped_entry_is_a_gap():
    history = good()
    history.applied("a", "s", [entry(4), entry(5), entry(6)])
    history.applied("b", "s", [entry(6)])
    verdict = judge(history, at=6)
    assert faults(verdict) == {"gaps": 2}
    assert "from s 3 to 6" in verdict.examples["gaps"][0]


def test_another_epoch_without_a_snapshot_is_a_gap():
    history = good()
    history.applied("a", "s", [entry(4, epoch=OTHER)])
    assert faults(judge(history)) == {"gaps": 1}


def test_entries_before_any_snapshot_are_a_gap():
    history = History()
    history.applied("a", "s", [entry(1)])
    assert history.judge().faults == {"gaps": 1}


@pytest.mark.parametrize("again", [3, 2])
def test_an_entry_again_or_backwards_is_a_reorder(again):
    history = good()
    history.applied("b", "s", [entry(again)])
    assert faults(judge(history)) == {"reorders": 1}


def test_a_message_that_overtakes_an_earlier_one_of_its_sender_breaks_fifo():
    history = History()
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1), entry(2), entry(3)])
    for number, key in enumerate(["key-1", "key-3", "key-2"], 1):
        history.acknowledged("s", "p", number, key, EPOCH, int(key[-1]))
    stand(history, 3, "a")
    verdict = history.judge()
    assert faults(verdict) == {"fifo": 1}
    assert "message 3 of p" in verdict.examples["fifo"][0]


def test_order_between_senders_is_not_promised():
    history = History()
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1), entry(2)])
    history.acknowledged("s", "p", 1, "key-2", EPOCH, 2)
    history.acknowledged("s", "q", 2, "key-1", EPOCH, 1)
    stand(history, 2, "a")
    assert faults(history.judge()) == {}


@pytest.mark.parametrize("odd", [Position(EPOCH, 2, 7), Position(EPOCH, 3, 8), Position(OTHER, 3, 7), None])
def test_a_client_that_ends_elsewhere_has_diverged(odd):
    history = good()
    stand(history, 3, "a", "b", "c")
    history.standing("d", "s", odd)
    verdict = history.judge()
    assert faults(verdict) == {"diverged": 1}
    assert verdict.examples["diverged"][0].startswith("d ")


def test_a_client_with_another_entry_at_a_seq_has_diverged_even_with_the_right_end():
    history = good()
    history.applied("a", "s", [entry(4)])
    history.applied("b", "s", [entry(4, id="another")])
    assert faults(judge(history, at=4)) == {"diverged": 1}


def test_a_message_without_an_answer_is_a_fault():
    history = good()
    history.unanswered("message 4 of a")
    assert faults(judge(history)) == {"unanswered": 1}


def test_a_run_that_proves_nothing_is_not_good():
    assert not History().judge().ok
    history = History()
    history.sent()
    history.acknowledged("s", "a", 1, "key", None, None)
    stand(history, 0, "a")
    verdict = history.judge()
    assert verdict.unproven == 1
    assert not verdict.faults
    assert not verdict.ok


def test_streams_are_judged_apart():
    history = good()
    history.snapshot("a", "t", EPOCH, 0)
    history.applied("a", "t", [entry(1), entry(2)])
    history.standing("a", "t", Position(EPOCH, 2, 1))
    assert faults(judge(history)) == {}


def test_examples_are_bounded_and_counts_are_not():
    history = good()
    for number in range(50):
        history.unanswered(f"message {number}")
    verdict = judge(history)
    assert verdict.faults["unanswered"] == 50
    assert len(verdict.examples["unanswered"]) == MAX_EXAMPLES
    assert verdict.faults.keys() <= FAULTS.keys()

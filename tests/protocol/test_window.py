from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol import window as module
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.position import MODULUS, Position
from reconnect_channels.protocol.window import PAGE_BYTES, PAGE_ENTRIES, Page, Slice, Slot, Window, cut

from .strategies import EPOCH, OTHER_EPOCH, checksums, entries

starts = st.builds(Position, st.just(EPOCH), st.integers(0, 2**40), checksums)
PAYLOAD = {0: "1", 1: '"' + "x" * 40 + '"', 2: '"' + "x" * 400 + '"'}
payloads = st.lists(st.sampled_from([0, 1, 2]).map(PAYLOAD.get), max_size=40)


def kept(run: list[Entry], max_entries: int, max_bytes: int) -> list[Entry]:
    """The newest entries within both bounds; the newest itself whatever its size."""
    result: list[Entry] = []
    size = 0
    for entry in reversed(run):
        size += len(entry.wire())
        if len(result) == max_entries or (result and size > max_bytes):
            break
        result.insert(0, entry)
    return result


def filled(start: Position, run: list[Entry], **bounds: int) -> Window:
    window = Window(start, **bounds)
    for entry in run:
        assert window.continues(entry)
        slot = window.append(entry)
        assert slot == (entry.position, entry.wire(), entry)
    return window


@given(starts, payloads, st.integers(1, 20), st.integers(1, 5_000))
def test_a_window_holds_the_newest_entries_within_its_bounds(start, texts, max_entries, max_bytes):
    window = Window(start, max_entries, max_bytes)
    run = entries(start, texts)
    assert window.position == start
    assert len(window) == 0
    for count, entry in enumerate(run, 1):
        window.append(entry)
        model = kept(run[:count], max_entries, max_bytes)
        first = model[0].seq - 1
        assert window.position == entry.position
        assert len(window) == len(model)
        assert [slot.entry for slot in window.slots_after(first)] == model
        # the checksum is known from just before the first kept entry to the last, nowhere else
        history = {at.seq: at.checksum for at in [start, *(other.position for other in run[:count])]}
        for seq in range(start.seq - 2, entry.seq + 3):
            assert window.checksum_at(seq) == (history[seq] if first <= seq <= entry.seq else None)
        for seq in range(first, entry.seq + 1):
            assert [slot.entry for slot in window.slots_after(seq)] == [e for e in model if e.seq > seq]


@given(starts, payloads, st.integers(1, 20), st.integers(1, 5), st.integers(1, 1_000))
def test_pages_join_to_exactly_the_log(start, texts, max_entries, page_entries, page_bytes):
    run = entries(start, texts)
    window = filled(start, run, max_entries=max_entries)
    positions = [start, *(entry.position for entry in run)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_ENTRIES", page_entries)
        patch.setattr(module, "PAGE_BYTES", page_bytes)
        for index, position in enumerate(positions):
            if len(run) - index > len(window):
                assert window.page_after(position) is None
                continue
            wires: list[str] = []
            at = position
            while True:
                page = window.page_after(at)
                assert page is not None
                assert page.after == at
                assert page.to.seq - page.after.seq == len(page.wires) <= page_entries
                assert page.size == sum(map(len, page.wires))
                assert page.size <= page_bytes or len(page.wires) == 1
                wires += page.wires
                at = page.to
                if page.complete:
                    break
                assert page.wires
            assert at == window.position
            assert wires == [entry.wire() for entry in run[index:]]


@given(starts, payloads, st.integers(1, 20), st.data())
def test_a_position_that_does_not_fit_gets_no_page(start, texts, max_entries, data):
    run = entries(start, texts)
    window = filled(start, run, max_entries=max_entries)
    truth = {at.seq: at for at in [start, *(entry.position for entry in run)]}
    seq = data.draw(st.integers(max(0, start.seq - 3), window.position.seq + 3))
    right = truth.get(seq, Position(EPOCH, seq, 0))
    off = data.draw(st.integers(1, MODULUS - 1))
    assert window.page_after(right._replace(epoch=OTHER_EPOCH)) is None
    assert window.page_after(right._replace(checksum=(right.checksum + off) % MODULUS)) is None
    reached = seq in truth and window.position.seq - seq <= len(window)
    assert (window.page_after(right) is not None) == reached


@given(starts, payloads.filter(len), st.data())
def test_only_the_next_entry_of_this_history_continues_a_window(start, texts, data):
    run = entries(start, texts)
    count = data.draw(st.integers(0, len(run) - 1))
    window = filled(start, run[:count])
    for index, entry in enumerate(run):
        assert window.continues(entry) == (index == count)
    entry = run[count]
    assert not window.continues(entry._replace(epoch=OTHER_EPOCH))
    assert not window.continues(entry._replace(checksum=(entry.checksum + 1) % MODULUS))
    assert not window.continues(entry._replace(seq=entry.seq + 1))
    assert not window.continues(entry._replace(id=OTHER_EPOCH))


def slots(sizes: list[int]) -> list[Slot]:
    run = entries(Position(EPOCH, 0, 0), ["1"] * len(sizes))
    return [Slot(entry.position, "x" * size, entry) for entry, size in zip(run, sizes, strict=True)]


START = Position(EPOCH, 0, 0)


@given(
    st.lists(
        st.sampled_from([1, 1_000, PAGE_BYTES // 2, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1]), max_size=6
    ),
    st.booleans(),
)
def test_a_page_is_as_large_as_its_bytes_allow(sizes, complete):
    page = cut(START, slots(sizes), complete=complete)
    count = len(page.wires)
    assert page.size == sum(sizes[:count])
    assert page.to.seq == count
    assert count >= min(1, len(sizes))
    assert count <= 1 or page.size <= PAGE_BYTES
    if count < len(sizes):
        assert not page.complete
        assert sum(sizes[: count + 1]) > PAGE_BYTES
    else:
        assert page.complete == complete


@pytest.mark.parametrize(
    ("count", "taken", "complete"),
    [(0, 0, True), (1, 1, True), (499, 499, True), (500, 500, True), (501, 500, False), (1_000, 500, False)],
)
def test_a_page_holds_500_entries(count, taken, complete):
    run = entries(START, ["1"] * count)
    page = cut(START, slots([10] * count), complete=True)
    assert (len(page.wires), page.to.seq, page.complete) == (taken, taken, complete)
    whole = filled(START, run).page_after(START)
    assert whole is not None
    assert (len(whole.wires), whole.to.seq, whole.complete) == (taken, taken, complete)


def test_an_empty_page_says_you_are_current():
    window = filled(START, entries(START, ["1", "2"]))
    assert window.page_after(window.position) == Page(window.position, window.position, [], 0, True)
    assert Window(START).page_after(START) == Page(START, START, [], 0, True)


def test_the_bounds_of_a_window_and_a_page_are_the_documented_ones():
    assert (PAGE_ENTRIES, PAGE_BYTES) == (500, 256 * 1024)
    window = filled(START, entries(START, ["1"] * 1_001))
    assert len(window) == 1_000
    large = '"' + "x" * 60_000 + '"'
    window = filled(START, entries(START, [large] * 30))
    assert len(window) == (1 << 20) // len(entries(START, [large])[0].wire())


def test_one_entry_larger_than_the_window_is_kept():
    run = entries(START, ["1", '"' + "x" * 500 + '"'])
    window = filled(START, run, max_bytes=100)
    assert len(window) == 1
    page = window.page_after(run[0].position)
    assert page is not None
    assert page.wires == [run[1].wire()]
    assert window.page_after(START) is None


@pytest.mark.parametrize(("spare", "kept_entries"), [(0, 3), (-1, 2)])
def test_a_window_may_be_filled_to_the_last_character(spare, kept_entries):
    run = entries(START, ["1"] * 3)
    window = filled(START, run, max_bytes=sum(len(entry.wire()) for entry in run) + spare)
    assert len(window) == kept_entries


@given(starts, payloads.filter(len), st.integers(1, 1_000), st.booleans())
def test_a_slice_serves_whoever_stands_among_its_entries_and_nobody_at_its_end(start, texts, max_bytes, ends):
    run = entries(start, texts)
    piece = Slice(start, run, ends=ends)
    assert piece.size == sum(len(entry.wire()) for entry in run)
    for index, position in enumerate([start, *(entry.position for entry in run[:-1])]):
        page = piece.page_after(position, max_bytes)
        assert page is not None
        assert page.wires == [entry.wire() for entry in run[index : index + len(page.wires)]]
        assert page.size <= max_bytes or len(page.wires) == 1
        assert page.complete == (ends and page.to == run[-1].position)
    assert piece.page_after(run[-1].position) is None
    assert piece.page_after(start._replace(checksum=(start.checksum + 1) % MODULUS)) is None
    assert piece.page_after(start._replace(epoch=OTHER_EPOCH)) is None

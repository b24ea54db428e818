"""Verification: whether a stream's log is one unbroken history, and its snapshots are of it.

Reads only. What is published, trimmed or begun anew meanwhile is no problem.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.db import Error

from . import folding
from .log import log_for
from .log.base import Mismatch, SequenceLog
from .models import StoredSnapshot
from .protocol.codec import encode
from .protocol.entry import Entry
from .protocol.position import Position, advance
from .protocol.recovery import Head
from .registry import consumer_for
from .snapshots import atake, take

PAGE = 500  # entries in memory at once
ATTEMPTS = 5  # starts, where the stream is trimmed or begun anew meanwhile
MOST = 10  # problems that are told of one stream


@dataclass(frozen=True)
class Problem:
    """Something that isn't as it must be, in plain words."""

    stream: str
    text: str


@dataclass
class Report:
    """What was looked at, and what was found."""

    streams: int = 0
    entries: int = 0
    states: int = 0  # stored ones that are what `reduce` makes of the entries
    unproven: int = 0  # stored ones that couldn't be compared: earlier entries are gone, or no `reduce` fits
    snapshots: int = 0  # of `get_snapshot`, whose position is in the log
    problems: list[Problem] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Puts another one's findings to these."""
        self.streams += other.streams
        self.entries += other.entries
        self.states += other.states
        self.unproven += other.unproven
        self.snapshots += other.snapshots
        self.problems += other.problems


def verify(stream: str, progress: Callable[[int], object] = lambda _: None) -> Report:
    """Folds a stream's log from its floor to its head, and compares what was made of it.

    :param progress: called with the number of entries that were read, page by page.

    Raises what the database or Redis raises when the log can't be read.
    """
    for _ in range(ATTEMPTS):
        log = log_for(stream)
        rows = list(StoredSnapshot.objects.using(log.using).filter(stream=stream).order_by("seq", "version"))
        head = log.begun([stream]).get(stream)  # after the rows: none of them may be newer
        report = Report()
        if head is None:
            return report
        report.streams = 1
        try:
            at = _Walk(stream, head, rows, report).run(log, progress)
            _look_at_snapshot(stream, log, report)
        except Mismatch:
            continue
        report.problems.extend(
            Problem(stream, f"the state stored at {row.seq} lies beyond the head {at.seq}")
            for row in rows
            if row.seq > at.seq
        )
        if len(report.problems) > MOST:
            report.problems[MOST:] = [Problem(stream, "and more")]
        return report
    return Report(1, problems=[Problem(stream, "it changes faster than it can be read: try again")])


class _Walk:
    """From the floor to the head, with the state that `reduce` makes on the way, as long as it is known."""

    def __init__(self, stream: str, head: Head, rows: list[StoredSnapshot], report: Report) -> None:
        self._stream = stream
        self._report = report
        self._rows: dict[int, list[StoredSnapshot]] = {}
        for row in rows:
            self._rows.setdefault(row.seq, []).append(row)
        found = consumer_for(stream)
        self._consumer: Any = None
        if found is not None and folding.folds(found):
            self._consumer = found
        self._state: Any = None
        self._known = self._consumer is not None and head.floor_checksum == 0
        if self._known:  # nothing was trimmed: the life of this log begins here
            self._state = self._consumer.initial_state(stream)
        self._at = Position(head.epoch, head.floor - 1, head.floor_checksum)
        report.unproven += sum(row.seq < self._at.seq for row in rows)

    def run(self, log: SequenceLog, progress: Callable[[int], object]) -> Position:
        """Returns where it ended.

        :raises Mismatch: another history began, or was trimmed.
        """
        if self._at.seq == 0 and self._at.checksum:
            self._tell(f"the checksum before the first entry is {self._at.checksum}, not 0")
        self._compare_states()
        while len(self._report.problems) < MOST:
            run = log.read(self._stream, self._at, PAGE)
            for entry in run.entries:
                self._take(entry)
            self._report.entries += len(run.entries)
            progress(self._report.entries)
            if self._at.seq >= run.head.seq or not run.entries:
                self._end(run.head)
                break
        return self._at

    def _take(self, entry: Entry) -> None:
        before, self._at = self._at, entry.position
        checksum = advance(before.checksum, entry.id)
        if entry.seq != before.seq + 1:
            self._tell(f"entries {before.seq + 1} to {entry.seq - 1} are missing")
        elif entry.checksum != checksum:
            self._tell(f"entry {entry.seq} has the checksum {entry.checksum}, not {checksum} as its id says")
        if self._known:
            try:
                self._known = entry.seq == before.seq + 1
                self._state = self._consumer.reduce(self._state, entry)
            except Exception as error:
                self._tell(f"reduce failed at entry {entry.seq}: {error!r}")
                self._known = False
        self._compare_states()

    def _compare_states(self) -> None:
        version = getattr(self._consumer, "snapshot_version", None)
        for row in self._rows.get(self._at.seq, ()):
            if row.checksum != self._at.checksum:
                self._tell(
                    f"the state stored at {row.seq} has the checksum {row.checksum}, "
                    f"the log {self._at.checksum}: it is of another history"
                )
            elif row.version != version:
                self._report.unproven += 1
            elif not self._known:
                self._report.unproven += 1
                self._state, self._known = msgspec.json.decode(row.text), True
            elif msgspec.json.decode(row.text) == msgspec.json.decode(encode(self._state)):
                self._report.states += 1
            else:
                self._tell(f"the state stored at {row.seq} isn't what reduce makes of the entries")

    def _end(self, head: Head) -> None:
        if self._at.seq < head.seq:
            self._tell(f"entries {self._at.seq + 1} to {head.seq} are missing, or most of them")
        elif self._at.seq > head.seq:
            self._tell(f"the head is {head.seq}, but there are entries up to {self._at.seq}")
        elif self._at.checksum != head.checksum:
            self._tell(f"the head's checksum is {head.checksum}, the last entry's {self._at.checksum}")

    def _tell(self, text: str) -> None:
        self._report.problems.append(Problem(self._stream, text))


def _look_at_snapshot(stream: str, log: SequenceLog, report: Report) -> None:
    """Whether the position of what `get_snapshot` gives is in the log; of its state nobody knows more."""
    consumer_class = consumer_for(stream)
    if consumer_class is None or report.problems or not folding.overrides(consumer_class, "get_snapshot"):
        return
    is_async = inspect.iscoroutinefunction(consumer_class.get_snapshot)
    try:
        snapshot = (async_to_sync(atake) if is_async else take)(consumer_class, stream)
    except Error:
        raise
    except Exception as error:
        report.problems.append(Problem(stream, f"get_snapshot failed: {error!r}"))
        return
    log.read(stream, snapshot.position, 1)
    report.snapshots += 1

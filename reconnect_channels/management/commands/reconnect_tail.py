"""`manage.py reconnect_tail board:1`: shows a stream's entries as they come, like `tail -f`."""

from __future__ import annotations

import os
import re
import sys
import time
from argparse import BooleanOptionalAction
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from ...log import log_for
from ...log.base import Mismatch
from ...protocol.codes import Resync
from ...protocol.entry import Entry
from ...protocol.position import Position
from ...protocol.recovery import Head

PAGE = 500
PAUSES = 1.0, 30.0  # seconds between two tries while the log is away: the first, and the longest
GUESSED = 20_000  # names that a misspelt one is compared with
# What JSON leaves as it is, and terminals act on: C1 controls, directions, separators, what is invisible.
ACTING = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


class Command(BaseCommand):
    help = (
        "Shows the entries of streams, and those that come, until Ctrl-C. A line: stream, seq, payload. "
        "It reads the log, so it misses nothing; where the log is away it goes on afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("streams", nargs="+", help="names")
        first = parser.add_mutually_exclusive_group()
        first.add_argument("--from", type=int, dest="first", metavar="SEQ", help="begin with this entry")
        first.add_argument(
            "--last",
            type=int,
            default=10,
            metavar="N",
            help="begin with the last entries (default: %(default)s)",
        )
        parser.add_argument(
            "--follow", action=BooleanOptionalAction, default=True, help="wait for more (default)"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line, with all fields")
        parser.add_argument(
            "--interval",
            type=float,
            default=0.5,
            metavar="SECONDS",
            help="between two looks at the log (default: %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._tail(options)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # `| head` has enough; what Python flushes at its end has no reader either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _tail(self, options: dict[str, Any]) -> None:
        names = list(dict.fromkeys(options["streams"]))
        heads = _known(names)
        places = {name: _start(name, heads[name], options["first"], options["last"]) for name in names}
        pause = PAUSES[0]
        while True:
            try:
                for name in names:
                    for entry in self._new(name, places):
                        self.stdout.write(_json(entry) if options["json"] else _line(entry))
                self.stdout.flush()
            except (BrokenPipeError, CommandError):
                raise
            except Exception as error:
                if not options["follow"]:
                    raise CommandError(f"The log can't be read: {error}") from error
                self.stderr.write(f"The log can't be read ({type(error).__name__}); again in {pause:g} s")
                connections.close_all()
                time.sleep(pause)
                pause = min(pause * 2, PAUSES[1])
                continue
            if not options["follow"]:
                return
            pause = PAUSES[0]
            time.sleep(options["interval"])

    def _new(self, name: str, places: dict[str, Position]) -> Iterator[Entry]:
        """Entries after a stream's place, which moves with them."""
        while True:
            try:
                run = log_for(name).read(name, places[name], PAGE)
            except Mismatch as mismatch:
                places[name] = self._elsewhere(name, places[name], mismatch)
                continue
            for entry in run.entries:
                yield entry
                places[name] = entry.position
            if len(run.entries) < PAGE:
                return

    def _elsewhere(self, name: str, place: Position, mismatch: Mismatch) -> Position:
        """Where to go on when the log isn't what it was; says so."""
        head = mismatch.head
        if mismatch.reason is Resync.TRIMMED:
            self.stderr.write(f"{name}: entries {place.seq + 1} to {head.floor - 1} are gone")
            return Position(head.epoch, head.floor - 1, head.floor_checksum)
        if mismatch.reason is Resync.EPOCH:
            self.stderr.write(f"{name}: a new epoch, {head.epoch}")
            return place._replace(epoch=head.epoch)  # of the same entries, perhaps
        self.stderr.write(f"{name}: its history was replaced; it goes on after {head.seq}")
        return head.position


def _known(names: Sequence[str]) -> dict[str, Head]:
    """The heads of streams that are there: looking must not begin one.

    :raises CommandError: one isn't, with names that are like its.
    """
    heads: dict[str, Head] = {}
    for name in names:
        try:
            heads |= log_for(name).begun([name])
        except Exception as error:
            raise CommandError(f"The log can't be read: {error}") from error
        if name not in heads:
            near = get_close_matches(name, islice(log_for(name).names(), GUESSED), 3)
            raise CommandError(f"no such stream: {name}" + (f". There are {', '.join(near)}" if near else ""))
    return heads


def _start(name: str, head: Head, first: int | None, last: int) -> Position:
    """The position before the first entry to show."""
    seq = (head.seq - max(last, 0) if first is None else first - 1) if head.seq else 0
    seq = min(seq, head.seq)
    if seq >= head.floor:
        checksum = log_for(name).checksum_at(name, head.epoch, seq)
        if checksum is not None:
            return Position(head.epoch, seq, checksum)
    return Position(head.epoch, head.floor - 1, head.floor_checksum)


def _line(entry: Entry) -> str:
    return f"{entry.stream} {entry.seq} {_visible(entry.text)}"


def _json(entry: Entry) -> str:
    return _visible(f'{{"stream":"{entry.stream}","epoch":"{entry.epoch}",{entry.wire()[1:]}')


def _visible(text: str) -> str:
    """Text that a terminal only shows; of JSON the same JSON."""
    return ACTING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)

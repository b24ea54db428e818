"""`manage.py reconnect_archive`: copies streams that Redis keeps into the database. Let it run."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from ... import archive
from ..progress import Progress

logger = logging.getLogger(__name__)

LONGEST = 60.0  # seconds between two tries while Redis or the database is away
FORGETTING = 3600.0  # seconds between two looks for what is too old


class Command(BaseCommand):
    help = (
        "Copies what is new in the streams of logs outside the database into it, again and again until "
        "SIGTERM. It goes on where it was; several may run at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="copy what is there now, and end")
        parser.add_argument(
            "--interval",
            type=float,
            default=5.0,
            metavar="SECONDS",
            help="between two looks (default: %(default)g)",
        )
        parser.add_argument("--days", type=float, help="forget archived entries after so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        logs = archive.fast_logs()
        if not logs:
            raise CommandError("STREAM_LOGS has no log outside the database: there is nothing to archive")
        age = None if options["days"] is None else timedelta(days=options["days"])
        if options["once"]:
            self._round(logs, age, threading.Event())
            return
        ending = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: ending.set())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._run(logs, age, options["interval"], ending)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, logs: list[Any], age: timedelta | None, interval: float, ending: threading.Event) -> None:
        pause, rest = interval, 0.0
        while not ending.is_set():
            try:
                self._round(logs, age if rest <= 0 else None, ending)
                rest = FORGETTING if rest <= 0 else rest - interval
                pause = interval
            except Exception:
                logger.exception("The archive fell behind; it goes on where it was")
                connections.close_all()
                pause = min(max(pause, 1.0) * 2, max(LONGEST, interval))
            ending.wait(pause)

    def _round(self, logs: list[Any], age: timedelta | None, ending: threading.Event) -> None:
        streams: set[str] = set()
        copied = forgotten = 0
        progress = Progress(self.stderr, 0)
        for log in logs:
            for name, count in archive.archive(log):
                streams.add(name)
                copied += count
                progress.show(len(streams), f"streams, {copied:,} entries")
                if ending.is_set():
                    break
            if age is not None and not ending.is_set():
                forgotten += sum(count for _, count in archive.forget(log, age))
        progress.clear()
        if streams or forgotten:
            self.stdout.write(f"{len(streams)} streams: {copied} entries archived, {forgotten} forgotten.")

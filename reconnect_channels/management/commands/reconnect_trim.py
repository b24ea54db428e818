"""`manage.py reconnect_trim`: forgets what is beyond its retention. Run it daily, or let it run."""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from ... import registry, retention, revocation, sessions
from ..progress import Progress

logger = logging.getLogger(__name__)

JITTER = 0.1  # of the pause: the nodes of a deployment began at once
FORGETTERS: dict[str, Callable[[], Iterator[int]]] = {
    "answers": retention.forget_answers,
    "drift reports": retention.forget_drift,
    "stored states": retention.forget_states,
    "sessions": sessions.forget_sessions,
    "revocations": revocation.forget_revocations,
}


class Command(BaseCommand):
    help = (
        "Forgets entries beyond the retention of their stream, and answers, sessions, revocations, drift "
        "reports and stored states that nobody needs. In small transactions; several may run at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prefix", default="", help="only streams whose name begins so")
        parser.add_argument("--entries", type=int, help="keep at most so many entries a stream")
        parser.add_argument("--days", type=float, help="keep entries for so many days")
        parser.add_argument(
            "--spare",
            type=float,
            default=retention.SPARED.total_seconds(),
            metavar="SECONDS",
            help="keep younger entries whatever else is said: pages and builds run (default: %(default)g)",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count entries")
        parser.add_argument(
            "--loop", type=float, metavar="SECONDS", help="do it again after so long, until SIGTERM"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        registry.load()
        if options["loop"] is None:
            failed = self._run(options, threading.Event())
            if failed:
                raise CommandError(f"{failed} failed: see the log")
            return
        ending = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: ending.set())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            while not ending.is_set():
                self._run(options, ending)
                connections.close_all()
                ending.wait(options["loop"] * random.uniform(1 - JITTER, 1 + JITTER))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, options: dict[str, Any], ending: threading.Event) -> int:
        """Goes on with the next where one fails; returns how many did."""
        entries, streams, failed = self._trim(options, ending)
        gone: dict[str, int] = {}
        for what, forget in FORGETTERS.items():
            if options["dry_run"] or ending.is_set():
                break
            gone[what] = 0
            try:
                for count in forget():
                    gone[what] += count
                    if ending.is_set():
                        break
            except Exception:
                logger.exception("Old %s couldn't be forgotten", what)
                failed += 1
        others = "".join(f", {count} {what}" for what, count in gone.items() if count)
        verb = "would be forgotten" if options["dry_run"] else "forgotten"
        self.stdout.write(f"{streams} streams: {entries} entries{others} {verb}.")
        return failed

    def _trim(self, options: dict[str, Any], ending: threading.Event) -> tuple[int, int, int]:
        given = {
            "max_entries": options["entries"],
            "max_age": None if options["days"] is None else timedelta(days=options["days"]),
            "spared": timedelta(seconds=options["spare"]),
            "dry_run": options["dry_run"],
        }
        entries = done = failed = 0
        try:
            names = list(retention.stream_names(options["prefix"]))
        except Exception:
            logger.exception("The streams can't be listed")
            return 0, 0, 1
        progress = Progress(self.stderr, len(names))
        for done, name in enumerate(names, 1):
            try:
                for count in retention.trimming(name, **given):
                    entries += count
                    progress.show(done, f"streams, {entries:,} entries")
                    if ending.is_set():
                        break
            except Exception:
                logger.exception("%s couldn't be trimmed", name)
                failed += 1
            progress.show(done, f"streams, {entries:,} entries")
            if ending.is_set():
                break
        progress.clear()
        return entries, done, failed

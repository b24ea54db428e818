"""`manage.py reconnect_trim`: forgets old entries and answers. Run it daily."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ... import retention


class Command(BaseCommand):
    help = "Forgets entries beyond the retention of their log, and answers that no retry needs any more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prefix", default="", help="only streams whose name begins so")
        parser.add_argument("--entries", type=int, help="keep at most so many entries a stream")
        parser.add_argument("--days", type=float, help="keep entries for so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        age = None if options["days"] is None else timedelta(days=options["days"])
        names = [name for name in retention.stream_names() if name.startswith(options["prefix"])]
        entries = 0
        for i, name in enumerate(names, 1):
            entries += retention.trim_stream(name, max_entries=options["entries"], max_age=age)
            self._progress(f"{i}/{len(names)} streams, {entries} entries forgotten")
        answers = 0
        for gone in retention.forget_answers():
            answers += gone
            self._progress(f"{answers} answers forgotten")
        self._progress("")
        self.stdout.write(f"{len(names)} streams: {entries} entries and {answers} answers forgotten.")

    def _progress(self, text: str) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r\033[K{text}", ending="")
            self.stderr.flush()

"""`manage.py reconnect_snapshot`: stores the states that `reduce` makes of streams."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import folding, registry, retention
from ...conf import settings
from ..progress import Progress


class Command(BaseCommand):
    help = (
        "Folds streams and stores their states, so that newcomers get them at once and older entries can be "
        "forgotten: after an import, or before `snapshot_version` meets its first visitors."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("streams", nargs="*", help="names")
        parser.add_argument("--prefix", help="all streams whose name begins so")
        parser.add_argument("--all", action="store_true", help="all streams of consumers with reduce")
        parser.add_argument(
            "--every",
            type=int,
            metavar="ENTRIES",
            help="store where so many are newer than what is stored (default: 1 for named streams, else "
            "SNAPSHOT_EVERY)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        registry.load()
        named = options["streams"]
        if not named and options["prefix"] is None and not options["all"]:
            raise CommandError("name streams, or say --prefix or --all")
        every = options["every"] or (1 if named else settings().SNAPSHOT_EVERY)
        classes = {
            name: registry.consumer_for(name)
            for name in named or retention.stream_names(options["prefix"] or "")
        }
        folded = {name: found for name, found in classes.items() if found and folding.folds(found)}
        if strange := [name for name in named if name not in folded]:
            raise CommandError(f"no consumer with reduce: {', '.join(strange)}")
        progress = Progress(self.stderr, len(folded))
        failed = 0
        for done, (name, consumer_class) in enumerate(folded.items()):

            def show(entries: int, done: int = done, name: str = name) -> None:
                progress.show(done, f"streams; {name}: {entries:,} entries")

            show(0)
            try:
                folding.fold(consumer_class, name, every=every, progress=show)
            except folding.Unfoldable as error:
                failed += 1
                progress.clear()
                self.stderr.write(str(error))
        progress.clear()
        self.stdout.write(f"{len(folded) - failed} streams folded.")
        if failed:
            raise CommandError(f"{failed} streams can't be folded")

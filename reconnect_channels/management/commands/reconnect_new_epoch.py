"""`manage.py reconnect_new_epoch`: after a restore from a backup, no client may trust what it knows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import announcement, retention
from ...log import log_for
from ..progress import Progress


class Command(BaseCommand):
    help = (
        "Begins a new epoch of streams whose history was replaced under their clients: after a restore, or a "
        "failover that lost the newest entries. Every client gets a snapshot. Entries and their numbers stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("streams", nargs="*", help="names")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--prefix", help="all streams whose name begins so")
        which.add_argument("--all", action="store_true", help="every stream of every log")
        parser.add_argument(
            "--noinput", "--no-input", action="store_false", dest="interactive", help="don't ask"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = self._names(options)
        if options["interactive"]:
            answer = input(f"All clients of {len(names)} streams will be sent snapshots. Go on? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                raise CommandError("nothing was changed")
        progress = Progress(self.stderr, len(names))
        for done, name in enumerate(names, 1):
            log = log_for(name)
            log.new_epoch(name, log.heads([name])[name].epoch)
            announcement.wake(name)  # else the hubs notice within HEAD_CHECK
            progress.show(done, "streams")
        progress.clear()
        announcement.stop()  # sends what is queued
        self.stdout.write(f"{len(names)} streams have a new epoch.")

    @staticmethod
    def _names(options: dict[str, Any]) -> list[str]:
        prefix = "" if options["all"] else options["prefix"]
        if bool(options["streams"]) == (prefix is not None):
            raise CommandError("name streams, or say --prefix or --all")
        known = list(retention.stream_names(prefix or ""))
        if prefix is not None:
            return known
        if strange := set(options["streams"]) - set(known):
            raise CommandError(f"no such stream: {', '.join(sorted(strange))}")
        return list(dict.fromkeys(options["streams"]))

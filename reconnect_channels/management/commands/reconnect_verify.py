"""`manage.py reconnect_verify`: is what is stored one unbroken history? After a restore, or a drift alert."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import registry, retention
from ...verification import Report, verify
from ..progress import Progress


class Command(BaseCommand):
    help = (
        "Folds the log of streams, entry by entry, and compares the snapshots with it. Changes nothing. The "
        "exit code is 1 if something doesn't agree."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("streams", nargs="*", help="names, or prefixes of names; default: all streams")
        parser.add_argument("--json", action="store_true", help="write one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        registry.load()
        names = self._names(options["streams"])
        progress, total = Progress(self.stderr, len(names)), Report()
        for done, name in enumerate(names):

            def show(entries: int, done: int = done, name: str = name) -> None:
                progress.show(done, f"streams; {name}: {entries:,} entries")

            show(0)
            try:
                found = verify(name, show)
            except Exception as error:
                raise CommandError(f"{name} couldn't be read: {error!r}") from error
            total.add(found)
            for problem in () if options["json"] else found.problems:
                progress.clear()
                self.stdout.write(f"{problem.stream}: {problem.text}")
        progress.clear()
        self.stdout.write(json.dumps(asdict(total)) if options["json"] else _summary(total))
        if total.problems:
            raise CommandError("what is stored doesn't agree")

    def _names(self, given: list[str]) -> list[str]:
        known = dict.fromkeys(retention.stream_names())
        names: dict[str, None] = {}
        for one in given:
            found = [one] if one in known else [name for name in known if name.startswith(one)]
            if not found:
                raise CommandError(f"no stream is called {one!r}, and none begins so")
            names.update(dict.fromkeys(found))
        return list(names if given else known)


def _summary(report: Report) -> str:
    verdict = f"{len(report.problems):,} problems" if report.problems else "all agree"
    text = (
        f"{report.streams:,} streams, {report.entries:,} entries, {report.states:,} stored states, "
        f"{report.snapshots:,} snapshots: {verdict}."
    )
    if report.unproven:
        text += f" {report.unproven:,} stored states have nothing left to be compared with."
    return text

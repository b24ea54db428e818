"""`manage.py reconnect_doctor`: connects to what is configured, and says in plain words what is wrong."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from reconnect_channels.conf import Settings, settings
from reconnect_channels.doctor.examination import PROBES, Probe, examine
from reconnect_channels.doctor.finding import Finding, Level, Plan
from reconnect_channels.management.progress import Progress

CONNECT = 5  # seconds
HEARTBEATS = 2.4  # how long an idle socket is held


class Command(BaseCommand):
    help = (
        "Examines settings, databases, Redis, channel layer, nodes, the way through proxies (with --url); "
        "sends entries the whole way: published, received, missed during a cut, resumed. Exits with 1 when "
        "something fails."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url", help="public WebSocket URL, wss://example.com/ws/…; default: PUBLIC_URL of the settings"
        )
        parser.add_argument(
            "--only", action="append", choices=[probe.name for probe in PROBES], help="repeatable"
        )
        parser.add_argument(
            "--patience",
            type=float,
            metavar="SECONDS",
            help="how long an idle socket is held through proxies; default: a little over two heartbeats",
        )
        parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings, too")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        probes = [probe for probe in PROBES if not options["only"] or probe.name in options["only"]]
        found: list[tuple[str, Finding]] = []
        _hurry()
        if options["verbosity"] < 2:  # what is logged meanwhile, with tracebacks, is found and said in words
            logging.disable(logging.ERROR)
        try:
            for probe, finding in self._examine(probes, options):
                found.append((probe, finding))
                if not options["json"]:
                    self._write(probe, finding)
        finally:
            logging.disable(logging.NOTSET)
        counts = Counter(finding.level for _, finding in found)
        bad = counts[Level.FAILURE] + (counts[Level.WARNING] if options["strict"] else 0)
        if options["json"]:
            findings = [{"probe": probe, **finding._asdict()} for probe, finding in found]
            self.stdout.write(json.dumps({"ok": not bad, "findings": findings}, indent=1))
        else:
            self.stdout.write(", ".join(f"{counts[level]} {level}" for level in Level))
        if bad:
            sys.exit(1)

    def _examine(self, probes: Sequence[Probe], options: dict[str, Any]) -> Iterator[tuple[str, Finding]]:
        try:
            current = settings()
        except ImproperlyConfigured:  # said by the first probe
            current = Settings()
        doing = ""

        def show(text: str) -> None:
            nonlocal doing
            doing = text

        given = options["patience"]
        plan = Plan(
            url=current.PUBLIC_URL if options["url"] is None else options["url"],
            patience=HEARTBEATS * current.HEARTBEAT if given is None else given,
            show=show,
        )
        progress = Progress(self.stderr, len(probes))
        for done, probe in enumerate(probes):
            doing = ""
            for finding in examine(probe, plan, lambda: progress.show(done, f"{probe.name}  {doing}")):  # noqa: B023
                progress.clear()
                yield probe.name, finding
        progress.clear()

    def _write(self, probe: str, finding: Finding) -> None:
        style = {
            Level.OK: self.style.SUCCESS,
            Level.WARNING: self.style.WARNING,
            Level.FAILURE: self.style.ERROR,
        }[finding.level]
        advice = f" -> {finding.advice}" if finding.advice else ""
        self.stdout.write(f"{style(f'{finding.level:8}')} {probe:9} {finding.text}{advice}")


def _hurry() -> None:
    """Lets no driver wait for ever: a host that is frozen, or behind a firewall, accepts and says nothing."""
    for given in connections.settings.values():
        if given["ENGINE"].endswith("postgresql"):
            given.setdefault("OPTIONS", {}).setdefault("connect_timeout", CONNECT)

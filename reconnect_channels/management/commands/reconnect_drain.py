"""`manage.py reconnect_drain`: has server processes send their sockets away before they are stopped."""

from __future__ import annotations

import socket
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reconnect_channels import announcement, news
from reconnect_channels.models import Node


class Command(BaseCommand):
    help = (
        "Drains server processes: their readiness fails, and their sockets are sent away, spread over a "
        "window. A drained process takes no sockets any more: stop it. "
        "Without any of them, lists the processes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--node", action="append", default=[], metavar="NAME", help="repeatable")
        which.add_argument("--here", action="store_true", help="those of this host: a container's own")
        which.add_argument("--all", action="store_true")
        parser.add_argument("--window", type=float, help="seconds from the first socket to the last")
        parser.add_argument(
            "--wait", type=float, metavar="SECONDS", help="return when all are drained, at most after so long"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = Node.objects.order_by("name")
        if not (options["node"] or options["here"] or options["all"]):
            for node in nodes:
                self.stdout.write(f"{node}{'  draining' if node.draining else ''}")
            return
        if options["node"]:
            nodes = nodes.filter(name__in=options["node"])
            unknown = set(options["node"]) - {node.name for node in nodes}
            if unknown:
                raise CommandError(f"no such node: {', '.join(sorted(unknown))}")
        elif options["here"]:
            nodes = nodes.filter(host=socket.gethostname())
        names = [node.name for node in nodes]
        nodes.update(draining=True)  # the truth; the news are faster
        for name in names:
            news.tell("drain", node=name, window=options["window"])
        announcement.stop()  # sends what is queued
        self.stdout.write(f"{len(names)} draining")
        if options["wait"] is not None and not _gone(names, options["wait"]):
            raise CommandError("not all were drained in time")


def _gone(names: list[str], seconds: float) -> bool:
    """A node that is drained takes its row along."""
    until = time.monotonic() + seconds
    while Node.objects.filter(name__in=names).exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True

"""`manage.py reconnect_drain`: has server processes send their sockets away before they are stopped."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reconnect_channels import announcement, news
from reconnect_channels.models import Node


class Command(BaseCommand):
    help = (
        "Drains server processes: their readiness fails, and their sockets are sent away, spread over a "
        "window. A drained process takes no sockets any more: stop it. Without --node or --all, lists them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--node", action="append", default=[], metavar="NAME", help="repeatable")
        which.add_argument("--all", action="store_true")
        parser.add_argument("--window", type=float, help="seconds from the first socket to the last")

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = Node.objects.order_by("name")
        if not options["node"] and not options["all"]:
            for node in nodes:
                self.stdout.write(f"{node}{'  draining' if node.draining else ''}")
            return
        if options["node"]:
            nodes = nodes.filter(name__in=options["node"])
            unknown = set(options["node"]) - {node.name for node in nodes}
            if unknown:
                raise CommandError(f"no such node: {', '.join(sorted(unknown))}")
        names = [node.name for node in nodes]
        nodes.update(draining=True)  # the truth; the news are faster
        for name in names:
            news.tell("drain", node=name, window=options["window"])
        announcement.stop()  # sends what is queued
        self.stdout.write(f"{len(names)} draining")

"""Make the sample boards and the sample users; those that exist stay as they are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from example_project.board import accounts, cards
from example_project.board.models import Board, Column

SAMPLES = [
    (
        "launch",
        "Product launch",
        "Everything between here and the first of the month.",
        {
            Column.TODO: [
                "Write the announcement",
                "Record a two-minute demo",
                "Ask three early users for a quote",
                "Check the page on a slow phone",
            ],
            Column.DOING: ["Polish the sign-up form", "Load test: 5000 people at once"],
            Column.DONE: ["Choose a date", "Draw the logo", "Set up the status page"],
        },
    ),
    (
        "garden",
        "Community garden",
        "Who does what before the spring.",
        {
            Column.TODO: ["Order seeds", "Mend the fence by the gate", "Paint the bench"],
            Column.DOING: ["Turn the compost"],
            Column.DONE: ["Divide the beds"],
        },
    ),
    (
        "reading",
        "Reading circle",
        "One book a month, biscuits always.",
        {
            Column.TODO: ["Pick the book for May", "Bring the biscuits"],
            Column.DOING: ["Middlemarch, part two"],
            Column.DONE: ["Middlemarch, part one", "The Periodic Table"],
        },
    ),
]


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        for slug, name, about, columns in SAMPLES:
            with transaction.atomic():
                _, made = Board.objects.get_or_create(slug=slug, defaults={"name": name, "about": about})
                if made:
                    for column, titles in columns.items():
                        for title in titles:
                            cards.create(slug, column, title)
            self.stdout.write(f"/boards/{slug}/ {'made' if made else 'was there already'}")
        for name in accounts.make():
            self.stdout.write(f"user {name} made")

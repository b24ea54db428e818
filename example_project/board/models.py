"""Boards and their cards. Cards change only in cards.py, where every change is published too."""

from __future__ import annotations

from typing import Any

from django.db import models


class Column(models.TextChoices):
    """The columns of every board, in order."""

    TODO = "todo", "To do"
    DOING = "doing", "In progress"
    DONE = "done", "Done"


class Board(models.Model):
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=100)
    about = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    @property
    def stream(self) -> str:
        """The stream that tells of this board's changes."""
        return f"board:{self.slug}"


class Card(models.Model):
    board = models.ForeignKey(Board, models.CASCADE, related_name="cards")
    column = models.CharField(max_length=10, choices=Column)
    title = models.CharField(max_length=200)
    rank = models.BigIntegerField(help_text="Place in the column: the lowest stands on top.")
    by = models.CharField(
        max_length=150, blank=True, help_text="Who changed it last: a user's name, or empty for guests."
    )
    key = models.UUIDField(
        null=True,
        editable=False,
        help_text="Id of the message that made the card. By it a page knows its own card again.",
    )

    class Meta:
        ordering = ["rank", "id"]
        indexes = [models.Index(fields=["board", "column", "rank"], name="card_place")]
        constraints = [models.UniqueConstraint(fields=["board", "key"], name="card_key")]

    def __str__(self) -> str:
        return self.title

    def data(self) -> dict[str, Any]:
        """The card as snapshots and entries carry it."""
        return {
            "id": self.pk,
            "key": str(self.key) if self.key else None,
            "column": self.column,
            "title": self.title,
            "rank": self.rank,
            "by": self.by,
        }

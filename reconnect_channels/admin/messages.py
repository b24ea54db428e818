"""What became of clients' messages, in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q

from ..models import ProcessedMessage, Producer
from .listing import ReadOnly, Recent, Since, along
from .payloads import HidesPayloads
from .people import identities, name_people, short


class Status(Recent):
    column = "status"
    values = ProcessedMessage.Status.choices


class Created(Since):
    column = "created"


class OfSomebody(ReadOnly):
    """Rows whose index begins with the identity."""

    columns: tuple[str, ...]

    def look_up(self, rows: list[Any]) -> None:
        name_people(rows)

    @admin.display(description="who")
    def who(self, row: Any) -> str:
        return short(row.who)

    def search(self, term: str) -> Q:
        return along(term, *self.columns) | Q(identity__in=identities(term))


@admin.register(ProcessedMessage)
class ProcessedMessageAdmin(HidesPayloads, OfSomebody):
    list_display = ("who", "stream", "status", "code", "reason", "seq", "created", "key")
    list_filter = (Status, Created)
    search_fields = ("identity",)
    search_help_text = (
        "An identity, a user's name; also with a stream and a key after it; or a stream or key of late"
    )
    columns = ("identity", "stream", "key")
    exclude = ("token",)
    payloads = ("result", "payload_hash")

    def search_newest(self, term: str) -> Q:
        return Q(stream=term) | Q(key=term)


@admin.register(Producer)
class ProducerAdmin(OfSomebody):
    list_display = ("producer", "stream", "who", "last_n", "updated")
    search_fields = ("identity",)
    search_help_text = "An identity, a user's name; also with a producer and a stream after it"
    columns = ("identity", "producer", "stream")

"""Reports of clients whose history was not the server's, in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html

from ..models import ClientSession, DriftReport
from ..sessions import session_key
from .listing import ReadOnly, Since, along
from .people import identities, name_people, short


class LastSeen(Since):
    column = "last_seen"


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnly):
    list_display = ("stream", "who", "session", "seq", "count", "trace_id", "first_seen", "last_seen")
    list_filter = (LastSeen,)
    ordering = ("-last_seen", "-pk")
    search_fields = ("stream",)
    search_help_text = "A stream's whole name; among the newest also an identity, a user's name, a trace id"
    readonly_fields = ("session",)

    def look_up(self, rows: list[Any]) -> None:
        name_people(rows)
        keys = {session_key(row.identity, row.client_id): row for row in rows}
        for row in rows:
            row.session = None
        for key, pk in ClientSession.objects.filter(key__in=keys).values_list("key", "pk"):
            keys[key].session = pk

    def search(self, term: str) -> Q:
        return along(term, "stream", "identity", "client_id")

    def search_newest(self, term: str) -> Q:
        return Q(identity__in=identities(term)) | Q(trace_id=term) | Q(client_id=term)

    @admin.display(description="who")
    def who(self, report: Any) -> str:
        return short(report.who)

    @admin.display(description="session")
    def session(self, report: Any) -> str:
        if not hasattr(report, "session"):
            self.look_up([report])
        client = short(report.client_id, 9)
        if report.session is None:
            return client
        page = f"{self.admin_site.name}:reconnect_channels_clientsession_change"
        return format_html('<a href="{}">{}</a>', reverse(page, args=[report.session]), client)

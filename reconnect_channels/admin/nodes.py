"""Server processes, and the rights and orders that they act on, in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from ..models import ClientSession, Node, NodeStream, Revocation
from .listing import ReadOnly, Recent, Since
from .people import identities


@admin.register(Node)
class NodeAdmin(ReadOnly):
    list_display = ("name", "host", "pid", "draining", "sessions", "streams", "started", "seen")
    search_fields = ("name",)
    search_help_text = "A node's name or host"

    def look_up(self, rows: list[Node]) -> None:
        live = ClientSession.objects.filter(
            node__in=[row.name for row in rows], state=ClientSession.State.LIVE
        )
        sessions = dict(live.values_list("node").annotate(Count("pk")))
        streams = dict(NodeStream.objects.filter(node__in=rows).values_list("node").annotate(Count("pk")))
        for row in rows:
            row.sessions = sessions.get(row.name, 0)  # type: ignore[attr-defined]
            row.followed = streams.get(row.pk, 0)  # type: ignore[attr-defined]

    def search(self, term: str) -> Q:
        return Q(name=term)

    def search_newest(self, term: str) -> Q:
        return Q(host__istartswith=term)

    @admin.display(description="live sessions")
    def sessions(self, node: Any) -> str:
        page = reverse(f"{self.admin_site.name}:reconnect_channels_clientsession_changelist")
        return format_html(
            '<a href="{}?{}">{}</a>', page, urlencode({"q": node.name, "state": "live"}), node.sessions
        )

    @admin.display(description="streams followed")
    def streams(self, node: Any) -> int:
        return node.followed  # type: ignore[no-any-return]


@admin.register(NodeStream)
class NodeStreamAdmin(ReadOnly):
    list_display = ("stream", "node")
    list_select_related = ("node",)
    search_fields = ("node",)
    search_help_text = "A node's name, or a stream's"

    def search(self, term: str) -> Q:
        return Q(node__in=Node.objects.filter(name=term))

    def search_newest(self, term: str) -> Q:
        return Q(stream=term)


class Cause(Recent):
    column = "cause"
    values = Revocation.Cause.choices


class Created(Since):
    column = "created"


@admin.register(Revocation)
class RevocationAdmin(ReadOnly):
    list_display = ("identity", "session", "stream", "cause", "created")
    list_filter = (Cause, Created)
    search_fields = ("identity",)
    search_help_text = "Among the newest: an identity, a user's name, a stream, a session's key"

    def search_newest(self, term: str) -> Q:
        return Q(identity__in=identities(term)) | Q(stream=term) | Q(session=term)

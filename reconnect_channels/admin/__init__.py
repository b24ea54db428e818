"""A plain, read-only look at the log and at what became of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from ..models import (
    ClientSession,
    DriftReport,
    Node,
    NodeStream,
    ProcessedMessage,
    Producer,
    Revocation,
    SessionStream,
    StoredSnapshot,
    Stream,
    StreamEntry,
)

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnly(ModelAdmin):
    """The log is append-only and belongs to its streams: nothing is edited by hand."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Stream)
class StreamAdmin(ReadOnly):
    list_display = ("name", "head", "floor", "epoch", "checksum", "clock", "created")
    search_fields = ("name",)


@admin.register(StreamEntry)
class StreamEntryAdmin(ReadOnly):
    list_display = ("stream", "seq", "excerpt", "key", "created")
    list_select_related = ("stream",)
    search_fields = ("stream__name", "key", "uid")

    @admin.display(description="payload")
    def excerpt(self, entry: StreamEntry) -> str:
        return entry.text if len(entry.text) <= 80 else entry.text[:79] + "…"


@admin.register(ProcessedMessage)
class ProcessedMessageAdmin(ReadOnly):
    list_display = ("key", "stream", "identity", "status", "code", "reason", "seq", "created")
    list_filter = ("status",)
    search_fields = ("key", "stream", "identity")


@admin.register(Producer)
class ProducerAdmin(ReadOnly):
    list_display = ("producer", "stream", "identity", "last_n", "updated")
    search_fields = ("producer", "stream", "identity")


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnly):
    list_display = ("stream", "client_id", "identity", "seq", "count", "first_seen", "last_seen")
    search_fields = ("stream", "client_id", "identity")


@admin.register(Revocation)
class RevocationAdmin(ReadOnly):
    list_display = ("identity", "stream", "cause", "created")
    list_filter = ("cause",)
    search_fields = ("identity", "stream")


@admin.register(Node)
class NodeAdmin(ReadOnly):
    list_display = ("name", "host", "pid", "draining", "started", "seen")
    search_fields = ("name", "host")


@admin.register(NodeStream)
class NodeStreamAdmin(ReadOnly):
    list_display = ("stream", "node")
    list_select_related = ("node",)
    search_fields = ("stream", "node__name")


@admin.register(ClientSession)
class ClientSessionAdmin(ReadOnly):
    list_display = ("identity", "client_id", "state", "node", "connects", "outage_ms", "connected", "seen")
    list_filter = ("state", "environment")
    search_fields = ("identity", "client_id", "node")


@admin.register(SessionStream)
class SessionStreamAdmin(ReadOnly):
    list_display = ("stream", "session", "since")
    list_select_related = ("session",)
    search_fields = ("stream", "session__identity")


@admin.register(StoredSnapshot)
class StoredSnapshotAdmin(ReadOnly):
    list_display = ("stream", "version", "seq", "checksum", "size", "created")
    list_filter = ("version",)
    search_fields = ("stream",)

    @admin.display(description="characters")
    def size(self, snapshot: StoredSnapshot) -> int:
        return len(snapshot.text)

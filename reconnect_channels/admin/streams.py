"""Streams, their entries and stored states in the admin; the streams of a log in Redis are its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import connections, models
from django.db.models import Count, Func, Q, QuerySet, Sum
from django.db.models.functions import Left
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.text import Truncator

from .. import announcement
from ..log import log_for
from ..models import SessionStream, StoredSnapshot, Stream, StreamEntry
from .listing import ReadOnly, along
from .orders import Order
from .payloads import HidesPayloads

EXCERPT = 80  # characters
SAMPLE = 200  # entries of a stream that its rate and size are told from
MINUTE = timedelta(minutes=1)


class Bytes(Func):
    """How many bytes a text has; PostgreSQL tells without reading it."""

    function = "OCTET_LENGTH"
    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **extra)


def begin_epoch(stream: Stream) -> None:
    """No client may trust what it knows of the stream; all are sent snapshots (design 5.7)."""
    log = log_for(stream.name)
    log.new_epoch(stream.name, log.heads([stream.name])[stream.name].epoch)
    announcement.wake(stream.name)  # else the hubs notice within HEAD_CHECK


NEW_EPOCH = Order(
    name="new_epoch",
    permission="new_epoch",
    title="Begin a new epoch",
    effect=(
        "Every client of these streams is sent a snapshot at once, and all that return later. "
        "Entries and their numbers stay. Needed after a restore that nobody noticed."
    ),
    carry_out=begin_epoch,
    done="New epoch begun",
)


@admin.register(Stream)
class StreamAdmin(ReadOnly):
    list_display = (
        "name",
        "head",
        "floor",
        "epoch",
        "in_the_last_minute",
        "subscribers",
        "log_size",
        "snapshot_size",
        "entries",
    )
    ordering = ("name",)
    search_fields = ("name",)
    search_help_text = "The beginning of a name"
    actions = (NEW_EPOCH,)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Stream], search_term: str
    ) -> tuple[QuerySet[Stream], bool]:
        term = search_term.strip()
        queryset = queryset.filter(name__startswith=term)
        if term and connections[queryset.db].vendor == "sqlite":  # whose LIKE takes no index
            queryset = queryset.filter(name__gte=term, name__lt=f"{term}\U0010ffff")
        return queryset, False

    def look_up(self, rows: list[Stream]) -> None:
        names = [row.name for row in rows]
        there = SessionStream.objects.filter(stream__in=names).values_list("stream")
        subscribers = dict(there.annotate(Count("pk")))
        states = StoredSnapshot.objects.filter(stream__in=names).values_list("stream")
        sizes = dict(states.annotate(bytes=Sum(Bytes("text"))))
        samples = _samples([row.pk for row in rows])
        for row in rows:
            row.subscribers = subscribers.get(row.name, 0)  # type: ignore[attr-defined]
            row.snapshot_bytes = sizes.get(row.name)  # type: ignore[attr-defined]
            row.rate, row.mean = samples.get(row.pk, (0, 0))  # type: ignore[attr-defined]

    @admin.display(description="subscribers")
    def subscribers(self, stream: Any) -> int:
        return stream.subscribers  # type: ignore[no-any-return]

    @admin.display(description="last minute")
    def in_the_last_minute(self, stream: Any) -> str:
        return f"{stream.rate}" if stream.rate < SAMPLE else f"{SAMPLE} or more"

    @admin.display(description="log")
    def log_size(self, stream: Any) -> str:
        """As its newest entries are, times their number."""
        kept = stream.head - stream.floor + 1
        return f"≈ {filesizeformat(stream.mean * kept)}" if kept else "empty"

    @admin.display(description="snapshots", empty_value="none")
    def snapshot_size(self, stream: Any) -> str | None:
        return None if stream.snapshot_bytes is None else filesizeformat(stream.snapshot_bytes)

    @admin.display(description="entries")
    def entries(self, stream: Stream) -> str:
        page = reverse(f"{self.admin_site.name}:reconnect_channels_streamentry_changelist")
        return format_html('<a href="{}?{}">look</a>', page, urlencode({"q": stream.name}))

    def has_new_epoch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reconnect_channels.new_epoch_stream")


def _samples(streams: list[int]) -> dict[int, tuple[int, float]]:
    """Of each stream's newest entries: how many are of the last minute, and their mean size in bytes."""
    if not streams:
        return {}
    connection = connections[Stream.objects.db]
    size = "LENGTH(CAST(e.text AS BLOB))" if connection.vendor == "sqlite" else "OCTET_LENGTH(e.text)"
    table, entries = Stream._meta.db_table, StreamEntry._meta.db_table
    newest = f"FROM {entries} e WHERE e.stream_id = s.id ORDER BY e.seq DESC LIMIT {SAMPLE}"
    sql = (
        f"SELECT s.id, (SELECT COUNT(*) FROM (SELECT e.created {newest}) n WHERE n.created >= %s), "
        f"(SELECT COALESCE(AVG(n.size), 0) FROM (SELECT {size} AS size {newest}) n) "
        f"FROM {table} s WHERE s.id IN ({', '.join(['%s'] * len(streams))})"
    )
    since = connection.ops.adapt_datetimefield_value(timezone.now() - MINUTE)
    with connection.cursor() as cursor:
        cursor.execute(sql, [since, *streams])
        return {pk: (rate, float(mean)) for pk, rate, mean in cursor.fetchall()}


@admin.register(StreamEntry)
class StreamEntryAdmin(HidesPayloads, ReadOnly):
    list_display = ("stream", "seq", "excerpt", "key", "created")
    list_select_related = ("stream",)
    search_fields = ("stream",)
    search_help_text = "A stream's whole name, also with a seq after it; or an entry's id"
    payloads = ("text", "excerpt")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StreamEntry]:
        entries: QuerySet[StreamEntry] = super().get_queryset(request)
        return entries.annotate(start=Left("text", EXCERPT + 1))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StreamEntry], search_term: str
    ) -> tuple[QuerySet[StreamEntry], bool]:
        name, _, seq = search_term.strip().partition(" ")
        if not name:
            return queryset, False
        stream = Stream.objects.filter(name=name).values_list("pk", flat=True).first()
        if stream is None:
            return queryset.filter(uid=name), False
        queryset = queryset.filter(stream=stream).order_by("-stream_id", "-seq")
        return (queryset.filter(seq=int(seq)) if seq.isdecimal() else queryset), False

    @admin.display(description="payload")
    def excerpt(self, entry: Any) -> str:
        return Truncator(entry.start).chars(EXCERPT)


@admin.register(StoredSnapshot)
class StoredSnapshotAdmin(HidesPayloads, ReadOnly):
    list_display = ("stream", "version", "seq", "checksum", "size", "created")
    search_fields = ("stream",)
    search_help_text = "A stream's whole name, also with a version after it"
    payloads = ("text",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredSnapshot]:
        states: QuerySet[StoredSnapshot] = super().get_queryset(request)
        return states.annotate(size=Bytes("text"))

    def search(self, term: str) -> Q:
        name, _, version = term.partition(" ")
        return Q(stream=name, version=int(version)) if version.isdecimal() else Q(stream=name)

    @admin.display(description="size")
    def size(self, snapshot: Any) -> str:
        return filesizeformat(snapshot.size)


@admin.register(SessionStream)
class SessionStreamAdmin(ReadOnly):
    list_display = ("stream", "session", "since")
    list_select_related = ("session",)
    search_fields = ("stream",)
    search_help_text = "A stream's whole name"

    def search(self, term: str) -> Q:
        return along(term, "stream")

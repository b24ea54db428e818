"""Sessions in the admin: who is connected where, how far each client is, and what can be done about it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from .. import erasure, registry
from ..models import ClientSession
from ..protocol.codes import in_words
from ..revocation import Cause, record
from .flight import flight
from .lag import lags
from .listing import ReadOnly, Recent
from .orders import Order
from .overview import overview
from .people import identities, name_people, short

MISSED = (
    "A server that misses the news finds the order within a second; one that can't reach the database for a "
    "minute misses it."
)


class State(admin.SimpleListFilter):
    title = parameter_name = "state"
    by_time = "seen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return ClientSession.State.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        if state is None:
            return queryset
        if request.GET.get("q"):  # few were found; SQLite would read all of the state
            return queryset.exclude(state__in=set(ClientSession.State.values) - {state})
        return queryset.filter(state=state)


class Drift(admin.SimpleListFilter):
    title = parameter_name = "drift"
    by_time = "seen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any"), *ClientSession.Drift.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        # Nothing is known of others than live ones, which bounds SQLite; PostgreSQL's index knows the rest.
        drifted = queryset.filter(state=ClientSession.State.LIVE, drift__gt="")
        return drifted if self.value() == "any" else drifted.filter(drift=self.value())


class Environment(Recent):
    column = "environment"
    values = [(name, name) for name in ("chromium", "firefox", "safari", "python", "other")]


def _order(cause: Cause, session: ClientSession) -> None:
    """The node that holds the socket hears of it, or finds the row."""
    record(cause, session=session.key)


DISCONNECT = Order(
    name="disconnect",
    permission="disconnect",
    title="Disconnect",
    effect=(
        "Their sockets are closed with code 4010. The clients come back within seconds, to any node, and "
        f"lose nothing. {MISSED}"
    ),
    carry_out=partial(_order, Cause.DISCONNECT),
    done="Disconnected",
)
DISMISS = Order(
    name="dismiss",
    permission="disconnect",
    title="Disconnect for good",
    effect=(
        "Their sockets are closed with code 4503. The clients don't come back by themselves: somebody has to "
        "load the page again. It takes no right away, as a logout or revoke() does; what was never sent is "
        f"dropped. {MISSED}"
    ),
    carry_out=partial(_order, Cause.DISMISS),
    done="Disconnected for good",
)
RESYNC = Order(
    name="resync",
    permission="resync",
    title="Resync",
    effect=(
        "Each client is sent a snapshot, built anew, of every stream that it is on; it goes on from there. "
        f"{MISSED}"
    ),
    carry_out=partial(_order, Cause.RESYNC),
    done="Resynced",
)


def _erase(session: ClientSession) -> None:
    registry.load()  # whose `reduce` folds the stored states anew
    erased = erasure.erase(session.identity)
    if erased.failed:
        names = ", ".join(sorted(erased.failed))
        raise RuntimeError(f"as they were: {names}") from next(iter(erased.failed.values()))


ERASE = Order(
    name="erase",
    permission="erase",
    title="Erase what they wrote",
    effect=(
        "Every payload that these people wrote, on every stream, is blanked for good, and their sessions, "
        "producers and drift reports are forgotten. Entries stay with their numbers: no client resyncs. What "
        "the application keeps in its own tables is erased by the application, first. Who wrote a lot is "
        "better erased by manage.py reconnect_erase."
    ),
    carry_out=_erase,
    done="Erased",
)


@admin.register(ClientSession)
class ClientSessionAdmin(ReadOnly):
    list_display = (
        "person",
        "state",
        "drift",
        "reconnects",
        "outage",
        "last_close",
        "seen",
        "node",
        "client",
        "role",
    )
    list_filter = (State, Drift, Environment)
    search_fields = ("identity",)
    search_help_text = (
        "A user's name, an identity, a node or a session's key; among the newest also a client or a socket"
    )
    actions = (DISCONNECT, DISMISS, RESYNC, ERASE)
    fields = (
        "who",
        "client_id",
        "state",
        "node",
        "role",
        "environment",
        "streams",
        "drift",
        "reconnects",
        "outage",
        "last_close",
        "key",
        "socket",
        "created",
        "connected",
        "seen",
    )
    readonly_fields = ("who", "role", "streams", "reconnects", "outage", "last_close")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("overview/", view(partial(overview, self)), name="reconnect_channels_overview"),
            path(
                "<int:pk>/flight/",
                view(partial(flight, self)),
                name="reconnect_channels_clientsession_flight",
            ),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ClientSession]:
        return super().get_queryset(request).defer("flight")

    def look_up(self, rows: list[Any]) -> None:
        name_people(rows)

    def search(self, term: str) -> Q:
        return Q(identity__in=identities(term)) | Q(node=term) | Q(key=term)

    def search_newest(self, term: str) -> Q:
        return Q(client_id=term) | Q(socket=term)

    @admin.display(description="who")
    def who(self, session: Any) -> str:
        if not hasattr(session, "who"):
            name_people([session])
        return session.who  # type: ignore[no-any-return]

    @admin.display(description="who")
    def person(self, session: Any) -> str:
        return short(session.who)

    @admin.display(description="client")
    def client(self, session: ClientSession) -> str:
        return short(session.client_id, 9)

    @admin.display(description="role")
    def role(self, session: ClientSession) -> str:
        """What its term tells: the tab that others elected, or a client of its own."""
        return f"leader, term {session.term}" if session.term else "alone"

    @admin.display(description="reconnects")
    def reconnects(self, session: ClientSession) -> int:
        return session.connects - 1

    @admin.display(description="last outage", empty_value="none")
    def outage(self, session: ClientSession) -> str | None:
        return f"{session.outage_ms / 1000:.1f} s" if session.outage_ms else None

    @admin.display(description="last close", empty_value="none")
    def last_close(self, session: ClientSession) -> str | None:
        return None if session.close_code is None else in_words(session.close_code)

    @admin.display(description="streams")
    def streams(self, session: ClientSession) -> SafeString | str:
        """How far the client has come on each, against the head."""
        page = reverse(f"{self.admin_site.name}:reconnect_channels_stream_changelist")
        rows = [
            (page, urlencode({"q": name}), name, seq, "unknown" if head is None else head, behind)
            for name, seq, head, behind in lags(session)
        ]
        if not rows:
            return "none"
        head = ("stream", "acknowledged", "head", "behind")
        return format_html(
            '<div class="reconnect-table" role="region" aria-label="Streams" tabindex="0">'
            "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
            format_html_join("", '<th scope="col">{}</th>', ((name,) for name in head)),
            format_html_join(
                "",
                '<tr><th scope="row"><a href="{}?{}">{}</a></th><td>{}</td><td>{}</td><td>{}</td></tr>',
                rows,
            ),
        )

    # -- orders ------------------------------------------------------------------------------------

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reconnect_channels.disconnect_clientsession")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reconnect_channels.erase_payload")

    def has_resync_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("reconnect_channels.resync_clientsession")

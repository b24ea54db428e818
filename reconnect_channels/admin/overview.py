"""The overview: the fleet in figures and charts, live where its consumer is routed."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import get_script_prefix

from .. import fleet
from ..registry import consumer_for


class Chart(NamedTuple):
    """One figure of the fleet, and what it says."""

    name: str
    title: str
    unit: str
    meaning: str


CHARTS = (
    Chart("live", "Live sessions", "", "that have a socket now, yours too"),
    Chart("away", "Away", "", "lost their socket and are expected back"),
    Chart("returned", "Came back", "/min", "clients that had lost their connection"),
    Chart("drift", "Drift", "%", "of live sessions whose history isn't the server's, or that lag"),
    Chart("published", "Published", "/s", "entries, by the processes that hold sockets"),
    Chart("delivered", "Delivered", "/s", "entries to live sockets"),
)


def overview(model_admin: Any, request: HttpRequest) -> TemplateResponse:
    """The page. Needs the permission to view client sessions.

    :raises PermissionDenied: a user without it.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    figures = fleet.observe()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Overview",
        "opts": model_admin.opts,
        "fleet": figures,
        "charts": [(chart, getattr(figures, chart.name)) for chart in CHARTS],
        "routed": consumer_for(fleet.OVERVIEW_STREAM) is not None,
        "stream": fleet.OVERVIEW_STREAM,
        "path": get_script_prefix() + fleet.OVERVIEW_PATH,
    }
    return TemplateResponse(request, "admin/reconnect_channels/overview.html", context)

"""The flight recorder of a session: what happened to it lately, as a time line and as a table."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone

from ..models import ClientSession
from ..protocol.codes import in_words
from ..telemetry.flight import FlightEvent, decode
from ..timeline.lanes import draw
from ..timeline.words import Mood, mood, words
from .lag import lags

State = ClientSession.State
SHAPES = {
    Mood.GOOD: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    Mood.PLAIN: "M0 -6.5L6.5 0L0 6.5L-6.5 0z",
    Mood.WARNING: "M0 -7L7 5.5L-7 5.5z",
    Mood.BAD: "M-5.5 -5.5h11v11h-11z",
}
MARKS = {
    Mood.GOOD: "current, healed",
    Mood.PLAIN: "connected, resumed with a delta, closed in order",
    Mood.WARNING: "snapshot, fell behind, resync, cut off",
    Mood.BAD: "refused, drifted, failed",
}
BARS = {
    "connected": "connected",
    "reconnecting": "reconnecting",
    "disconnected": "disconnected",
    "failed": "failed",
    "live": "stream live",
    "catching-up": "stream catching up",
}


def flight(model_admin: Any, request: HttpRequest, pk: int) -> TemplateResponse:
    """The page. Needs the permission to view client sessions.

    :raises PermissionDenied: a user without it, who doesn't learn which sessions there are either.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    session = get_object_or_404(ClientSession, pk=pk)
    events = decode(session.flight)
    now = timezone.now()
    end = events[-1].at if events and session.state == State.ENDED else now
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Flight recorder",
        "opts": model_admin.opts,
        "session": session,
        "last_close": None if session.close_code is None else in_words(session.close_code),
        "lags": lags(session),
        "rows": _rows(events),
        "line": draw(events, end, timezone.get_current_timezone()) if events else None,
        "marks": [(each, SHAPES[each], MARKS[each]) for each in Mood],
        "bars": BARS,
    }
    return TemplateResponse(request, "admin/reconnect_channels/flight.html", context)


def _rows(events: list[FlightEvent]) -> list[dict[str, Any]]:
    """The table's; the day is named where it is another one than in the row before."""
    rows: list[dict[str, Any]] = []
    day = ""
    for event in events:
        local = timezone.localtime(event.at)
        today = f"{local:%Y-%m-%d}"
        rows.append(
            {
                "day": "" if today == day else today,
                "time": f"{local:%H:%M:%S.%f}"[:-3],
                "iso": event.at.isoformat(),
                "stream": event.stream,
                "mood": mood(event),
                "words": words(event),
            }
        )
        day = today
    return rows

"""The boards' pages, their state as JSON, and the network lab's two doors."""

from __future__ import annotations

from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from reconnect_channels import Reject
from reconnect_channels.snapshots import take

from . import cards
from .consumers import DROP_GROUP, BoardConsumer
from .models import Board, Column


def page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page under a strict Content-Security-Policy: the client needs no inline code and no CDN."""
    response = render(request, template, context)
    response["Content-Security-Policy"] = (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
    return response


@require_GET
def board_list(request: HttpRequest) -> HttpResponse:
    boards = Board.objects.exclude(slug__startswith="storm-").annotate(size=Count("cards"))
    return page(request, "board/list.html", {"boards": boards})


@require_GET
def board_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The page holds no cards: the stream's snapshot brings them, with the position they are true at."""
    board = get_object_or_404(Board, slug=slug)
    # A developer's page is back at once after an autoreload; in production a short cap would be a herd.
    max_wait_ms = 1_000 if settings.DEBUG else 20_000
    context = {"board": board, "columns": Column.choices, "max_wait_ms": max_wait_ms}
    return page(request, "board/board.html", context)


@require_GET
@never_cache
def board_state(request: HttpRequest, slug: str) -> JsonResponse:
    """The board and its stream's position, from one read transaction: what every page should show."""
    snapshot = take(BoardConsumer, get_object_or_404(Board, slug=slug).stream)
    epoch, seq, checksum = snapshot.position
    return JsonResponse({"epoch": epoch, "seq": seq, "checksum": checksum, **snapshot.payload})


@require_POST
async def drop_sockets(request: HttpRequest, slug: str) -> JsonResponse:
    """Close every socket of the board from the server's side. Async: an in-memory layer lives in one loop."""
    board = await aget_object_or_404(Board, slug=slug)
    await get_channel_layer().group_send(DROP_GROUP, {"type": "board.drop", "slug": board.slug})
    return JsonResponse({})


@require_POST
def somebody_else(request: HttpRequest, slug: str) -> JsonResponse:
    """Three changes by an ordinary HTTP request, as by another user: a new card, another title, a move."""
    board = get_object_or_404(Board, slug=slug)
    title = f"From somebody else at {timezone.localtime():%H:%M:%S}"
    try:
        made = cards.create(board.slug, Column.TODO, title)["card"]
        cards.edit(board.slug, made["id"], f"{title} (edited)")
        if first := board.cards.filter(column=Column.TODO).first():
            cards.move(board.slug, first.pk, Column.DOING)
    except Reject as refusal:
        return JsonResponse({"reason": refusal.reason}, status=refusal.code)
    return JsonResponse({"changes": 3})

"""The boards' pages, their state as JSON, and the network lab's two doors."""

from __future__ import annotations

from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from reconnect_channels import Reject, positions
from reconnect_channels.snapshots import take

from . import accounts, cards
from .consumers import DROP_GROUP, BoardConsumer
from .models import Board, Column


def page(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """A page under a strict Content-Security-Policy: the client needs no inline code and no CDN."""
    who = request.user.get_username() or accounts.GUEST
    people = [accounts.GUEST, *accounts.SAMPLES] if settings.DEBUG else []
    response = render(request, template, {"who": who, "people": people, **(context or {})}, status=status)
    response["Content-Security-Policy"] = (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
    return response


def live_page(
    request: HttpRequest, template: str, board: Board, status: int = 200, **more: Any
) -> HttpResponse:
    """A page with the board's stream."""
    accounts.ensure_session(request)
    # A developer's page is back at once after an autoreload; in production a short cap would be a herd.
    max_wait_ms = 1_000 if settings.DEBUG else 20_000
    context = {"board": board, "columns": Column.choices, "max_wait_ms": max_wait_ms, **more}
    return page(request, template, context, status)


def in_columns(board: Board) -> list[tuple[str, str, list[Any]]]:
    """The cards as templates show them: column by column, in order."""
    present = list(board.cards.all())
    return [
        (value, label, [card for card in present if card.column == value]) for value, label in Column.choices
    ]


@require_GET
def board_list(request: HttpRequest) -> HttpResponse:
    boards = Board.objects.exclude(slug__startswith="storm-").annotate(size=Count("cards"))
    return page(request, "board/list.html", {"boards": boards})


@require_GET
@cache_control(private=True)
def board_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The page holds no cards: the stream's snapshot brings them, with the position they are true at."""
    return live_page(request, "board/board.html", get_object_or_404(Board, slug=slug))


@require_GET
@cache_control(private=True)
def react_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The same stream in React: the template holds an empty element and the bundle."""
    return live_page(request, "board/react.html", get_object_or_404(Board, slug=slug))


@require_http_methods(["GET", "POST"])
@cache_control(private=True)
def plain_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The same stream in a plain template, which has the cards in it and works without JavaScript, too."""
    board = get_object_or_404(Board, slug=slug)
    problem = ""
    if request.method == "POST":
        try:
            cards.perform(board.slug, request.POST.dict(), by=request.user.get_username())
            return HttpResponseRedirect(request.path)
        except Reject as refusal:
            problem = refusal.reason
    at = positions([board.stream])  # before the cards are read: what comes between is delivered again
    status = 422 if problem else 200
    return live_page(
        request, "board/plain.html", board, status, positions=at, filled=in_columns(board), problem=problem
    )


@require_GET
@never_cache
def plain_cards(request: HttpRequest, slug: str) -> HttpResponse:
    """The part of the plain page that changes, as it is now."""
    board = get_object_or_404(Board, slug=slug)
    return render(
        request, "board/cards.html", {"board": board, "columns": Column.choices, "filled": in_columns(board)}
    )


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

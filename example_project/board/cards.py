"""What can be done to cards: each operation changes the rows and publishes the change in one transaction.

The socket, the HTTP views, the admin and `load_boards` all come through here, so no change goes unpublished.
Applying the entries in order to a snapshot gives exactly the rows (tests/example/test_board.py holds that):

    card.created   {"card": card, "dropped": [id]}
    card.edited    {"card": card}
    card.moved     {"card": card}
    card.deleted   {"id": id}
    column.spread  {"column": column}    its cards, in their order, take the ranks STEP, 2 · STEP, 3 · STEP…

`by` is the name of the user who does it, or empty: a guest.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from reconnect_channels import Reject, publish, publish_many

from .models import Board, Card, Column

MAX_CARDS = 200  # a snapshot carries them all
MAX_TITLE = 200
STEP = 2**20  # between neighbours' ranks: room for 20 cards put one by one into the same gap


def create(slug: str, column: Any, title: Any, *, key: str | None = None, by: str = "") -> dict[str, Any]:
    """Put a new card at the end of a column."""
    column, title = valid_column(column), valid_title(title)
    with transaction.atomic():
        board = locked(slug)
        if board.cards.count() >= MAX_CARDS:
            raise Reject(f"This board is full ({MAX_CARDS} cards). Delete some first.", code=422)
        return insert(board, column, title, key, by)


def feed(slug: str, title: Any, *, key: str | None = None, by: str = "") -> dict[str, Any]:
    """Put a new card into the first column; a full board drops its oldest one (load tests go on and on)."""
    title = valid_title(title)
    with transaction.atomic():
        board = locked(slug)
        surplus = max(0, board.cards.count() - MAX_CARDS + 1)
        dropped = list(board.cards.order_by("pk").values_list("pk", flat=True)[:surplus])
        board.cards.filter(pk__in=dropped).delete()
        return insert(board, Column.TODO, title, key, by, dropped)


def edit(slug: str, card: Any, title: Any, *, by: str = "") -> dict[str, Any]:
    """Give a card another title."""
    title = valid_title(title)
    with transaction.atomic():
        board = locked(slug)
        changed = existing(board, card)
        if changed.title != title:
            changed.title, changed.by = title, by
            changed.save(update_fields=["title", "by"])
            publish(board.stream, {"type": "card.edited", "card": changed.data()})
        return {"card": changed.data()}


def move(slug: str, card: Any, column: Any, before: Any = None, *, by: str = "") -> dict[str, Any]:
    """Put a card into a column in front of another one; without that one, or if it has gone, at the end."""
    column = valid_column(column)
    with transaction.atomic():
        board = locked(slug)
        moved, follower = existing(board, card), find(board, before)
        present = list(board.cards.filter(column=column))
        others = [other for other in present if other != moved]
        at = others.index(follower) if follower in others else len(others)
        if moved in present and present.index(moved) == at:
            return {"card": moved.data()}  # it stands there already

        events: list[dict[str, Any]] = []
        if (rank := rank_at(others, at)) is None:
            spread(present)
            events.append({"type": "column.spread", "column": column})
            rank = rank_at(others, at)
        moved.column, moved.rank, moved.by = column, rank, by
        moved.save(update_fields=["column", "rank", "by"])
        events.append({"type": "card.moved", "card": moved.data()})
        publish_many((board.stream, event) for event in events)  # last: it holds the stream until the commit
        return {"card": moved.data()}


def delete(slug: str, card: Any) -> dict[str, Any]:
    """Take a card off the board."""
    with transaction.atomic():
        board = locked(slug)
        gone = existing(board, card)
        pk = gone.pk
        gone.delete()
        publish(board.stream, {"type": "card.deleted", "id": pk})
        return {"id": pk}


def perform(slug: str, payload: Any, *, key: str | None = None, by: str = "") -> dict[str, Any]:
    """Do what a message asks for: `{"op": "create", …}`, or bare `{"text": …}` as load tests send it."""
    match payload:
        case {"op": "create", "column": column, "title": title}:
            return create(slug, column, title, key=key, by=by)
        case {"op": "edit", "card": card, "title": title}:
            return edit(slug, card, title, by=by)
        case {"op": "move", "card": card, "column": column}:
            return move(slug, card, column, payload.get("before"), by=by)
        case {"op": "delete", "card": card}:
            return delete(slug, card)
        case {"text": text} if "op" not in payload:
            return feed(slug, text, key=key, by=by)
    raise Reject("This board doesn't understand that.", code=422)


# -- inside a transaction ------------------------------------------------------------------------------


def locked(slug: str) -> Board:
    """The board, held until the commit: two moves at once would compute ranks from each other's past."""
    board = Board.objects.select_for_update().filter(slug=slug).first()
    if board is None:
        raise Reject("There is no such board.", code=422)
    return board


def find(board: Board, card: Any) -> Card | None:
    """A card by its id, or by the id of the message that makes it.

    A page may move a card of its own before the server has told it the card's id. A form sends text: "12".
    """
    if isinstance(card, str) and card.isascii() and card.isdigit() and len(card) < 16:
        card = int(card)
    if type(card) is int and 0 < card < 2**53:
        return board.cards.filter(pk=card).first()
    if isinstance(card, str):
        try:
            return board.cards.filter(key=UUID(card)).first()
        except ValueError:
            return None
    return None


def existing(board: Board, card: Any) -> Card:
    found = find(board, card)
    if found is None:
        raise Reject("This card was deleted meanwhile.", code=422, detail={"card": "deleted"})
    return found


def insert(
    board: Board, column: str, title: str, key: str | None, by: str, dropped: list[int] | None = None
) -> dict[str, Any]:
    last = board.cards.filter(column=column).last()
    rank = last.rank + STEP if last else STEP
    card = board.cards.create(column=column, title=title, rank=rank, key=key, by=by)
    publish(board.stream, {"type": "card.created", "card": card.data(), "dropped": dropped or []})
    return {"card": card.data()}


def rank_at(cards: list[Card], at: int) -> int | None:
    """A rank that puts a card at this index among the others, or None: no number is left between two."""
    if not cards:
        return STEP
    if at == 0:
        return cards[0].rank - STEP
    if at == len(cards):
        return cards[-1].rank + STEP
    lower, upper = cards[at - 1].rank, cards[at].rank
    return (lower + upper) // 2 if upper - lower > 1 else None


def spread(cards: list[Card]) -> None:
    """Give a column's cards, in their order, ranks with room between them."""
    for place, card in enumerate(cards, start=1):
        card.rank = place * STEP
    Card.objects.bulk_update(cards, ["rank"])


# -- what people may type ------------------------------------------------------------------------------


def valid_title(title: Any) -> str:
    title = title.strip() if isinstance(title, str) else ""
    if not title:
        raise Reject("A card needs a title.", code=422, detail={"field": "title"})
    if len(title) > MAX_TITLE:
        raise Reject(
            f"A title has at most {MAX_TITLE} characters; this one has {len(title)}.",
            code=422,
            detail={"field": "title"},
        )
    return title


def valid_column(column: Any) -> str:
    if column not in Column.values:
        raise Reject("There is no such column.", code=422, detail={"field": "column"})
    return str(column)

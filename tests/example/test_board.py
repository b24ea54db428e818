"""The example: what its operations publish is what they did, and its pages show it."""

import json
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient, Client

from example_project.board import cards
from example_project.board.consumers import BoardConsumer
from example_project.board.models import Board, Card, Column
from reconnect_channels import Reject
from reconnect_channels.client.errors import Rejected
from reconnect_channels.models import StreamEntry
from reconnect_channels.snapshots import take
from reconnect_channels.testing import StreamCommunicator, closed_hub

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.urls("example_project.urls")]


@pytest.fixture
def board() -> Board:
    return Board.objects.create(slug="launch", name="Product launch")


def published(board: Board) -> list[dict]:
    """Payloads of the board's stream, in order."""
    rows = StreamEntry.objects.filter(stream__name=board.stream).order_by("seq")
    return [json.loads(row.text) for row in rows]


def rows(board: Board) -> list[dict]:
    return BoardConsumer.get_snapshot(board.stream)["cards"]


def fold(snapshot: list[dict], events: list[dict]) -> list[dict]:
    """What a client makes of a snapshot and the entries after it (the same as fold() in model.js)."""
    by_id = {card["id"]: card for card in snapshot}
    for event in events:
        match event["type"]:
            case "card.created":
                for dropped in event["dropped"]:
                    del by_id[dropped]
                by_id[event["card"]["id"]] = event["card"]
            case "card.edited" | "card.moved":
                by_id[event["card"]["id"]] = event["card"]
            case "card.deleted":
                del by_id[event["id"]]
            case "column.spread":
                column = [card for card in by_id.values() if card["column"] == event["column"]]
                column.sort(key=lambda card: (card["rank"], card["id"]))
                for place, card in enumerate(column, start=1):
                    by_id[card["id"]] = {**card, "rank": place * cards.STEP}
            case unknown:
                raise AssertionError(unknown)
    return sorted(by_id.values(), key=lambda card: card["id"])


def titles(board: Board, column: str) -> list[str]:
    return [card.title for card in board.cards.filter(column=column)]


def filled(board: Board, *names: str, column: str = "todo") -> list[int]:
    return [cards.create(board.slug, column, name)["card"]["id"] for name in names]


# -- operations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_entries_applied_to_a_snapshot_give_the_rows(board, seed):
    chance = random.Random(seed)
    snapshot, seen = rows(board), 0
    for step in range(80):
        present = list(board.cards.values_list("pk", flat=True))
        column = chance.choice(Column.values)
        op = chance.choice(["create", "edit", "move", "move", "move", "delete"]) if present else "create"
        if op == "create":
            cards.create(board.slug, column, f"card {step}", key=str(uuid.UUID(int=chance.getrandbits(128))))
        elif op == "edit":
            cards.edit(board.slug, chance.choice(present), f"title {step}")
        elif op == "move":
            cards.move(board.slug, chance.choice(present), column, chance.choice([None, *present]))
        else:
            cards.delete(board.slug, chance.choice(present))
        if step == 40:  # a client that joins half-way
            snapshot, seen = rows(board), len(published(board))
    assert fold(snapshot, published(board)[seen:]) == rows(board)


def test_a_gap_that_is_full_is_spread_once_more(board):
    top, bottom, *others = filled(board, "top", "bottom", *(f"card {n}" for n in range(40)))
    for card in others:
        cards.move(board.slug, card, "todo", before=bottom)
    assert "column.spread" in {event["type"] for event in published(board)}
    assert titles(board, "todo") == ["top", *(f"card {n}" for n in range(40)), "bottom"]
    assert fold([], published(board)) == rows(board)
    assert top == board.cards.first().pk


def test_move_puts_a_card_where_it_was_asked_for(board):
    a, b, c = filled(board, "a", "b", "c")
    cards.move(board.slug, c, "todo", before=a)
    assert titles(board, "todo") == ["c", "a", "b"]
    cards.move(board.slug, a, "done")
    cards.move(board.slug, b, "done", before=a)
    assert titles(board, "done") == ["b", "a"]
    cards.move(board.slug, c, "done", before=987654)  # deleted meanwhile: at the end
    assert titles(board, "done") == ["b", "a", "c"]


def test_what_changes_nothing_publishes_nothing(board):
    a, b = filled(board, "a", "b")
    before = len(published(board))
    cards.edit(board.slug, a, " a ")
    cards.move(board.slug, b, "todo")
    cards.move(board.slug, a, "todo", before=b)
    assert len(published(board)) == before


def test_a_card_is_known_by_the_message_that_made_it(board):
    key = str(uuid.uuid4())
    card = cards.perform(board.slug, {"op": "create", "column": "todo", "title": "mine"}, key=key)["card"]
    assert card["key"] == key
    cards.perform(board.slug, {"op": "move", "card": key, "column": "done", "before": None})
    cards.perform(board.slug, {"op": "edit", "card": key, "title": "still mine"})
    assert titles(board, "done") == ["still mine"]
    assert cards.perform(board.slug, {"op": "delete", "card": key}) == {"id": card["id"]}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"op": "create", "column": "todo", "title": "   "}, "needs a title"),
        ({"op": "create", "column": "todo", "title": None}, "needs a title"),
        ({"op": "create", "column": "todo", "title": "x" * 201}, "at most 200"),
        ({"op": "create", "column": "nowhere", "title": "a"}, "no such column"),
        ({"op": "create", "column": ["todo"], "title": "a"}, "no such column"),
        ({"op": "edit", "card": 4711, "title": "a"}, "deleted meanwhile"),
        ({"op": "edit", "card": True, "title": "a"}, "deleted meanwhile"),
        ({"op": "move", "card": "no uuid", "column": "todo"}, "deleted meanwhile"),
        ({"op": "delete", "card": 2**60}, "deleted meanwhile"),
        ({"op": "create"}, "understand"),
        ({"op": "fly", "text": "a"}, "understand"),
        ([1, 2], "understand"),
        (None, "understand"),
    ],
)
def test_impossible_messages_are_refused_for_good(board, payload, reason):
    with pytest.raises(Reject, match=reason) as refusal:
        cards.perform(board.slug, payload)
    assert refusal.value.code == 422
    assert published(board) == []


def test_a_full_board_refuses_people_and_drops_the_oldest_for_load_tests(board, monkeypatch):
    monkeypatch.setattr(cards, "MAX_CARDS", 3)
    filled(board, "a", "b", "c")
    with pytest.raises(Reject, match="full"):
        cards.create(board.slug, "done", "d")
    cards.perform(board.slug, {"text": "d"})
    assert titles(board, "todo") == ["b", "c", "d"]
    assert fold([], published(board)) == rows(board)


def test_load_boards_can_run_again(capsys):
    call_command("load_boards")
    launch = Board.objects.get(slug="launch")
    before = rows(launch), len(published(launch))
    assert fold([], published(launch)) == before[0] != []
    cards.delete("launch", before[0][0]["id"])
    call_command("load_boards")
    assert (len(rows(launch)), len(published(launch))) == (len(before[0]) - 1, before[1] + 1)
    assert "was there already" in capsys.readouterr().out


# -- pages ---------------------------------------------------------------------------------------------


def test_state_as_json_is_the_snapshot_with_its_position(client: Client, board):
    filled(board, "a", "b")
    state = client.get("/api/boards/launch/").json()
    snapshot = take(BoardConsumer, board.stream)
    assert state == {
        "epoch": snapshot.position.epoch,
        "seq": 2,
        "checksum": snapshot.position.checksum,
        "cards": rows(board),
    }
    assert client.get("/api/boards/none/").status_code == 404


def test_pages_render_under_a_strict_policy(client: Client, board):
    for path in ("/", "/boards/launch/"):
        response = client.get(path)
        html = response.content.decode()
        assert response.status_code == 200
        assert "Product launch" in html
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert " style=" not in html
        assert "<script>" not in html
    assert client.get("/boards/none/").status_code == 404


def test_without_boards_the_list_says_how_to_get_some(client: Client):
    assert "load_boards" in client.get("/").content.decode()


def test_somebody_else_makes_three_changes(client: Client, board):
    filled(board, "a")
    assert client.post("/boards/launch/somebody-else/").json() == {"changes": 3}
    assert [event["type"] for event in published(board)[1:]] == ["card.created", "card.edited", "card.moved"]
    assert client.get("/boards/launch/somebody-else/").status_code == 405


@pytest.mark.parametrize("door", ["drop", "somebody-else"])
def test_the_labs_doors_are_protected(door, board):
    assert Client(enforce_csrf_checks=True).post(f"/boards/launch/{door}/").status_code == 403


def test_changes_in_the_admin_are_published(client: Client, board):
    client.force_login(User.objects.create_superuser("root"))
    a, b = filled(board, "a", "b")
    client.post(f"/admin/board/card/{a}/change/", {"title": "renamed", "column": "done"})
    client.post(f"/admin/board/card/{b}/delete/", {"post": "yes"})
    assert [event["type"] for event in published(board)[2:]] == ["card.edited", "card.moved", "card.deleted"]
    assert fold([], published(board)) == rows(board)
    assert Card.objects.get().title == "renamed"


# -- the socket ------------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield
    await sync_to_async(connections.close_all)()  # those of async code's own thread


@pytest.mark.django_db(transaction=True)
async def test_a_message_comes_back_as_an_entry_and_a_no_as_a_no(hub):
    await Board.objects.acreate(slug="launch", name="Product launch")
    async with StreamCommunicator(BoardConsumer.as_asgi()) as client:
        client.subscribe("board:launch")
        await client.live("board:launch")
        answer = await client.send("board:launch", {"op": "create", "column": "doing", "title": "mine"})
        await client.until(lambda: client.applied["board:launch"])
        client.assert_applied_once(answer.id)
        (entry,) = client.applied["board:launch"]
        assert entry.payload["card"] == answer.result["card"]
        assert entry.payload["card"]["key"] == answer.id
        with pytest.raises(Rejected) as refusal:
            await client.send("board:launch", {"op": "create", "column": "doing", "title": " "})
        assert (refusal.value.code, refusal.value.detail) == (422, {"field": "title"})


@pytest.mark.django_db(transaction=True)
async def test_the_lab_drops_the_sockets_of_one_board_and_they_come_back(hub):
    for slug in ("launch", "garden"):
        await Board.objects.acreate(slug=slug, name=slug)
    consumer = BoardConsumer.as_asgi()
    async with StreamCommunicator(consumer) as client, StreamCommunicator(consumer) as other:
        for communicator, stream in ((client, "board:launch"), (other, "board:garden")):
            communicator.subscribe(stream)
            await communicator.live(stream)
        assert (await AsyncClient().post("/boards/launch/drop/")).status_code == 200
        await client.until(lambda: client.socket.closed)
        assert client.socket.closed["code"] == 1012
        assert other.socket.closed is None
        await sync_to_async(cards.create)("launch", "todo", "meanwhile")
        await client.resume()
        await client.live("board:launch")
        await client.until(lambda: client.applied["board:launch"])
        assert client.applied["board:launch"][0].payload["card"]["title"] == "meanwhile"


@pytest.mark.django_db(transaction=True)
async def test_boards_that_exist_may_be_read_and_load_tests_make_theirs_while_debugging(hub, settings):
    await Board.objects.acreate(slug="launch", name="Product launch")
    consumer = BoardConsumer()
    assert await consumer.can_subscribe("board:launch")
    assert not await consumer.can_subscribe("board:none")
    assert not await consumer.can_subscribe("board:storm-1")
    settings.DEBUG = True
    assert await consumer.can_subscribe("board:storm-1")
    assert not await consumer.can_subscribe("board:storm-12345")
    assert consumer.opened == {"launch", "storm-1"}

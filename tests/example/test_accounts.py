"""Guests and the two sample users: who gets a session, and who may become whom."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client

from example_project.board import accounts
from example_project.board.consumers import BoardConsumer
from example_project.board.models import Board, Card
from reconnect_channels.protocol.frames import Message

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.urls("example_project.urls")]

LIVE = ["/boards/launch/", "/boards/launch/plain/", "/boards/launch/react/"]


@pytest.fixture(autouse=True)
def board() -> Board:
    return Board.objects.create(slug="launch", name="Product launch")


@pytest.fixture
def people(settings) -> None:
    settings.DEBUG = True
    accounts.make()


def key(client: Client, path: str = LIVE[0]) -> str:
    """The identity key that the page hands to its client."""
    found = re.search(r'data-key="(\w+)"', client.get(path).content.decode())
    assert found, f"{path} has no key"
    return found[1]


def become(client: Client, who: str, back: str = LIVE[1]):
    return client.post("/account/", {"who": who, "next": back})


def test_guests_get_one_session_and_only_from_pages_with_a_stream(client: Client):
    for path in ("/", "/api/boards/launch/", "/boards/launch/plain/cards/", "/boards/none/"):
        client.get(path)
        assert "sessionid" not in client.cookies, path
    for path in LIVE:
        client.get(path)
    assert Session.objects.count() == 1
    assert client.cookies["sessionid"].value == Session.objects.get().session_key


def test_a_session_that_has_ended_is_replaced_by_a_new_one(client: Client):
    first = key(client)
    Session.objects.all().delete()
    assert key(client) != first
    assert Session.objects.count() == 1


def test_all_pages_of_one_visitor_have_the_same_key_and_other_visitors_another(people):
    ada, ben, guest, other = Client(), Client(), Client(), Client()
    become(ada, "ada")
    become(ben, "ben")
    keys = [{key(one, path) for path in LIVE} for one in (ada, ben, guest, other)]
    assert [len(found) for found in keys] == [1, 1, 1, 1]
    assert len(set.union(*keys)) == 4


def test_a_click_turns_the_visitor_into_somebody_and_back(client: Client, people):
    guest = key(client)
    answer = become(client, "ada")
    assert (answer.status_code, answer["Location"]) == (302, LIVE[1])
    assert '<button name="who" value="ada" aria-pressed="true">' in client.get(LIVE[0]).content.decode()
    ada = key(client)
    become(client, "ben")
    ben = key(client)
    become(client, "guest")
    assert len({guest, ada, ben, key(client)}) == 4


def test_who_is_logged_in_already_is_named_among_the_others(client: Client, people):
    client.force_login(User.objects.create_superuser("root"))
    html = client.get(LIVE[0]).content.decode()
    assert re.search(r'aria-pressed="true">\s*root', html)


@pytest.mark.parametrize(
    ("who", "harm"), [("root", {}), ("", {}), ("ada", {"is_staff": True}), ("ben", {"is_active": False})]
)
def test_nobody_else_can_be_become(client: Client, people, who: str, harm: dict):
    User.objects.create_superuser("root")
    User.objects.filter(username=who).update(**harm)
    assert become(client, who).status_code == 404
    assert "sessionid" not in client.cookies


def test_becoming_somebody_takes_debug_a_post_and_a_token(client: Client, people, settings):
    assert client.get("/account/").status_code == 405
    assert Client(enforce_csrf_checks=True).post("/account/", {"who": "ada"}).status_code == 403
    settings.DEBUG = False
    assert become(client, "ada").status_code == 404
    assert 'name="who"' not in client.get(LIVE[0]).content.decode()


@pytest.mark.parametrize("back", ["https://example.org/", "//example.org", "javascript:alert(1)", ""])
def test_the_way_back_stays_on_the_site(client: Client, people, back: str):
    assert become(client, "ada", back)["Location"] == "/"


def test_sample_users_have_no_password_and_no_rights(capsys):
    call_command("load_boards")
    call_command("load_boards")
    users = User.objects.order_by("username")
    assert [user.username for user in users] == ["ada", "ben"]
    assert not any(user.has_usable_password() or user.is_staff or user.is_superuser for user in users)
    assert capsys.readouterr().out.count("user ada made") == 1


@pytest.mark.parametrize("name", ["ada", ""])
def test_a_card_says_who_changed_it_last(name: str):
    consumer = BoardConsumer()
    consumer.scope = {"user": User(username=name)} if name else {}
    payload = {"op": "create", "column": "todo", "title": "mine"}
    message = Message(
        id="5f0c6a52-3f0e-4c62-9d0c-0a5f4f8a2b11", producer="p", n=1, stream="board:launch", payload=payload
    )
    assert consumer.receive_message(message)["card"]["by"] == name
    assert Card.objects.get().by == name

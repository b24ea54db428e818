"""The plain page, which works without JavaScript, and the React page."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from example_project.board import cards
from example_project.board.models import Board
from reconnect_channels import positions

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.urls("example_project.urls")]

PLAIN = "/boards/launch/plain/"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def board() -> Board:
    return Board.objects.create(slug="launch", name="Product launch")


def titles(html: str) -> list[str]:
    return re.findall(r'class="card-title"[^>]*>([^<]*)<', html)


def test_the_plain_page_has_the_cards_in_it_and_their_position(client: Client, board):
    cards.create("launch", "done", "b & <i>c</i>", by="ada")
    cards.create("launch", "todo", "a")
    html = client.get(PLAIN).content.decode()
    assert titles(html) == ["a", "b &amp; &lt;i&gt;c&lt;/i&gt;"]
    assert "· ada" in html
    found = re.search(r"data-reconnect-positions>([^<]*)<", html)
    assert found
    assert json.loads(found[1]) == positions([board.stream])
    assert json.loads(found[1])[board.stream]["last_seq_id"] == 2


def test_the_part_that_changes_is_the_same_on_the_page_and_alone(client: Client, board):
    cards.create("launch", "todo", "a")
    page, part = (client.get(path).content.decode() for path in (PLAIN, f"{PLAIN}cards/"))
    strip = re.compile(r'name="csrfmiddlewaretoken" value="\w+"').sub
    assert strip("", part).strip() in strip("", page)
    assert client.get(f"{PLAIN}cards/")["Cache-Control"].count("no-store") == 1


def test_the_forms_work_without_javascript(client: Client, board):
    client.force_login(User.objects.create_user("ada"))
    answer = client.post(PLAIN, {"op": "create", "column": "todo", "title": "typed"})
    assert (answer.status_code, answer["Location"]) == (302, PLAIN)
    card = board.cards.get()
    client.post(PLAIN, {"op": "move", "card": str(card.pk), "column": "done"})
    card.refresh_from_db()
    assert (card.title, card.column, card.by) == ("typed", "done", "ada")


def test_a_refusal_is_shown_on_the_page(client: Client, board):
    answer = client.post(PLAIN, {"op": "create", "column": "todo", "title": " "})
    assert answer.status_code == 422
    assert "A card needs a title." in answer.content.decode()
    assert client.post(PLAIN, {"op": "move", "card": "9" * 30, "column": "done"}).status_code == 422
    assert Client(enforce_csrf_checks=True).post(PLAIN, {}).status_code == 403


@pytest.mark.parametrize("page", ["", "plain/", "react/"])
def test_every_page_of_a_board_leads_to_the_others_and_lies_in_no_shared_cache(
    client: Client, board, page: str
):
    answer = client.get(f"/boards/launch/{page}")
    html = answer.content.decode()
    for other in ("", "plain/", "react/"):
        assert html.count(f'href="/boards/launch/{other}"') >= 1
    assert html.count('aria-current="page"') == 1
    assert "private" in answer["Cache-Control"]
    assert "Cookie" in answer["Vary"]
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert client.get(f"/boards/none/{page}").status_code == 404


def test_the_react_bundle_is_what_its_source_makes():
    if not shutil.which("node") or not (ROOT / "client/node_modules/react").exists():
        pytest.skip("needs Node and the client's packages")
    build = ROOT / "example_project/board/frontend/build.mjs"
    checked = subprocess.run(["node", str(build), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    bundle = (ROOT / "example_project/board/static/board/react-page.js").read_text()
    assert "MIT License" in bundle
    assert "Copyright (c) Meta Platforms" in bundle
    assert str(ROOT) not in bundle

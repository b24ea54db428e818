"""Who may read over HTTP: the consumer class answers, in a scope made of the request (design 5.6)."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connections
from django.urls import reverse

from reconnect_channels import publish
from reconnect_channels.models import Stream

from . import consumers  # noqa: F401 - registers them

# No transaction=True: rights must see what the request's own connection sees, also in a TestCase.
pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def users():
    model = get_user_model()
    return [model.objects.create(username=name) for name in ("ada", "eve")]


def ask(client, name, **options):
    response = client.get(reverse("reconnect_channels:delta", args=[name]), **options)
    assert response["Cache-Control"] == "private, no-store"
    return response


FORBIDDEN = {
    "an unknown prefix": "nobody:1",
    "a name that is none": "http-open:a b",
    "a name that is too long": "http-open:" + "x" * 100,
    "a name with NUL": "http-open:\0",
    "a name with markup": "http-open:<script>",
    "forbidden by can_subscribe": "http-open:secret",
    "forbidden by an async can_subscribe": "http-board:4711",
    "forbidden by allowed_streams": "http-many:1",
    "granted by get_streams alone": "http-own:1",
    "of a consumer that only takes messages": "http-up:1",
}


@pytest.mark.parametrize("name", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_unknown_and_forbidden_streams_are_answered_alike(client, name):
    response = ask(client, name)
    assert response.status_code == 403
    frame = json.loads(response.content)
    assert frame == {
        "type": "ERROR",
        "code": 403,
        "reason": "FORBIDDEN",
        "detail": "no such stream",
        "streams": [name[:100]],
    }
    assert not Stream.objects.exists()


def test_a_bad_position_on_a_forbidden_stream_tells_nothing_more(client):
    response = ask(client, "http-open:secret", data={"last_seq_id": "x"})
    assert response.status_code == 403


def test_a_name_with_a_slash_is_no_stream(client):
    assert client.get("/reconnect/streams/http-open:a%2Fb/delta").status_code == 404


def test_an_async_right_asks_for_the_request_s_user(client, users):
    ada, _ = users
    publish(f"http-board:{ada.pk}", 1)
    assert ask(client, f"http-board:{ada.pk}").status_code == 403
    client.force_login(users[1])
    assert ask(client, f"http-board:{ada.pk}").status_code == 403
    client.force_login(ada)
    assert ask(client, f"http-board:{ada.pk}").status_code == 200


def test_a_right_that_reads_the_database_sees_what_the_request_sees(client, users):
    client.force_login(users[0])
    assert ask(client, "http-members:ada").status_code == 200
    assert ask(client, "http-members:eve").status_code == 403


def test_all_streams_at_once_by_query_or_header(client):
    assert ask(client, "http-many:1", data={"token": "right"}).status_code == 200
    assert ask(client, "http-many:1", headers={"X-Token": "right"}).status_code == 200
    assert ask(client, "http-many:1", headers={"X-Token": "wrong"}).status_code == 403


def test_rights_that_cannot_be_read_are_unavailable(client, caplog):
    response = ask(client, "http-open:broken")
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert json.loads(response.content)["reason"] == "UNAVAILABLE"
    assert "the rights' defect" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "status"), [("http-open:1", 200), ("http-open:secret", 403)])
async def test_an_async_server_gets_the_same_answer(async_client, name, status):
    try:
        response = await async_client.get(f"/reconnect/streams/{name}/delta")
        assert response.status_code == status
    finally:
        await sync_to_async(connections.close_all)()

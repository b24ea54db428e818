"""The admin shows everything and changes nothing."""

import uuid

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.urls import reverse

from reconnect_channels import drift, publish, revoke
from reconnect_channels.dedup.database import process
from reconnect_channels.models import ClientSession, Node, NodeStream, SessionStream, StoredSnapshot
from reconnect_channels.protocol.frames import Message
from reconnect_channels.protocol.position import Position

pytestmark = [pytest.mark.django_db, pytest.mark.database]

MODELS = [model.__name__ for model in apps.get_app_config("reconnect_channels").get_models()]
XSS = "<script>alert(1)</script>"


@pytest.fixture
def rows():
    """One row of every model, with markup wherever a client's text can get to."""
    message = Message(id=str(uuid.uuid4()), producer=str(uuid.uuid4()), n=1, stream="s", payload=XSS)
    process(lambda message: {"text": publish("s", message.payload).text}, message, f"user:{XSS}")
    publish("s", "x" * 200)
    drift.report("s", f"user:{XSS}", XSS, Position("e", 1, 1), None)
    revoke(f"user:{XSS}", stream="s")
    session = ClientSession.objects.create(key="k", identity=f"user:{XSS}", client_id=XSS, node="n")
    SessionStream.objects.create(session=session, stream="s")
    StoredSnapshot.objects.create(stream="s", seq=1, checksum=1, text='"<script>alert(1)</script>"')
    NodeStream.objects.create(node=Node.objects.create(name="n", host=XSS, pid=1), stream="s")
    models = apps.get_app_config("reconnect_channels").get_models()
    return {model.__name__: model.objects.order_by("pk").first() for model in models}


@pytest.fixture
def superuser(client):
    user = get_user_model().objects.create_superuser("root", "", "secret")
    client.force_login(user)
    return client


def url(action, name, *args):
    return reverse(f"admin:reconnect_channels_{name.lower()}_{action}", args=args)


@pytest.mark.parametrize("name", MODELS)
def test_lists_searches_and_details_are_shown_escaped(superuser, rows, name):
    row = rows[name]
    assert row is not None
    admin_class = admin.site._registry[type(row)]
    pages = [url("changelist", name), url("change", name, row.pk)]
    if admin_class.search_fields:
        pages.append(url("changelist", name) + "?q=s")
    for page in pages:
        response = superuser.get(page)
        assert response.status_code == 200, page
        assert XSS not in response.content.decode()
        assert 'name="_save"' not in response.content.decode()


def test_what_clients_sent_is_there_to_be_read(superuser, rows):
    for name in ("StreamEntry", "ProcessedMessage", "DriftReport"):
        assert "&lt;script&gt;" in superuser.get(url("change", name, rows[name].pk)).content.decode()


def test_long_payloads_are_cut_in_the_list(superuser, rows):
    page = superuser.get(url("changelist", "StreamEntry")).content.decode()
    assert "x" * 78 + "…" in page
    assert "x" * 80 not in page


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_added_changed_or_deleted(superuser, rows, name):
    row = rows[name]
    assert superuser.get(url("add", name)).status_code == 403
    assert superuser.post(url("add", name), {}).status_code == 403
    assert superuser.post(url("change", name, row.pk), {}).status_code == 403
    assert superuser.get(url("delete", name, row.pk)).status_code == 403
    assert superuser.post(url("delete", name, row.pk), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    superuser.post(url("changelist", name), action)
    assert type(row).objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("name", MODELS)
def test_strangers_are_sent_away(client, rows, name):
    assert client.get(url("changelist", name)).status_code == 302
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert client.get(url("changelist", name)).status_code == 403
    assert client.get(url("change", name, rows[name].pk)).status_code == 403


@pytest.mark.parametrize("name", MODELS)
def test_lists_need_no_query_for_each_row(superuser, rows, name, django_assert_max_num_queries):
    for n in range(20):
        publish("s", n)
    with django_assert_max_num_queries(8):
        superuser.get(url("changelist", name))


@pytest.mark.parametrize("name", MODELS)
def test_rows_have_names(rows, name):
    assert 0 < len(str(rows[name])) <= 300

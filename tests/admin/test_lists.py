"""The lists show what operators ask for, and change nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from reconnect_channels import publish
from reconnect_channels.admin import listing
from reconnect_channels.models import ClientSession, DriftReport, ProcessedMessage, SessionStream, Stream
from reconnect_channels.sessions import session_key
from tests.admin.pages import MODELS, allow, list_of, page_of
from tests.admin.rows import XSS, make, spoil

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def rows() -> dict[str, Any]:
    return make()


@pytest.fixture
def superuser(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root", "", "secret"))
    return client


def text_of(client: Client, page: str) -> str:
    response = client.get(page)
    assert response.status_code == 200, page
    return response.content.decode()


# -- what is shown ---------------------------------------------------------------------------------


def test_a_session_shows_who_is_how_far_behind(superuser: Client):
    ann = get_user_model().objects.create_user("ann")
    publish("s", 1)
    publish("s", 2)
    publish("s", 3)
    epoch = Stream.objects.get(name="s").epoch
    session = ClientSession.objects.create(
        key="k",
        identity=f"user:{ann.pk}",
        client_id="c",
        node="n",
        term=4,
        connects=3,
        outage_ms=2_500,
        close_code=1006,
        positions={"s": [epoch, 1], "gone": ["e", 7], "other": ["another life", 1]},
    )
    for name in ("s", "other"):
        publish(name, 0)
        SessionStream.objects.create(session=session, stream=name)
    page = text_of(superuser, page_of(session))
    for text in (f"ann (user:{ann.pk})", "leader, term 4", "2.5 s", "1006: the connection was lost"):
        assert text in page
        assert text in text_of(superuser, list_of("ClientSession"))
    cells = page.split("<tbody>")[1].split("</tbody>")[0]
    told = [line.split("</tr>")[0].replace("</td>", "").split("<td>")[1:] for line in cells.split("<tr>")[1:]]
    assert told == [["7", "unknown", "unknown"], ["1", "1", "of another epoch"], ["1", "4", "3"]]
    assert not Stream.objects.filter(name="gone").exists(), "looking made a stream"


def test_a_stream_shows_its_rate_sizes_and_subscribers(superuser: Client):
    for n in range(5):
        publish("busy", "x" * 998 + str(n % 10))
    Stream.objects.create(name="empty", epoch="e")
    old = publish("old", 1)
    MODELS["StreamEntry"].objects.filter(uid=old.id).update(created=timezone.now() - timedelta(hours=1))
    session = ClientSession.objects.create(key="k", identity="i", client_id="c", node="n")
    SessionStream.objects.create(session=session, stream="busy")
    streams = superuser.get(list_of("Stream")).context["cl"].result_list
    told = {row.name: (row.rate, row.mean, row.subscribers, row.snapshot_bytes) for row in streams}
    assert told == {"busy": (5, 1_001, 1, None), "empty": (0, 0, 0, None), "old": (0, 1, 0, None)}
    page = text_of(superuser, list_of("Stream"))
    assert "≈\xa04.9\xa0KB" in page
    assert "empty" in page


def test_a_drift_report_leads_to_its_session(superuser: Client):
    report = {"epoch": "e", "seq": 1, "client_checksum": 1, "trace_id": "f" * 32}
    for identity in ("user:1", "user:2"):
        DriftReport.objects.create(stream="s", identity=identity, client_id="c", **report)
    session = ClientSession.objects.create(
        key=session_key("user:1", "c"), identity="user:1", client_id="c", node="n"
    )
    for page in (list_of("DriftReport"), page_of(DriftReport.objects.get(identity="user:1"))):
        assert f'href="{page_of(session)}"' in text_of(superuser, page)
        assert "f" * 32 in text_of(superuser, page)
    of_nobody = text_of(superuser, page_of(DriftReport.objects.get(identity="user:2")))
    assert "/clientsession/" not in of_nobody.split("<fieldset")[1]


def test_long_payloads_are_cut_in_the_list(superuser: Client):
    publish("s", "x" * 200)
    page = text_of(superuser, list_of("StreamEntry"))
    assert "x" * 70 in page
    assert "x" * 80 not in page


@pytest.mark.parametrize("name", MODELS)
def test_rows_have_names(rows: dict[str, Any], name: str):
    assert 0 < len(str(rows[name])) <= 300


# -- finding ---------------------------------------------------------------------------------------


def found(client: Client, name: str, **query: str) -> list[Any]:
    response = client.get(list_of(name), query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def test_people_are_found_by_name_key_and_identity(superuser: Client):
    ann = get_user_model().objects.create_user("ann")
    session = ClientSession.objects.create(key="k", identity=f"user:{ann.pk}", client_id="c", node="n")
    ClientSession.objects.create(key="k2", identity="user:0", client_id="c2", node="n2")
    for term in ("ann", f" {ann.pk} ", f"user:{ann.pk}", "k", "c", "n"):
        assert found(superuser, "ClientSession", q=term) == [session], term
    assert found(superuser, "ClientSession", q="an") == []


def test_sessions_are_filtered_by_state_and_drift(superuser: Client):
    make = ClientSession.objects.create
    lagging = make(key="1", identity="i", client_id="1", node="n", drift="lagging")
    fine = make(key="2", identity="i", client_id="2", node="n")
    away = make(key="3", identity="i", client_id="3", node="n", state="away")
    assert set(found(superuser, "ClientSession")) == {lagging, fine, away}
    assert found(superuser, "ClientSession", state="away") == [away]
    assert found(superuser, "ClientSession", drift="any") == [lagging]
    assert found(superuser, "ClientSession", drift="diverged") == []
    assert found(superuser, "ClientSession", state="live", q="2") == [fine]


def test_streams_are_found_by_the_beginning_of_their_names(superuser: Client):
    for name in ("board:1", "board:12", "Board:1", "boar", "a%"):
        Stream.objects.create(name=name, epoch="e")
    assert [row.name for row in found(superuser, "Stream", q="board:1")] == ["board:1", "board:12"]
    assert [row.name for row in found(superuser, "Stream", q="a%")] == ["a%"]
    assert found(superuser, "Stream", q="%") == []


def test_entries_are_found_by_stream_seq_and_id(superuser: Client):
    entries = [publish("s", n) for n in range(3)]
    publish("other", 1)
    assert [row.seq for row in found(superuser, "StreamEntry", q="s")] == [3, 2, 1]
    assert [row.seq for row in found(superuser, "StreamEntry", q="s 2")] == [2]
    assert [row.seq for row in found(superuser, "StreamEntry", q=entries[0].id)] == [1]
    assert found(superuser, "StreamEntry", q="s 99999999999999999999999") == []


def test_messages_are_found_by_who_sent_them_and_lately_by_key(superuser: Client, rows: dict[str, Any]):
    message = rows["ProcessedMessage"]
    for term in (message.identity, f"{message.identity} s {message.key}", message.key, "s"):
        assert found(superuser, "ProcessedMessage", q=term) == [message], term
    assert found(superuser, "ProcessedMessage", status="acked") == [message]
    assert found(superuser, "ProcessedMessage", status="rejected") == []
    ProcessedMessage.objects.update(created=timezone.now() - timedelta(minutes=30))
    assert found(superuser, "ProcessedMessage", created="10m") == []
    assert found(superuser, "ProcessedMessage", created="1h") == [message]


def test_a_list_ends_somewhere_and_says_so(superuser: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "REACH", 60)
    for n in range(61):
        publish("s", n)
    page = text_of(superuser, list_of("StreamEntry"))
    assert "60 stream entries" in page
    assert "The list reaches so far" in page
    assert "The list reaches so far" not in text_of(superuser, list_of("Stream"))
    assert len(found(superuser, "StreamEntry", p="2")) == 10


# -- what isn't shown, or done ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_what_clients_and_applications_wrote_is_shown_as_text(
    superuser: Client, rows: dict[str, Any], name: str
):
    row = rows[name]
    assert spoil(row) or name == "SessionStream"
    kinds = ["flight"] if name == "ClientSession" else []
    pages = [list_of(name), page_of(row), page_of(row, "history"), *(page_of(row, kind) for kind in kinds)]
    for page in [*pages, f"{list_of(name)}?q={XSS}"]:
        assert XSS not in text_of(superuser, page), page
        assert 'name="_save"' not in text_of(superuser, page)
    assert "&lt;script&gt;" in text_of(superuser, list_of(name)) + text_of(superuser, page_of(row))
    for action in (order.name for order in admin.site._registry[MODELS[name]].actions):
        answer = superuser.post(list_of(name), {"action": action, "_selected_action": [row.pk]})
        assert answer.status_code == 200
        assert XSS not in answer.content.decode()


PAYLOADS = {"StreamEntry": "text", "StoredSnapshot": "text", "ProcessedMessage": "result"}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_are_for_who_may_see_them(client: Client, rows: dict[str, Any], name: str):
    row = rows[name]
    setattr(row, PAYLOADS[name], '"top secret"')
    row.save()
    staff = get_user_model().objects.create_user("staff", is_staff=True)
    allow(staff, f"view_{name.lower()}")
    client.force_login(staff)
    for page in (list_of(name), page_of(row)):
        assert "top secret" not in text_of(client, page)
    allow(staff, "view_payload")
    assert "top secret" in text_of(client, page_of(row))


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_arent_to_be_guessed_by_filters(client: Client, rows: dict[str, Any], name: str):
    staff = get_user_model().objects.create_user("staff", is_staff=True)
    allow(staff, f"view_{name.lower()}")
    client.force_login(staff)
    for lookup in ("startswith", "contains", "regex", "exact"):
        assert client.get(list_of(name), {f"{PAYLOADS[name]}__{lookup}": "x"}).status_code == 400
    assert client.get(list_of(name), {PAYLOADS[name]: "x"}).status_code == 400


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_added_changed_or_deleted(superuser: Client, rows: dict[str, Any], name: str):
    row = rows[name]
    add = list_of(name) + "add/"
    assert superuser.get(add).status_code == 403
    assert superuser.post(add, {}).status_code == 403
    assert superuser.post(page_of(row), {}).status_code == 403
    assert superuser.get(page_of(row, "delete")).status_code == 403
    assert superuser.post(page_of(row, "delete"), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    superuser.post(list_of(name), action)
    assert type(row).objects.filter(pk=row.pk).exists()

"""Orders are confirmed, carried out, and remembered by the admin's log."""

import html
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client

from reconnect_channels import publish
from reconnect_channels.admin import orders
from reconnect_channels.admin.sessions import DISCONNECT
from reconnect_channels.models import ClientSession, Revocation, Stream, StreamEntry
from tests.admin.pages import allow, list_of, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root", "", "secret"))
    return client


@pytest.fixture
def sessions() -> list[ClientSession]:
    return [
        ClientSession.objects.create(key=f"k{n}", identity=f"user:{n}", client_id=f"client-{n}", node="n")
        for n in range(3)
    ]


def order(client: Client, name: str, action: str, rows: list[Any], **more: str) -> Any:
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(list_of(name), data, follow=True)


def told_by(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_nothing_is_done_before_it_is_confirmed(root: Client, sessions: list[ClientSession]):
    page = order(root, "ClientSession", "disconnect", sessions[:2]).content.decode()
    assert DISCONNECT.title in page
    assert "2 client sessions" in page
    for session, shown in zip(sessions, (True, True, False), strict=True):
        assert (str(session) in page) is shown
    assert not Revocation.objects.exists()
    assert not LogEntry.objects.exists()


class Form(HTMLParser):
    """The fields of a page's form that has a button named `confirmed`, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        self.feed(page)
        [self.fields] = [form for form in self.forms if "confirmed" in form]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self.forms.append({})
        elif tag == "input" and (named := dict(attrs)).get("name"):
            self.forms[-1].setdefault(str(named["name"]), []).append(named.get("value") or "")


def test_the_page_that_asks_sends_what_carries_the_order_out(root: Client, sessions: list[ClientSession]):
    page = order(root, "ClientSession", "disconnect", sessions[:2]).content.decode()
    assert html.escape(DISCONNECT.effect) in page
    fields = Form(page).fields
    assert fields["confirmed"] == [DISCONNECT.title]
    response = root.post(list_of("ClientSession"), fields, follow=True)
    assert told_by(response) == [f"{DISCONNECT.done}: 2."]
    assert Revocation.objects.count() == 2


@pytest.mark.parametrize("action", ["disconnect", "dismiss", "resync"])
def test_an_order_is_a_row_for_each_session(root: Client, sessions: list[ClientSession], action: str):
    response = order(root, "ClientSession", action, sessions[:2], confirmed="yes")
    assert told_by(response)[0].endswith(": 2.")
    told = Revocation.objects.order_by("pk").values_list("session", "cause", "identity", "stream")
    assert sorted(told) == [("k0", action, "", ""), ("k1", action, "", "")]
    logged = LogEntry.objects.order_by("object_id")
    assert [entry.object_id for entry in logged] == [str(session.pk) for session in sessions[:2]]
    assert {entry.user.get_username() for entry in logged} == {"root"}
    assert "isconnected" in logged[0].change_message or "Resynced" in logged[0].change_message
    assert logged[0].change_message in root.get(page_of(sessions[0], "history")).content.decode()


def test_a_new_epoch_begins(root: Client):
    publish("s", 1)
    stream = Stream.objects.get()
    order(root, "Stream", "new_epoch", [stream], confirmed="yes")
    after = Stream.objects.get()
    assert after.epoch != stream.epoch
    assert (after.head, after.checksum) == (stream.head, stream.checksum)
    assert LogEntry.objects.get().object_repr == "s"


def test_what_somebody_wrote_is_erased(root: Client, sessions: list[ClientSession]):
    publish("s", "mine", author=sessions[0].identity)
    publish("s", "theirs", author=sessions[1].identity)
    order(root, "ClientSession", "erase", sessions[:1], confirmed="yes")
    first, second = StreamEntry.objects.order_by("seq").values_list("text", flat=True)
    assert "mine" not in first
    assert second == '"theirs"'
    assert set(ClientSession.objects.values_list("pk", flat=True)) == {s.pk for s in sessions[1:]}
    assert LogEntry.objects.count() == 1


def test_what_fails_for_one_is_done_for_the_others(
    root: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    streams = [Stream.objects.create(name=name, epoch="e") for name in ("a", "b", "c")]

    def fail_for_b(stream: str) -> None:
        if stream == "b":
            raise ConnectionError

    monkeypatch.setattr("reconnect_channels.announcement.wake", fail_for_b)
    response = order(root, "Stream", "new_epoch", streams, confirmed="yes")
    assert told_by(response) == ["New epoch begun: 2.", "It failed for 1: see the server's log."]
    assert sorted(LogEntry.objects.values_list("object_repr", flat=True)) == ["a", "c"]
    assert "Begin a new epoch failed" in caplog.text


def test_so_many_at_once_are_refused(root: Client, monkeypatch: pytest.MonkeyPatch, sessions: Any):
    monkeypatch.setattr(orders, "MOST", 2)
    response = order(root, "ClientSession", "disconnect", sessions, confirmed="yes", select_across="1")
    assert told_by(response) == ["At most 2 at once: nothing was done."]
    assert not Revocation.objects.exists()


def test_a_page_of_one_session_offers_what_its_reader_may_do(client: Client, sessions: list[ClientSession]):
    staff = get_user_model().objects.create_user("staff", is_staff=True)
    allow(staff, "view_clientsession", "resync_clientsession")
    client.force_login(staff)
    page = client.get(page_of(sessions[0])).content.decode()
    assert 'name="action" value="resync"' in page
    assert 'value="disconnect"' not in page

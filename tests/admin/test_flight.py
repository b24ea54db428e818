"""The flight recorder's page: who may see it, what it tells, and that it stays harmless and bounded."""

import re
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from reconnect_channels import publish
from reconnect_channels.models import ClientSession, SessionStream
from reconnect_channels.protocol.position import Position
from reconnect_channels.telemetry import events
from reconnect_channels.telemetry.flight import encode
from tests.admin.pages import allow, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]

XSS = "<script>alert(1)</script>"


def flight(*noted: tuple[float, NamedTuple]) -> str:
    """As a node writes it: events with the seconds since they happened."""
    now = timezone.now().timestamp()
    return encode([(now - ago, event) for ago, event in noted])


def recorded(stream: str = "s", reason: str = "") -> str:
    here = Position("e", 3, 1)
    return flight(
        (100, events.Welcomed("x", "one", 0, 1, 0.01, None)),
        (100, events.Resumed("x", stream, "snapshot", "new", None, 3)),
        (99, events.CaughtUp("x", stream, 0.1, 3)),
        (60, events.Ended("x", 1006, reason, 40.0)),
        (48, events.Welcomed("y", "two", 0, 4, 0.01, None)),
        (48, events.Resumed("y", stream, "delta", "", here, 9)),
        (47, events.CaughtUp("y", stream, 0.1, 9)),
        (20, events.Drifted("y", stream, here, 5)),
    )


def session(text: str = "", **fields) -> ClientSession:
    given = {"key": "k", "identity": "user:1", "client_id": "c", "socket": "y", "node": "two", **fields}
    return ClientSession.objects.create(flight=text, **given)


def open_page(client, row: ClientSession) -> str:
    response = client.get(page_of(row, "flight"))
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def operator(client):
    user = get_user_model().objects.create_user("operator", is_staff=True)
    allow(user, "view_clientsession")
    client.force_login(user)
    return client


def test_an_outage_and_what_followed_are_drawn_and_written(operator):
    page = open_page(operator, session(recorded()))
    assert "<title>disconnected: 12 s</title>" in page
    assert "<title>one: 40 s</title>" in page
    assert "came with entry 3, the head was 9: got a delta" in page
    assert "socket ended with 1006" in page
    assert 'class="rc-mark rc-bad"' in page


def test_every_mark_leads_to_its_line_in_the_table(operator):
    page = open_page(operator, session(recorded()))
    marks = re.findall(r'<a href="#(rc-event-\d+)" aria-label="[^"]+"', page)
    assert len(marks) >= 5
    assert set(marks) <= set(re.findall(r'<tr id="(rc-event-\d+)"', page))


def test_streams_are_shown_with_how_far_the_client_is_behind(operator):
    for n in range(5):
        entry = publish("s", n)
    row = session(recorded(), positions={"s": [entry.epoch, 3]})
    SessionStream.objects.create(session=row, stream="s")
    page = open_page(operator, row)
    assert re.search(r'<th scope="row">s</th><td>3</td><td>5</td><td>2</td>', page)


@pytest.mark.parametrize("state", ClientSession.State.values)
def test_a_session_of_which_nothing_is_recorded_says_why(operator, state):
    page = open_page(operator, session(state=state))
    assert "Nothing is recorded" in page
    assert "<svg class=" not in page


def test_what_clients_and_applications_wrote_is_shown_as_text(operator):
    row = session(recorded(XSS, XSS), client_id=XSS, identity=XSS)
    page = open_page(operator, row)
    assert XSS not in page
    assert "&lt;script&gt;" in page


def test_broken_lines_are_left_out(operator):
    page = open_page(operator, session('ut",3]\nnonsense\n' + recorded()))
    assert "disconnected: 12 s" in page


def test_the_longest_flight_makes_a_page_of_bounded_size(operator):
    text = flight(
        *((9000 - n, events.Resumed("x", f"{'s' * 90}{n}", "snapshot", "epoch", None, n)) for n in range(400))
    )
    assert len(open_page(operator, session(text))) < 400_000


def test_decimal_commas_don_t_move_marks(operator):
    with override_settings(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True):
        page = open_page(operator, session(recorded()))
    assert re.findall(r'\bx="[\d.]+%"', page)
    assert not re.findall(r'\b(?:x|x1|x2|width)="\d+,\d', page)


def test_an_ended_session_is_drawn_up_to_its_end_and_no_further(operator):
    text = flight(
        (86_400, events.Welcomed("x", "one", 0, 1, 0.01, None)), (86_340, events.Ended("x", 1000, "", 60.0))
    )
    page = open_page(operator, session(text, state="ended", close_code=1000))
    assert "connected: 1 min" in page
    assert "disconnected: 23 h" not in page


def test_only_staff_who_may_view_sessions_see_it(client):
    row = session(recorded())
    response = client.get(page_of(row, "flight"))
    assert response.status_code == 302
    assert reverse("admin:login") in response["Location"]
    user = get_user_model().objects.create_user("staff", is_staff=True)
    client.force_login(user)
    assert client.get(page_of(row, "flight")).status_code == 403
    row.delete()
    assert client.get(reverse("admin:reconnect_channels_clientsession_flight", args=[1])).status_code == 403
    allow(user, "view_clientsession")
    assert client.get(reverse("admin:reconnect_channels_clientsession_flight", args=[1])).status_code == 404


def test_the_page_needs_few_queries(operator, django_assert_max_num_queries):
    row = session(recorded(), seen=timezone.now() - timedelta(seconds=3))
    with django_assert_max_num_queries(8):
        open_page(operator, row)

"""The overview: figures of the fleet from its rows, and a stream of samples while somebody looks."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from reconnect_channels import fleet, folding, overview, registry
from reconnect_channels.client.errors import Refused
from reconnect_channels.models import ClientSession, Node, StreamEntry
from reconnect_channels.testing import StreamCommunicator, closed_hub
from tests.admin.pages import allow
from tests.live.peer import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.database]

URL = reverse("admin:reconnect_channels_overview")
XSS = "<script>alert(1)</script>"


def node(name: str = "one", ago: float = 1, **fields) -> Node:
    seen = timezone.now() - timedelta(seconds=ago)
    return Node.objects.create(name=name, host="host", pid=7, seen=seen, **fields)


def session(**fields) -> ClientSession:
    number = ClientSession.objects.count()
    given = {"key": str(number), "identity": f"user:{number}", "client_id": "c", "node": "one", **fields}
    return ClientSession.objects.create(**given)


def samples() -> list[str]:
    return list(StreamEntry.objects.filter(stream__name=overview.STREAM).values_list("uid", flat=True))


@pytest.fixture
def operator():
    user = get_user_model().objects.create_user("operator", is_staff=True)
    allow(user, "view_clientsession")
    return user


# -- figures ---------------------------------------------------------------------------------------


def test_the_fleet_is_counted_from_sessions_and_nodes():
    node(live=2, published=1.5, delivered=30.0, returned=0.2, outage=4.5)
    node("two", live=1, draining=True, published=2.0, returned=0.1, outage=0.3, breakers="log")
    for state in ("live", "live", "live", "away", "ended"):
        session(state=state)
    found = fleet.observe()
    assert (found.live, found.away, found.returned, found.outage) == (3, 1, 18.0, 4.5)
    assert (found.published, found.delivered) == (3.5, 30.0)
    assert [(each.name, each.live, each.state, each.breakers) for each in found.nodes] == [
        ("one", 2, "up", ""),
        ("two", 1, "draining", "log"),
    ]


def test_sessions_of_a_silent_node_are_away_whatever_their_rows_say():
    node(ago=100, live=1, published=5.0)
    node("two", live=1)
    session(node="one")
    session(node="two")
    found = fleet.observe()
    assert (found.live, found.away, found.published) == (1, 1, 0.0)
    assert found.nodes[0].state == "silent"
    assert found.nodes[0].age >= 100


def test_without_any_node_nobody_is_live():
    session()
    assert (fleet.observe().live, fleet.observe().away) == (0, 1)


def test_one_identity_alone_can_t_redden_the_drift():
    node()
    for _ in range(5):
        session(identity="user:liar", drift="diverged")
    session(drift="lagging", state="ended")
    assert fleet.observe().drift == 0.0
    session(drift="lagging")
    assert fleet.observe().drift == pytest.approx(100 * 2 / 6)


def test_a_sample_takes_three_queries_that_read_no_table_from_end_to_end():
    node()
    for number in range(30):
        session(state=["live", "away", "ended"][number % 3], drift="lagging" if number == 3 else "")
    with CaptureQueriesContext(connection) as queries:
        fleet.observe()
    assert len(queries) == 3
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # it takes no index of a small table by itself
            cursor.execute("SET LOCAL enable_seqscan = off")
    for rows in (fleet.counted(), fleet.drifted()):
        assert "reconnect_session_" in rows.explain()


def test_many_nodes_are_counted_and_some_are_listed(monkeypatch):
    monkeypatch.setattr(fleet, "MOST_NODES", 3)
    for number in range(5):
        node(f"n{number}", published=1.0)
    found = fleet.observe()
    assert (len(found.nodes), found.unlisted, found.published) == (3, 2, 5.0)


# -- samples ---------------------------------------------------------------------------------------


def test_a_slot_is_sampled_once_whoever_comes():
    overview.take(100)
    overview.take(100)
    overview.take(101)
    assert len(samples()) == 2


def test_a_page_begins_with_the_last_quarter_of_an_hour(monkeypatch):
    monkeypatch.setattr(overview, "HISTORY", 3)
    for slot in range(5):
        overview.take(slot)
    state = msgspec.json.decode(folding.fold(overview.OverviewConsumer, overview.STREAM).text)
    assert [len(line) for line in state["history"]] == [len(overview.FIGURES)] * 3
    assert state["latest"]["nodes"] == []


def test_old_samples_are_forgotten_on_the_way():
    for slot in range(1, 4):
        overview.take(slot)
    StreamEntry.objects.update(created=timezone.now() - 2 * overview.KEPT)
    overview.take(overview.TRIM_EVERY)
    assert len(samples()) == 1
    folding.fold(overview.OverviewConsumer, overview.STREAM)  # and the history is kept


@pytest.mark.django_db(transaction=True)
def test_nodes_that_come_at_the_same_time_sample_a_slot_once():
    with ThreadPoolExecutor(4) as nodes:
        list(nodes.map(take_and_leave, [7] * 8))
    assert len(samples()) == 1


def take_and_leave(slot: int) -> None:
    try:
        overview.take(slot)
    finally:
        connections.close_all()


# -- the socket ------------------------------------------------------------------------------------


@pytest.fixture
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield
        await sync_to_async(connections.close_all)()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(overview, "SLOT", 0.05)
    monkeypatch.setattr(overview, "JITTER", 0.01)


def watcher(user) -> StreamCommunicator:
    client = StreamCommunicator(
        overview.OverviewConsumer.as_asgi(), f"/{fleet.OVERVIEW_PATH}", scope={"user": user}
    )
    client.subscribe(overview.STREAM)
    return client


async def has_grown(to: int) -> bool:
    return await count() >= to


async def count() -> int:
    return len(await sync_to_async(samples)())


@pytest.mark.django_db(transaction=True)
async def test_samples_come_while_somebody_looks_and_end_afterwards(operator, hub, fast, monkeypatch):
    monkeypatch.setattr(overview, "LINGER", 0.2)
    assert await count() == 0
    async with watcher(operator) as client:
        await client.live(overview.STREAM)
        await client.until(lambda: len(client.applied.get(overview.STREAM, [])) >= 3, 20)
    hubs = list(overview._sampling.values())
    await asyncio.wait(hubs, timeout=20)
    assert all(task.done() for task in hubs)
    before = await count()
    assert before >= 3
    async with watcher(operator) as client:
        await client.until(lambda: len(client.applied.get(overview.STREAM, [])) >= 1, 20)


@pytest.mark.django_db(transaction=True)
async def test_what_was_sampled_while_a_watcher_was_cut_off_comes_after(operator, hub, fast):
    async with watcher(operator) as client:
        await client.until(lambda: len(client.applied.get(overview.STREAM, [])) >= 2, 20)
        await client.cut()
        before = await count()
        await eventually(lambda: has_grown(before + 4), 20)
        await client.resume()
        await client.live(overview.STREAM)
        seqs = [entry.seq for entry in client.applied[overview.STREAM]]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert len(seqs) >= 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["nobody", "visitor", "staff"])
async def test_nobody_else_is_let_in_and_nothing_is_sampled_for_them(who, operator, hub, fast):
    people = get_user_model().objects
    user = {
        "nobody": AnonymousUser,
        "visitor": lambda: people.create_user("visitor"),
        "staff": lambda: people.create_user("staff", is_staff=True),
    }
    async with watcher(await sync_to_async(user[who])()) as client:
        with pytest.raises(Refused):
            await client.live(overview.STREAM)
    assert await count() == 0
    assert not [task for task in overview._sampling.values() if not task.done()]


# -- the page --------------------------------------------------------------------------------------


def test_the_page_runs_on_the_client_where_its_socket_is_routed(client, operator):
    client.force_login(operator)
    page = client.get(URL).content.decode()
    assert "data-reconnect-channels" in page
    assert "reconnect_channels/admin/overview.js" in page
    assert f'data-path="/{fleet.OVERVIEW_PATH}"' in page
    assert 'id="rc-howto" class="rc-howto" hidden' in page


def test_a_page_without_a_route_shows_figures_and_says_how_to_have_it_live(client, operator, monkeypatch):
    monkeypatch.setattr(registry, "consumers", [])
    Node.objects.create(name="one", host=XSS, pid=7, breakers="log")
    session()
    client.force_login(operator)
    page = client.get(URL).content.decode()
    assert "overview.websocket_urlpatterns" in page
    assert '<script type="module"' not in page
    assert "<b>1</b>" in page
    assert XSS not in page
    assert "&lt;script&gt;" in page


def test_only_staff_who_may_view_sessions_see_it(client):
    assert reverse("admin:login") in client.get(URL)["Location"]
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert client.get(URL).status_code == 403


def test_the_page_needs_few_queries(client, operator, django_assert_max_num_queries):
    client.force_login(operator)
    with django_assert_max_num_queries(8):
        client.get(URL)

"""The page: who may see it, in which format, with which traces, and of how many processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from reconnect_channels.client import connect
from reconnect_channels.telemetry.events import CaughtUp, Resumed, emit
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer
from tests.servers import HOST, Server, asgi_server

from .scrape import OPENMETRICS, Page
from .test_blueprint import settled

PATH = "/reconnect/metrics"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NEEDED = "reconnect_channels.view_metrics"


def get(client: Client, accept: str = "") -> Page:
    response = client.get(PATH, headers={"Accept": accept})
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    return Page(response.content.decode(), response["Content-Type"])


# -- who -------------------------------------------------------------------------------------------


def test_the_page_is_for_everybody_who_reaches_it_unless_a_permission_is_set(client: Client):
    assert reverse("reconnect_channels:metrics") == PATH
    assert "state_drift_percentage" in get(client).names


@pytest.mark.django_db
@pytest.mark.database
class TestWithAPermission:
    @pytest.fixture(autouse=True)
    def permission(self, settings: Any) -> None:
        settings.RECONNECT_CHANNELS = {"METRICS_PERMISSION": NEEDED}

    def test_visitors_are_sent_to_the_login(self, client: Client, settings: Any):
        settings.LOGIN_URL = "/admin/login/"
        response = client.get(PATH)
        assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={PATH}")

    def test_staff_without_it_is_refused(self, client: Client):
        client.force_login(User.objects.create_user("ada", is_staff=True))
        assert client.get(PATH).status_code == 403

    def test_who_has_it_sees_the_page(self, client: Client):
        scraper = User.objects.create_user("scraper")
        scraper.user_permissions.add(Permission.objects.get(codename="view_metrics"))
        client.force_login(scraper)
        assert "state_drift_percentage" in get(client).names


# -- what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5,*/*;q=0.1",  # Prometheus
        "application/openmetrics-text",
        "application/openmetrics-text; version=mine",
    ],
)
def test_who_accepts_openmetrics_gets_it(client: Client, accept: str):
    assert get(client, accept).content_type == f"{OPENMETRICS}; charset=utf-8; escaping=underscores"


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,*/*;q=0.8", "text/plain; version=1.0.0"])
def test_others_get_plain_text(client: Client, accept: str):
    assert get(client, accept).content_type == "text/plain; version=0.0.4; charset=utf-8"


def exemplars(page: Page, name: str) -> set[str]:
    found = (sample.exemplar for sample in page.samples if sample.name == name)
    return {exemplar.labels["trace_id"] for exemplar in found if exemplar}


def test_exemplars_lead_from_slow_recoveries_to_their_traces(client: Client):
    emit(CaughtUp("s", f"{NotesConsumer.stream_prefix}a", 1_234.5, 3, TRACE))
    emit(Resumed("s", "notes:a", "delta", "", None, 99_999, TRACE))
    page = get(client, OPENMETRICS)
    for name in ("reconnect_caught_up_seconds_bucket", "delta_sync_gap_size_bucket"):
        assert TRACE in exemplars(page, name)


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{'a1' * 16}-00f067aa0ba902b7-01", "a1" * 16),
        (f"00-{'b2' * 16}-{'0' * 16}-01", None),
        ("b3" * 16, None),
        (None, None),
    ],
)
async def test_the_trace_is_that_of_the_hello(
    traceparent: str | None, trace: str | None, client: Client, monkeypatch: pytest.MonkeyPatch
):
    async with Peer() as peer:
        await peer.greet({"notes:traced": None}, traceparent=traceparent)
        await peer.hear("SYNC_DELTA", complete=True)
    page = await sync_to_async(get)(client, OPENMETRICS)
    found = exemplars(page, "reconnect_caught_up_seconds_bucket")
    assert trace in found if trace else not found & {"b2" * 16, "b3" * 16}


# -- of how many -----------------------------------------------------------------------------------


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Two processes of one host, as `uvicorn --workers 2` has them; each on a port, to tell them apart."""
    await sync_to_async(call_command)("load_boards", verbosity=0)
    shared = tmp_path / "metrics"
    shared.mkdir()
    servers = [asgi_server("example_project.asgi:application", tmp_path / name) for name in ("one", "two")]
    try:
        for server in servers:
            server.env["DJANGO_SETTINGS_MODULE"] = "tests.telemetry.example_settings"
            server.env["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
            await asyncio.to_thread(server.start)
        yield servers[0], servers[1]
    finally:
        for server in servers:
            await asyncio.to_thread(server.kill)
        await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
@pytest.mark.servers
@pytest.mark.slow
async def test_any_process_of_a_host_shows_them_all_and_forgets_the_gauges_of_the_dead(
    processes: tuple[Server, Server],
):
    one, two = processes
    async with AsyncExitStack() as stack:
        for count, server in ((1, one), (2, two)):
            for _ in range(count):
                url = f"ws://{HOST}:{server.port}/ws/board/"
                client = await stack.enter_async_context(connect(url))
                client.subscribe("board:launch")
                await client.live("board:launch", 20)
        for server in processes:
            page = await settled(server, lambda page: page.value("reconnect_live_sessions") == 3)
            assert page.value("reconnect_welcome_seconds_count") == 3
            assert page.value("reconnect_caught_up_seconds_count", prefix="board:") == 3
        assert any(
            name.startswith("django_http_requests") for name in page.names
        )  # those of django-prometheus
        await asyncio.to_thread(two.kill)
        page = await settled(one, lambda page: page.value("reconnect_live_sessions") == 1)
        assert page.value("reconnect_welcome_seconds_count") >= 3  # what happened has happened

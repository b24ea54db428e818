"""The doctor's consumer is closed to everybody who doesn't know the site's secret."""

from typing import Any

import pytest
from django.core.signing import TimestampSigner

from reconnect_channels.client.errors import Refused
from reconnect_channels.doctor.consumer import MAX_AGE, PREFIX, DoctorConsumer, doctor_url, visit_of
from reconnect_channels.testing import Socket, StreamCommunicator, closed_hub

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

VISIT = "0123456789abcdef"


@pytest.fixture(autouse=True)
async def hub():
    async with closed_hub():
        yield


def scope(query: str) -> dict[str, Any]:
    return {"query_string": query.encode()}


def own(visit: str = VISIT) -> dict[str, Any]:
    return scope(doctor_url("ws://testserver/", visit).partition("?")[2])


@pytest.mark.parametrize("query", ["", "token=", f"token={VISIT}", "token=a:b:c", "token=%00&token=%ff"])
async def test_strangers_are_refused_before_they_cost_anything(query):
    socket = Socket(DoctorConsumer.as_asgi(), "/", scope=scope(query))
    assert await socket.connect() == {"type": "websocket.close"}
    assert socket.accepted is None


def test_a_token_ends_with_its_time(monkeypatch):
    given = own()
    assert visit_of(given) == VISIT
    born = TimestampSigner().timestamp()
    assert born
    import time

    now = time.time()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + MAX_AGE + 2)
    assert visit_of(given) is None


def test_a_token_of_another_secret_is_none(settings):
    given = own()
    settings.SECRET_KEY = "another one, long enough for every signer"
    assert visit_of(given) is None


async def test_a_token_opens_its_own_stream_and_no_other():
    async with StreamCommunicator(DoctorConsumer.as_asgi(), scope=own()) as client:
        client.subscribe(PREFIX + VISIT)
        client.subscribe(f"{PREFIX}fedcba9876543210")
        client.subscribe("board:1")
        await client.live(PREFIX + VISIT)
        for stream in (f"{PREFIX}fedcba9876543210", "board:1"):
            with pytest.raises(Refused):
                await client.live(stream)


def test_the_url_keeps_host_and_a_prefix_before_the_route():
    assert doctor_url("wss://example.com/ws/board/1/?a=b", VISIT).startswith(
        "wss://example.com/ws/reconnect/doctor/?token="
    )
    prefixed = "wss://example.com/app/ws/reconnect/doctor/"
    assert doctor_url(prefixed, VISIT).startswith(f"{prefixed}?token=")

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from reconnect_channels.live import connection, healing
from reconnect_channels.telemetry import events
from reconnect_channels.testing import closed_hub
from tests.live.layers import CORE, LAYERS, PUBSUB, FaultyLayer, use_layer


@pytest.fixture(autouse=True)
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Sets keys of RECONNECT_CHANNELS beside those that are set."""

    def configure(**changed: Any) -> None:
        settings.RECONNECT_CHANNELS = {**getattr(settings, "RECONNECT_CHANNELS", {}), **changed}

    return configure


@pytest.fixture
def told() -> Iterator[list[NamedTuple]]:
    """The events of this process, from now on."""
    heard: list[NamedTuple] = []
    events.listeners.append(heard.append)
    yield heard
    events.listeners.remove(heard.append)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are looked at every few milliseconds, so that short limits come true soon."""
    monkeypatch.setattr(connection, "TICK", 0.01)
    monkeypatch.setattr(healing, "AFTER_BURST", 0.01)


@pytest.fixture
def faulty(settings: Any) -> FaultyLayer:
    layer: FaultyLayer = use_layer(settings, "tests.live.layers.FaultyLayer")
    return layer


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest, settings: Any) -> Any:
    """Each layer in turn; those of Redis on a server of our own."""
    if request.param == "memory":
        return use_layer(settings, "channels.layers.InMemoryChannelLayer")
    url = request.getfixturevalue("redis_url")
    return use_layer(settings, CORE if request.param == "core" else PUBSUB, hosts=[url], prefix="live")


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of sessions that tests make are of the test's own time, not of the import's."""
    monkeypatch.setattr("tests.live.test_sessions_rows.NOW", datetime.now(UTC))

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY, generate_latest

from reconnect_channels.telemetry import load, measuring

from .scrape import Page


@pytest.fixture(autouse=True)
def closed_breakers() -> None:
    """Tests that ran before may have left one open, and dropped it."""
    measuring._open.clear()
    load._open.clear()


Gained = Callable[..., float]


@pytest.fixture
def page() -> Callable[[], Page]:
    """What this process would answer a scrape."""
    return lambda: Page(generate_latest(REGISTRY).decode())


@pytest.fixture
def gained(page: Callable[[], Page]) -> Gained:
    """By how much samples grew since the test began."""
    before = page()
    return lambda name, **labels: page().value(name, **labels) - before.value(name, **labels)

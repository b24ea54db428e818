from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY, generate_latest

from .scrape import Page

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

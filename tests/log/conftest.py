import uuid
from collections.abc import Iterator

import pytest

from reconnect_channels.log import log_for
from reconnect_channels.log.base import Draft, SequenceLog
from reconnect_channels.testing import stop


@pytest.fixture
def log() -> SequenceLog:
    return log_for("s")


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    yield
    stop()


def drafts(count: int, *, first: int = 1, key: str | None = None) -> list[Draft]:
    """Entries to append, with payloads that count."""
    return [Draft(str(uuid.uuid4()), key, str(n)) for n in range(first, first + count)]

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

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


@pytest.fixture
async def sync_thread() -> AsyncIterator[None]:
    """Closes the connection of the thread behind `sync_to_async`, which outlives its loop."""
    yield
    await sync_to_async(connections.close_all)()


def drafts(count: int, *, first: int = 1, key: str | None = None) -> list[Draft]:
    """Entries to append, with payloads that count."""
    return [Draft(str(uuid.uuid4()), key, str(n)) for n in range(first, first + count)]


@pytest.fixture
def fast(settings, redis_url) -> Iterator[SequenceLog]:
    """The log of streams that begin with `fast:`, in Redis; all others are in the database."""
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
            "fast": {
                "BACKEND": "reconnect_channels.log.redis.RedisLog",
                "LOCATION": redis_url,
                "KEY_PREFIX": f"{uuid.uuid4()}:",
                "PREFIXES": ["fast:"],
            },
        }
    }
    log = log_for("fast:s")
    yield log
    log.endpoint.close()

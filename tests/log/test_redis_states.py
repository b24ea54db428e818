"""States of streams whose log is in Redis: folded exactly, or a lower bound; kept when Redis forgets."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from reconnect_channels import folding, publish
from reconnect_channels.log import log_for
from reconnect_channels.log.redis import RedisLog
from reconnect_channels.models import StoredSnapshot
from reconnect_channels.retention import trim_stream
from reconnect_channels.snapshots import atake, take

from .conftest import drafts
from .folded import TallyConsumer

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.redis]

A = "tally:fast:a"
NOT_SPARED = timedelta(0)


@pytest.fixture
def fast(settings: Any, redis_url: str) -> Iterator[Callable[..., RedisLog]]:
    """Puts the fast streams on Redis, with a retention."""
    made: list[RedisLog] = []

    def fast(**retention: int) -> RedisLog:
        there = {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": redis_url,
            "KEY_PREFIX": f"{uuid.uuid4()}:",
            "PREFIXES": ["tally:fast:"],
            "RETENTION": retention,
        }
        default = {"BACKEND": "reconnect_channels.log.database.DatabaseLog"}
        settings.RECONNECT_CHANNELS = {
            "SNAPSHOT_EVERY": 10,
            "STREAM_LOGS": {"default": default, "fast": there},
        }
        log = log_for(A)
        assert isinstance(log, RedisLog)
        made.append(log)
        return log

    yield fast
    for log in made:
        log.endpoint.close()


def numbers() -> list[int]:
    return json.loads(folding.fold(TallyConsumer, A).text)["all"]


def test_a_state_is_folded_from_redis_and_stored_in_the_database(fast: Any):
    log = fast()
    log.append(A, drafts(25), 0)
    snapshot = take(TallyConsumer, A)
    assert (snapshot.exact, snapshot.position) == (True, log.heads([A])[A].position)
    assert snapshot.payload["all"] == list(range(1, 26))
    assert StoredSnapshot.objects.get(stream=A).seq == 25


def test_a_stream_that_redis_lost_begins_anew_and_the_old_state_is_not_mixed_in(fast: Any):
    log = fast()
    log.append(A, drafts(25), 0)
    assert len(numbers()) == 25
    log.drop(A)
    log.append(A, drafts(30, first=101), 0)
    assert numbers() == list(range(101, 131))


def test_trimming_stores_the_state_first(fast: Any):
    log = fast()
    log.append(A, drafts(25), 0)
    assert trim_stream(A, max_entries=5, spared=NOT_SPARED) == 20
    assert log.heads([A])[A].floor == 21
    assert numbers() == list(range(1, 26))


def test_what_redis_forgets_by_itself_is_stored_in_time(fast: Any):
    log = fast(ENTRIES=1_000)  # trims by whole nodes: nothing goes yet
    log.append(A, drafts(25), 0)
    trim_stream(A)
    assert StoredSnapshot.objects.get(stream=A).seq == 25
    log.trim(A, 24)
    assert numbers() == list(range(1, 26))


# -- get_snapshot ------------------------------------------------------------------------------------------


def looking(state: list[int]) -> Any:
    """A consumer whose state is elsewhere than its log."""

    class Looking(TallyConsumer):
        reduce = None  # type: ignore[assignment]

        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            return list(state)

    return Looking


def test_a_state_beside_the_log_is_a_lower_bound(fast: Any, django_capture_on_commit_callbacks: Any):
    """Its change is committed, and seen, before Redis has the entry, which then comes after the snapshot."""
    log, state = fast(), [1]
    log.append(A, drafts(1), 0)
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            state.append(2)
            publish(A, 2)
        snapshot = take(looking(state), A)
    assert (snapshot.payload, snapshot.position.seq, snapshot.exact) == ([1, 2], 1, False)
    assert [entry.text for entry in log.read(A, snapshot.position, 9).entries] == ["2"]


def test_the_position_is_read_before_the_state(fast: Any):
    log = fast()

    class Racing(looking([])):  # type: ignore[misc]
        @classmethod
        def get_snapshot(cls, stream: str) -> Any:
            log.append(A, drafts(1), 0)
            return "the state with it"

    snapshot = take(Racing, A)
    assert (snapshot.position.seq, snapshot.exact) == (0, False)


@pytest.mark.django_db(transaction=True)
async def test_an_async_hook_is_asked_once_and_is_a_lower_bound(fast: Any, sync_thread: None):
    fast()
    asked = []

    class Asked(looking([])):  # type: ignore[misc]
        @classmethod
        async def get_snapshot(cls, stream: str) -> Any:
            asked.append(stream)
            return "state"

    snapshot = await atake(Asked, A)
    assert (snapshot.position.seq, snapshot.exact, asked) == (0, False, [A])

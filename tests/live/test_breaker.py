"""A log that doesn't answer: nobody waits for it, nobody is sent to the database instead (design 10.1)."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections
from django.test import AsyncClient, Client

from reconnect_channels import workers
from reconnect_channels.live import breaker as breakers
from reconnect_channels.live.hub import get_hub
from reconnect_channels.log import log_for
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.models import Stream, StreamEntry
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, position_at, publish_all, publish_elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"
READY, DELTA = "/reconnect/ready", f"/reconnect/streams/{A}/delta"
PROMPT = 0.05  # seconds


class WithSnapshot(NotesConsumer):
    builds = 0

    @classmethod
    def get_snapshot(cls, stream: str) -> Any:
        cls.builds += 1
        return []


class Sick:
    """The log's reads, which fail while `ill`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ill = False
        self.calls: list[float] = []
        for name in ("heads", "read", "checksum_at"):
            self._spoil(monkeypatch, name)

    def _spoil(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        healthy = getattr(DatabaseLog, name)

        def method(log: DatabaseLog, *args: Any) -> Any:
            if self.ill and threading.current_thread().name.startswith("reconnect-read"):
                self.calls.append(time.monotonic())
                raise OperationalError("the log's database is ill")
            return healthy(log, *args)

        monkeypatch.setattr(DatabaseLog, name, method)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Sick:
    return Sick(monkeypatch)


@pytest.fixture(autouse=True)
def healthy_again() -> Iterator[None]:
    """Each test has a breaker of its own."""
    yield
    breakers._breakers.clear()


def is_open() -> bool:
    return breakers.breaker_of(log_for(A)).is_open


async def refused(peer: Peer, stream: str = A) -> dict[str, Any]:
    """Asks for a stream and returns the ERROR, with the seconds that it took."""
    peer.say("SUBSCRIBE", ref=1, streams={stream: None})
    started = time.monotonic()
    frame = await peer.hear("ERROR", code=503)
    return {**frame, "seconds": time.monotonic() - started}


async def make_ill(sick: Sick, peer: Peer) -> None:
    """Has the log fail until the breaker is open."""
    sick.ill = True
    for number in range(5):
        assert not is_open()
        await refused(peer, f"notes:ill-{number}")
    assert is_open()


async def test_five_failures_open_it_and_then_the_answer_comes_at_once_without_a_read(sick: Sick):
    async with Peer() as peer:
        await peer.greet()
        await make_ill(sick, peer)
        calls = len(sick.calls)
        frame = await refused(peer)
        assert frame["seconds"] <= PROMPT
        assert frame["streams"] == [A]
        assert len(sick.calls) == calls


async def test_a_success_between_failures_keeps_it_closed(sick: Sick):
    async with Peer() as peer:
        await peer.greet()
        for number in range(12):
            sick.ill = number % 4 != 3
            if sick.ill:
                await refused(peer, f"notes:ill-{number}")
            else:
                peer.say("SUBSCRIBE", ref=1, streams={A: None})
                await peer.sync(A)
        assert not is_open()


async def test_a_position_that_isnt_in_the_log_is_no_failure(configure: Any):
    await publish_all(A, range(3))
    wrong = (await position_at(A, 2))._replace(checksum=1)
    for _ in range(7):
        async with Peer() as peer:
            await peer.greet({A: wrong})
            assert (await peer.sync(A))["reason"] == "diverged"
    assert not is_open()


async def test_who_comes_meanwhile_is_told_when_to_ask_again_and_each_something_else(sick: Sick):
    async with Peer() as first:
        await first.greet()
        await make_ill(sick, first)
        after = []
        for _ in range(20):
            async with Peer() as peer:
                await peer.greet({A: None})
                frame = await peer.hear("ERROR", code=503)
                after.append(frame["retry_after_ms"])
                assert "BYE" not in peer.kinds()
        assert all(500 <= ms <= 3_000 for ms in after)
        assert len(set(after)) > 10


async def test_nobody_gets_a_snapshot_instead(sick: Sick, configure: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WithSnapshot, "builds", 0)
    await publish_all(A, range(5))
    at = await position_at(A, 2)
    async with Peer() as first:
        await first.greet()
        await make_ill(sick, first)
    for _ in range(10):
        async with Peer(WithSnapshot) as peer:
            await peer.greet({A: at})
            await peer.hear("ERROR", code=503)
            assert "SYNC_SNAPSHOT" not in peer.kinds()
    assert WithSnapshot.builds == 0


async def test_probes_are_a_second_apart_however_many_ask(sick: Sick, monkeypatch: pytest.MonkeyPatch):
    async with Peer() as peer:
        await peer.greet()
        await make_ill(sick, peer)
        opened_at = sick.calls[-1]
        hub = get_hub()

        async def ask() -> None:
            for _ in range(60):
                await asyncio.gather(*(hub.head(f"notes:{n}") for n in range(20)), return_exceptions=True)
                await asyncio.sleep(0.05)

        await ask()
        probes = [opened_at, *(at for at in sick.calls if at > opened_at)]
        assert 2 <= len(probes) - 1 <= 4
        assert all(later - earlier >= 0.99 for earlier, later in pairwise(probes))


async def test_it_closes_with_the_first_probe_after_the_repair_and_live_sockets_hear_what_they_missed(
    sick: Sick, configure: Any
):
    await publish_all(A, [1])
    async with Peer() as live, Peer() as other:
        await live.greet({A: None})
        await live.sync(A)
        await eventually(lambda: A in get_hub().feeds and get_hub().feeds[A].live)
        await other.greet()
        await make_ill(sick, other)
        await publish_elsewhere(A, [2, 3])
        get_hub().healing.suspect(A)
        await refused(other)
        assert live.kinds(A).count("ERROR") == 0
        sick.ill = False
        repaired = time.monotonic()
        frame = await live.until(lambda frame: frame.get("to") == 3, timeout=10)
        assert frame["type"] == "SYNC_DELTA"
        assert time.monotonic() - repaired < 3
        assert not is_open()
        assert "SYNC_SNAPSHOT" not in live.kinds(A)[1:]
        assert live.socket.closed is None


async def test_one_read_that_cant_succeed_doesnt_keep_it_open(sick: Sick, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(breakers, "PROBE_EVERY", 0.2)
    log = log_for(A)
    hub = get_hub()
    await hub.clock_known

    def poisoned(*_: Any) -> None:
        raise OperationalError("this page always takes too long")

    for _ in range(5):
        with pytest.raises(OperationalError):
            await hub._reader.read(log, poisoned)
    assert is_open()
    with pytest.raises(breakers.BreakerOpen):
        await hub.head(A)  # what others want is tried next
    await eventually(lambda: not is_open())


async def test_readiness_and_the_delta_over_http_say_it_too(sick: Sick):
    await publish_all(A, range(3))
    http = AsyncClient()
    assert (await http.get(READY)).json() == {"ready": True}
    async with Peer() as peer:
        await peer.greet()
        await make_ill(sick, peer)
        answer = await http.get(READY)
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "log"})
        started = time.monotonic()
        answer = await http.get(DELTA)
        assert time.monotonic() - started < PROMPT * 2
        assert answer.status_code == 503
        assert 1 <= int(answer["Retry-After"]) <= 3
        assert 500 <= answer.json()["retry_after_ms"] <= 3_000
        sick.ill = False
        await eventually(lambda: not is_open())
    assert (await http.get(READY)).status_code == 200
    assert (await http.get(DELTA)).status_code == 200


def test_a_process_without_sockets_probes_with_its_requests(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def ill(log: DatabaseLog, streams: Any) -> Any:
        calls.append(streams)
        raise OperationalError("the log's database is ill")

    http = Client()
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseLog, "heads", ill)
        assert [http.get(DELTA).status_code for _ in range(20)] == [503] * 20
        assert len(calls) == 5
        assert is_open()
        monkeypatch.setattr(breakers.breaker_of(log_for(A))._breaker, "_next_probe", 0.0)
        assert [http.get(DELTA).status_code for _ in range(20)] == [503] * 20
        assert len(calls) == 6
    monkeypatch.setattr(breakers.breaker_of(log_for(A))._breaker, "_next_probe", 0.0)
    assert http.get(DELTA).status_code == 200
    assert not is_open()


# -- in the database ---------------------------------------------------------------------------------------

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


def endless() -> None:
    with connection.cursor() as cursor:
        cursor.execute(ENDLESS[connection.vendor])


def one() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


async def test_a_statement_of_a_read_ends_by_itself_and_its_thread_serves_the_next():
    for _ in range(workers.READERS + 1):
        started = time.monotonic()
        with pytest.raises(OperationalError):
            await workers.read(endless)
        assert 0.4 < time.monotonic() - started < 0.75
    assert await workers.read(one) == 1


async def test_other_threads_statements_are_not_bounded(configure: Any):
    configure(READ_TIMEOUT=0.05)
    await workers.read(one)
    statement = {"sqlite": ENDLESS["sqlite"] + " LIMIT 1", "postgresql": "SELECT pg_sleep(0.3)"}
    if connection.vendor == "postgresql":

        def slow() -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement["postgresql"])

        await workers.run(slow)
        await sync_to_async(slow)()


async def test_a_read_waits_for_its_turn_longer_than_for_its_answer(configure: Any):
    configure(READ_TIMEOUT=0.3)
    results = await asyncio.gather(*(workers.read(time.sleep, 0.1) for _ in range(workers.READERS * 6)))
    assert len(results) == workers.READERS * 6


async def test_reads_that_no_thread_takes_are_given_up(configure: Any):
    configure(READ_TIMEOUT=0.1)
    stuck = [asyncio.ensure_future(workers.read(time.sleep, 1.0)) for _ in range(workers.READERS)]
    await asyncio.sleep(0)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await workers.read(one)
    assert time.monotonic() - started < 0.7
    assert all(isinstance(end, TimeoutError) for end in await asyncio.gather(*stuck, return_exceptions=True))


@contextmanager
def locked(*tables: str) -> Iterator[None]:
    """Another session holds the tables: whoever reads them waits."""
    own = connections.create_connection("default")
    try:
        own.set_autocommit(False)
        with own.cursor() as cursor:
            for table in tables:
                cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        own.close()


@contextmanager
def slowed(table: str, seconds: float) -> Iterator[None]:
    """Every read of the table takes so long, in the database itself."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO quick")
        cursor.execute(f"CREATE VIEW {table} AS SELECT quick.* FROM quick, pg_sleep({seconds}) AS late")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP VIEW {table}")
            cursor.execute(f"ALTER TABLE quick RENAME TO {table}")


def running_for() -> list[float]:
    """The ages in seconds of the statements that run now, beside this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity "
            "WHERE state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [float(row[0]) for row in cursor.fetchall()]


@pytest.fixture
def postgres_only() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL")


async def test_no_query_outlives_its_half_second_while_a_table_is_locked(postgres_only: None):
    await publish_all(A, range(10))
    at = await position_at(A, 2)
    ages: list[float] = []
    async with Peer() as peer:
        await peer.greet()
        hold = locked(StreamEntry._meta.db_table, Stream._meta.db_table)
        await sync_to_async(hold.__enter__, thread_sensitive=False)()
        began = time.monotonic()
        while time.monotonic() - began < 4:
            peer.say("SUBSCRIBE", ref=1, streams={A: at})
            await asyncio.sleep(0.02)
            ages += await sync_to_async(running_for)()
        assert is_open()
        await sync_to_async(hold.__exit__, thread_sensitive=False)(None, None, None)
        await eventually(lambda: not is_open(), timeout=10)
        assert max(ages) < 0.65
        peer.say("SUBSCRIBE", ref=2, streams={A: at})
        assert (await peer.hear("SYNC_DELTA", to=10))["complete"]
        assert "SYNC_SNAPSHOT" not in peer.kinds()


async def test_a_store_that_takes_two_seconds_opens_it_and_costs_nobody_more_than_a_wait(
    postgres_only: None, monkeypatch: pytest.MonkeyPatch
):
    probes: list[float] = []
    may_probe = breakers.LogBreaker.may_probe

    def counted(breaker: breakers.LogBreaker) -> bool:
        allowed = may_probe(breaker)
        probes.extend([time.monotonic()] * allowed)
        return allowed

    monkeypatch.setattr(breakers.LogBreaker, "may_probe", counted)
    await publish_all(A, range(10))
    at = await position_at(A, 2)
    waits: list[float] = []
    ages: list[float] = []
    async with Peer() as peer:
        await peer.greet()
        slow = slowed(Stream._meta.db_table, 2)
        await sync_to_async(slow.__enter__)()
        try:
            failures = 0
            while not is_open():
                await refused(peer)
                failures += 1
            until = time.monotonic() + 4
            while time.monotonic() < until:
                waits.append((await refused(peer))["seconds"])
                ages += await sync_to_async(running_for)()
                await asyncio.sleep(0.02)
        finally:
            await sync_to_async(slow.__exit__)(None, None, None)
        repaired = time.monotonic()
        await eventually(lambda: not is_open(), timeout=10)
        closed = time.monotonic() - repaired
        peer.say("SUBSCRIBE", ref=2, streams={A: at})
        assert (await peer.hear("SYNC_DELTA", to=10))["complete"]
        assert "SYNC_SNAPSHOT" not in peer.kinds()
    assert failures <= 5
    assert sorted(waits)[len(waits) * 9 // 10] <= PROMPT  # this machine may be busy now and then
    assert max(ages, default=0) < 0.65
    assert all(later - earlier > 0.95 for earlier, later in pairwise(probes))
    p50, p99 = (sorted(waits)[len(waits) * share // 100] * 1000 for share in (50, 99))
    print(f"open after {failures} failures; {len(waits)} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"longest statement {max(ages, default=0):.2f} s, {len(probes)} probes, closed in {closed:.2f} s")


@pytest.mark.parametrize("how", ["DISABLE_SERVER_SIDE_CURSORS", "atomic", "plain"])
def test_a_shared_session_keeps_its_own_timeout(postgres_only: None, how: str, settings: Any):
    from django.db import transaction

    from reconnect_channels import deadline

    def timeout() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    def check() -> None:
        before = timeout()
        with deadline.within("default", 0.2):
            assert one() == 1
        assert timeout() == before
        with deadline.within("default", 0.2), pytest.raises(OperationalError):
            endless()

    if how == "atomic":
        with transaction.atomic():
            check()
    elif how == "plain":
        check()
        assert timeout() == "0"
    else:
        connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
        try:
            connection.close()
            deadline.bind(0.2)
            assert one() == 1
            assert timeout() == "200ms"  # asked inside a transaction of our own
            with pytest.raises(OperationalError):
                endless()
        finally:
            connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = False
            deadline.bounded.seconds = None
            connection.execute_wrappers.clear()
            connection.close()
        assert timeout() == "0"

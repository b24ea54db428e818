"""Answers in Redis, in front of the rows: they spare transactions, and are never the truth (design 8.2)."""

import asyncio
import logging
import time
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from redis import Redis

from reconnect_channels import Reject, apublish
from reconnect_channels.dedup import answers as module
from reconnect_channels.dedup import base, claims
from reconnect_channels.dedup.answers import answers
from reconnect_channels.dedup.claims import aprocess
from reconnect_channels.log.endpoint import Endpoint
from reconnect_channels.models import ProcessedMessage
from tests import services
from tests.live.peer import eventually
from tests.servers import HOST

from .conftest import Outbox, published

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("closing_threads"),
    pytest.mark.database,
    pytest.mark.redis,
]


@pytest.fixture
def known(configure, redis_url):
    """The answers of this test, on the common server."""
    prefix = f"{uuid.uuid4()}:"
    configure(DEDUP={"LOCATION": redis_url, "KEY_PREFIX": prefix})
    server = Redis.from_url(redis_url)
    yield lambda: {key: server.pttl(key) for key in server.keys(f"{prefix}*")}
    for key in server.keys(f"{prefix}*"):
        server.delete(key)
    server.close()


@pytest.fixture
def redis(configure, redis_server):
    """A Redis of this test alone, that may break."""
    configure(DEDUP={"LOCATION": services.redis_url(redis_server), "TIMEOUT": 0.1})
    return redis_server


def flush(server):
    with Redis(host=HOST, port=server.port) as client:
        client.flushall()


def without_queries(outbox, message, handler=None):
    with CaptureQueriesContext(connection) as queries:
        outcome = outbox.send(message, handler)
    assert [query["sql"] for query in queries.captured_queries] == []
    return outcome


# -- `def` handlers --------------------------------------------------------------------------------------


def test_a_retry_is_answered_without_the_database(outbox, known):
    message = outbox.message({"move": 7})
    first = outbox.send(message)
    assert without_queries(outbox, message) == first._replace(duplicate=True)
    assert outbox.handled == [{"move": 7}]


def test_a_refusal_is_replayed_without_the_database(outbox, known):
    def refuse(message):
        raise Reject("no", 410, detail={"why": "because"})

    message = outbox.message(1)
    refusal = outbox.send(message, refuse)
    assert without_queries(outbox, message) == refusal._replace(duplicate=True)


def test_another_payload_under_the_same_key_is_found_without_the_database(outbox, known):
    message = outbox.message({"a": 1, "b": 2})
    outbox.send(message)
    same = outbox.message({"b": 2, "a": 1}, id=message.id, n=1)
    assert without_queries(outbox, same).code == 0
    other = outbox.message({"a": 1}, id=message.id, n=1)
    assert without_queries(outbox, other) == base.KEY_REUSED


def test_the_key_of_another_identity_or_stream_is_another_one(outbox, known):
    message = outbox.message(1)
    first = outbox.send(message)
    assert outbox.send(message, identity="user:2").duplicate is False
    other = Outbox("board:2")
    assert other.send(other.message(1, id=message.id)).duplicate is False
    assert outbox.send(message) == first._replace(duplicate=True)


def test_answers_are_known_as_long_as_rows(outbox, known, configure):
    configure(DEDUP_SECONDS=60)
    outbox.send(outbox.message(1))
    [milliseconds] = known().values()
    assert 50_000 < milliseconds <= 60_000


@pytest.mark.parametrize(
    ("earlier", "outcome"),
    [("fails", base.FAILED), ("is out of order", base.ORDER), ("is old", base.EXPIRED)],
)
def test_what_is_no_final_answer_is_not_kept(outbox, known, earlier, outcome):
    def fail(message):
        raise RuntimeError("defect")

    match earlier:
        case "fails":
            assert outbox.send(outbox.message(1), fail) == outcome
        case "is out of order":
            assert outbox.send(outbox.message(1, n=2)) == outcome
        case "is old":
            assert outbox.send(outbox.message(1, n=1, settled=1)) == outcome
    assert known() == {}


def test_an_answer_is_kept_after_the_outer_commit_and_not_before(outbox, known):
    message = outbox.message(1)
    with transaction.atomic():
        outbox.send(message)
        assert known() == {}
    assert len(known()) == 1


def test_an_answer_that_was_rolled_back_is_not_kept(outbox, known):
    message = outbox.message(1)
    with transaction.atomic():
        outbox.send(message)
        transaction.set_rollback(True)
    assert known() == {}
    outcome = outbox.send(message)
    assert (outcome.seq, outcome.duplicate) == (1, False)


def test_answers_that_redis_forgot_are_in_the_rows(outbox, redis):
    message = outbox.message(1)
    first = outbox.send(message)
    flush(redis)
    assert outbox.send(message) == first._replace(duplicate=True)
    assert published() == ["1"]


def test_answers_may_lie_in_a_cluster(outbox, configure, redis_cluster_urls):
    configure(DEDUP={"LOCATION": redis_cluster_urls, "CLUSTER": True})
    messages = [outbox.message(n) for n in range(8)]
    for message in messages:
        outbox.send(message)
    assert [without_queries(outbox, message).seq for message in messages] == list(range(1, 9))


# -- a Redis that breaks ---------------------------------------------------------------------------------


def test_without_redis_messages_take_effect_as_before(outbox, redis, caplog):
    redis.kill()
    message = outbox.message(1)
    first = outbox.send(message)
    assert outbox.send(message) == first._replace(duplicate=True)
    assert published() == ["1"]
    assert [r.levelno for r in caplog.records if r.name == module.__name__] == [logging.WARNING]


def test_a_redis_that_hangs_is_waited_for_once_not_for_each_message(outbox, redis, monkeypatch):
    asked, run = [], Endpoint.run
    monkeypatch.setattr(Endpoint, "run", lambda *args: (asked.append(args), run(*args))[1])
    monkeypatch.setattr(module, "PAUSE", 60)
    outbox.send(outbox.message(0))
    assert len(asked) == 2
    redis.freeze()
    for n in range(20):
        outbox.send(outbox.message(n))
    redis.thaw()
    assert len(asked) == 3
    assert len(published()) == 21


def test_a_redis_that_comes_back_is_used_again(outbox, redis, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.05)
    redis.kill()
    outbox.send(outbox.message(1))
    redis.start()
    deadline = time.monotonic() + 10
    while True:
        message = outbox.message(2)
        outbox.send(message)
        with CaptureQueriesContext(connection) as queries:
            assert outbox.send(message).duplicate
        if not queries.captured_queries:
            break
        assert time.monotonic() < deadline


# -- `async def` handlers --------------------------------------------------------------------------------


class Handler:
    """Publishes the payload, after it was told to go on."""

    def __init__(self, error=None):
        self.runs = 0
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.error = error

    async def __call__(self, message):
        self.runs += 1
        self.entered.set()
        await self.go.wait()
        if self.error:
            raise self.error
        return {"seq": (await apublish(message.stream, message.payload)).seq}


@pytest.fixture
def asked(monkeypatch):
    """Which rows were asked: "look" at one, "take" one."""
    asked = []
    for name, method in (("look", claims.Claim._look), ("take", claims.Claim._take_row)):

        def counted(claim, name=name, method=method):
            asked.append(name)
            return method(claim)

        monkeypatch.setattr(claims.Claim, method.__name__, counted)
    return asked


@pytest.fixture
def scripts_run(monkeypatch):
    """How often Redis was asked by a script."""
    run, calls = Endpoint.run, []

    def counted(endpoint, *args, **options):
        calls.append(args)
        return run(endpoint, *args, **options)

    monkeypatch.setattr(Endpoint, "run", counted)
    return lambda: len(calls)


async def begun(outbox, message, handler):
    running = asyncio.create_task(aprocess(handler, message, outbox.identity))
    await handler.entered.wait()
    return running


async def test_copies_of_what_is_worked_on_wait_at_redis_and_get_its_answer(
    outbox, known, asked, patient, scripts_run
):
    handler, message = Handler(), outbox.message(1)
    running = await begun(outbox, message, handler)
    copies = [asyncio.create_task(aprocess(handler, message, outbox.identity)) for _ in range(3)]
    before = scripts_run()
    await eventually(lambda: scripts_run() >= before + 2 * len(copies))  # each has looked again
    handler.go.set()
    first = await running
    assert await asyncio.gather(*copies) == [first._replace(duplicate=True)] * 3
    assert asked == ["take"]
    assert handler.runs == 1


async def test_the_claim_is_renewed_and_then_the_answer(outbox, known, asked, configure, hasty):
    configure(CLAIM_SECONDS=0.5, DEDUP_SECONDS=60)
    handler, message = Handler(), outbox.message(1)
    running = await begun(outbox, message, handler)
    ends = time.monotonic() + 1.2
    while time.monotonic() < ends:
        assert await aprocess(handler, message, outbox.identity) == base.IN_PROGRESS
        [milliseconds] = known().values()
        assert 0 < milliseconds <= 500
    handler.go.set()
    await running
    assert asked == ["take"]
    [milliseconds] = known().values()
    assert milliseconds > 500
    assert handler.runs == 1


@pytest.mark.parametrize("ends", [False, True], ids=["first", "copy"])
async def test_a_redis_that_goes_in_the_middle_makes_no_second_run(outbox, redis, patient, asked, ends):
    handler, message = Handler(), outbox.message(1)
    running = await begun(outbox, message, handler)
    redis.kill()
    copy = asyncio.create_task(aprocess(handler, message, outbox.identity))
    if ends:  # it found the row claimed
        await eventually(lambda: len(asked) > 1)
    handler.go.set()
    first = await running
    assert (first.code, first.seq) == (0, 1)
    assert await copy == first._replace(duplicate=True)
    assert handler.runs == 1


async def test_a_claim_that_ran_out_in_redis_alone_is_still_held_by_the_row(outbox, redis, hasty):
    handler, message = Handler(), outbox.message(1)
    running = await begun(outbox, message, handler)
    flush(redis)
    assert await aprocess(handler, message, outbox.identity) == base.IN_PROGRESS
    with Redis(host=HOST, port=redis.port) as client:
        assert client.keys() == [], "who found the row claimed gives back what he claimed in Redis"
    handler.go.set()
    first = await running
    assert await aprocess(handler, message, outbox.identity) == first._replace(duplicate=True)
    assert handler.runs == 1


async def test_a_failure_gives_the_key_back_at_once(outbox, known):
    message = outbox.message(1)
    failing, other = Handler(RuntimeError("defect")), Handler()
    failing.go.set()
    other.go.set()
    assert await aprocess(failing, message, outbox.identity) == base.FAILED
    assert known() == {}
    outcome = await aprocess(other, message, outbox.identity)
    assert (outcome.code, outcome.duplicate) == (0, False)


async def test_a_message_that_may_not_run_leaves_no_claim(outbox, known):
    handler = Handler()
    assert await aprocess(handler, outbox.message(1, n=2), outbox.identity) == base.ORDER
    assert await aprocess(handler, outbox.message(1, n=1, settled=3), outbox.identity) == base.EXPIRED
    assert known() == {}
    assert handler.runs == 0


async def test_a_claim_whose_worker_died_goes_to_the_next_when_it_runs_out(outbox, known, configure, patient):
    configure(CLAIM_SECONDS=0.4)
    dying, other, message = Handler(), Handler(), outbox.message(1)
    running = await begun(outbox, message, dying)
    running.cancel()  # as a killed process: nothing is given back
    await asyncio.wait([running])
    other.go.set()
    outcome = await aprocess(other, message, outbox.identity)
    assert (outcome.code, outcome.duplicate, other.runs) == (0, False, 1)


async def test_the_answer_of_a_row_is_found_behind_a_claim_nobody_gave_back(
    outbox, redis, configure, patient
):
    """Redis was away when the handler ended, and came back with the old claim."""
    configure(CLAIM_SECONDS=1)
    handler, message = Handler(), outbox.message(1)
    running = await begun(outbox, message, handler)
    redis.freeze()
    handler.go.set()
    first = await running
    redis.thaw()
    assert await aprocess(handler, message, outbox.identity) == first._replace(duplicate=True)
    assert handler.runs == 1


# -- the setting -----------------------------------------------------------------------------------------


def test_without_the_setting_there_are_none():
    assert answers() is None


@pytest.mark.parametrize(
    "given", [{"LOCATION": 5}, {"LOCATION": "nowhere"}, {"LOCATON": "redis://x"}], ids=str
)
def test_a_setting_that_cannot_be_right_is_named_by_a_check(configure, given):
    configure(DEDUP=given)
    with pytest.raises((ImproperlyConfigured, TypeError)):
        answers()
    with pytest.raises(SystemCheckError, match="E001"):
        call_command("check")


async def test_rows_are_written_whatever_redis_knows(outbox, known):
    handler, message = Handler(), outbox.message(1)
    handler.go.set()
    await aprocess(handler, message, outbox.identity)
    row = await sync_to_async(ProcessedMessage.objects.get)()
    assert (row.status, row.key) == ("acked", message.id)
    await eventually(lambda: len(known()) == 1)

"""Messages to streams whose log is in Redis: claimed, run and answered without a transaction (design 8.2)."""

import asyncio
import time
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from reconnect_channels import Reject, apublish, publish
from reconnect_channels.dedup import base, claims
from reconnect_channels.dedup.redis import Claim, _run, process
from reconnect_channels.log import log_for
from reconnect_channels.models import ProcessedMessage, Producer
from reconnect_channels.protocol.position import Position
from tests import services
from tests.live.peer import eventually
from tests.servers import HOST

from .conftest import Outbox

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("closing_threads"),
    pytest.mark.database,
    pytest.mark.redis,
]

STREAM = "fast:1"


def logs(location, **options):
    return {
        "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
        "fast": {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": location,
            "PREFIXES": ["fast:"],
            **options,
        },
    }


@pytest.fixture
def outbox(configure, redis_url):
    configure(STREAM_LOGS=logs(redis_url, KEY_PREFIX=f"{uuid.uuid4()}:"))
    yield Outbox(STREAM)
    log_for(STREAM).endpoint.close()


@pytest.fixture
def redis(configure, redis_server):
    """A Redis of this test alone, that may break: it holds the stream."""
    configure(STREAM_LOGS=logs(services.redis_url(redis_server), TIMEOUT=0.2))
    yield redis_server
    log_for(STREAM).endpoint.close()


def entries(stream=STREAM):
    log = log_for(stream)
    head = log.heads([stream])[stream]
    return log.read(stream, Position(head.epoch, head.floor - 1, head.floor_checksum), 1_000).entries


def texts():
    return [entry.text for entry in entries()]


def handlers(outbox):
    """The same handler twice: `def` and `async def`."""

    def handler(message):
        outbox.handled.append(message.payload)
        return {"seq": publish(message.stream, message.payload).seq}

    async def ahandler(message):
        outbox.handled.append(message.payload)
        return {"seq": (await apublish(message.stream, message.payload)).seq}

    return handler, ahandler


@pytest.fixture(params=["def", "async"])
def handler(request, outbox):
    return handlers(outbox)[request.param == "async"]


def send(outbox, message, handler):
    return process(handler, message, outbox.identity, log_for(outbox.stream))


async def test_an_ack_is_stored_and_replayed_and_no_row_is_written(outbox, handler):
    message = outbox.message({"move": 7})
    first = await send(outbox, message, handler)
    head = log_for(STREAM).heads([STREAM])[STREAM]
    assert first == base.Outcome(result='{"seq":1}', epoch=head.epoch, seq=1)
    assert await send(outbox, message, handler) == first._replace(duplicate=True)
    assert outbox.handled == [{"move": 7}]
    assert texts() == ['{"move":7}']
    assert not await sync_to_async(ProcessedMessage.objects.exists)()
    assert not await sync_to_async(Producer.objects.exists)()


async def test_of_many_at_once_one_runs(outbox, handler):
    message = outbox.message(1)
    outcomes = await asyncio.gather(*(send(outbox, message, handler) for _ in range(8)))
    [first] = [outcome for outcome in outcomes if not outcome.duplicate]
    assert outcomes.count(first._replace(duplicate=True)) == 7
    assert texts() == ["1"]


async def test_an_entry_has_the_message_as_its_key_and_an_id_of_it(outbox, handler):
    message = outbox.message(1)
    await send(outbox, message, handler)
    [entry] = entries()
    assert (entry.key, entry.id) == (message.id, str(uuid.uuid5(uuid.UUID(message.id), "user:1 1")))


@pytest.mark.parametrize(
    ("error", "code"), [(Reject("no", 410, detail={"a": 1}), 410), (ValidationError("no"), 422)], ids=str
)
async def test_a_refusal_is_stored_and_replayed_and_the_next_message_runs(outbox, handler, error, code):
    def refuse(message):
        raise error

    message = outbox.message(1)
    refusal = await send(outbox, message, refuse)
    assert refusal.code == code
    assert await send(outbox, message, handler) == refusal._replace(duplicate=True)
    assert outbox.handled == []
    assert (await send(outbox, outbox.message(2), handler)).seq == 1


@pytest.mark.parametrize("failing", ["def", "async"])
async def test_a_failure_gives_the_key_back_at_once_and_the_next_message_waits(outbox, failing):
    def fail(message):
        publish(message.stream, message.payload)
        raise RuntimeError("defect")

    async def afail(message):
        await apublish(message.stream, message.payload)
        raise RuntimeError("defect")

    message = outbox.message(1)
    assert await send(outbox, message, afail if failing == "async" else fail) == base.FAILED
    handler, _ = handlers(outbox)
    assert await send(outbox, outbox.message(2), handler) == base.ORDER
    outcome = await send(outbox, message, handler)
    assert (outcome.seq, outcome.duplicate) == (1, False)
    assert texts() == ["1"], "what the failed run had published is found, not published again"


async def test_an_answer_ends_after_its_time_and_its_message_is_expired_not_run(outbox, handler, configure):
    configure(DEDUP_SECONDS=0.3)
    message = outbox.message(1)
    await send(outbox, message, handler)
    async with asyncio.timeout(10):
        while (outcome := await send(outbox, message, handler)) != base.EXPIRED:
            assert outcome.duplicate
    assert texts() == ["1"]


# -- workers that die, and those that are slow -----------------------------------------------------------


async def test_the_next_one_takes_over_from_a_worker_that_died_and_yields_the_same_entry(
    outbox, configure, patient
):
    configure(CLAIM_SECONDS=0.4)
    message, published = outbox.message(1), asyncio.Event()

    async def dying(message):
        await apublish(message.stream, message.payload)
        published.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(send(outbox, message, dying))
    await published.wait()
    [before] = entries()
    running.cancel()  # as a killed process: nothing is given back
    await asyncio.wait([running])
    outcome = await send(outbox, message, handlers(outbox)[0])
    assert (outcome.seq, outcome.duplicate) == (1, False)
    assert entries() == [before]


async def test_a_claim_is_busy_while_its_handler_lives_however_long(outbox, configure, hasty):
    configure(CLAIM_SECONDS=0.4)
    message, go, runs = outbox.message(1), asyncio.Event(), []

    async def slow(message):
        runs.append(message)
        await go.wait()

    running = asyncio.create_task(send(outbox, message, slow))
    await eventually(lambda: runs)
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        assert await send(outbox, message, slow) == base.IN_PROGRESS
        assert await send(outbox, outbox.message(2, n=2), slow) == base.ORDER
    go.set()
    first = await running
    assert await send(outbox, message, slow) == first._replace(duplicate=True)
    assert len(runs) == 1


def taken(outbox, message):
    claim = Claim(message, outbox.identity, log_for(outbox.stream))
    assert claim.take() is None
    return claim


def test_whoever_lost_the_claim_can_neither_renew_nor_answer_nor_release_it(outbox, configure):
    configure(CLAIM_SECONDS=0.05)
    message = outbox.message(1)
    lost = taken(outbox, message)
    time.sleep(0.06)
    configure(CLAIM_SECONDS=10)
    owner = taken(outbox, message)
    lost.renew()
    lost.release()
    assert lost.end(base.Outcome(result='"lost"')) == base.IN_PROGRESS
    assert owner.end(base.Outcome(result='"owner"')) == base.Outcome(result='"owner"')
    assert lost.take() == base.Outcome(result='"owner"', duplicate=True)


def test_calls_that_arrive_twice_say_the_same(outbox):
    claim = taken(outbox, outbox.message(1))
    assert claim.take() is None
    ack = base.Outcome(result="1")
    assert claim.end(ack) == claim.end(ack) == ack
    claim.release()
    claim.renew()
    assert claim.take() == ack._replace(duplicate=True), "an answer is not given back"


def test_a_copy_with_another_payload_is_refused_even_after_the_claim_ran_out(outbox, configure):
    configure(CLAIM_SECONDS=0.05)
    message = outbox.message(1)
    taken(outbox, message)
    time.sleep(0.06)
    other = Claim(outbox.message("other", id=message.id, n=1), outbox.identity, log_for(STREAM))
    assert other.take() == base.KEY_REUSED


# -- a Redis that breaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async"])
async def test_without_redis_nothing_runs_and_the_message_is_asked_for_again(redis, kind):
    outbox = Outbox(STREAM)
    handler = handlers(outbox)[kind == "async"]
    redis.kill()
    message = outbox.message(1)
    assert await send(outbox, message, handler) == base.UNAVAILABLE
    assert outbox.handled == []
    redis.start()
    assert (await send(outbox, message, handler)).seq == 1


@pytest.mark.parametrize("kind", ["def", "async"])
async def test_an_outage_in_the_handler_is_no_failure_of_it(outbox, kind):
    """The client gives up after five failures, and waits for the end of an outage."""
    handler, message = handlers(outbox)[0], outbox.message(1)

    def away(message):
        raise RedisConnectionError("away")

    async def aaway(message):
        raise RedisConnectionError("away")

    assert await send(outbox, message, aaway if kind == "async" else away) == base.UNAVAILABLE
    assert (await send(outbox, message, handler)).duplicate is False


async def test_an_append_that_failed_after_the_handlers_own_commit_is_no_ack(redis):
    outbox = Outbox(STREAM)
    message = outbox.message(1)

    def handler(message):
        with transaction.atomic():
            publish(message.stream, message.payload)
            if not outbox.handled:
                redis.kill()
            outbox.handled.append(message.payload)

    assert await send(outbox, message, handler) == base.UNAVAILABLE
    redis.start()
    outcome = await send(outbox, message, handler)
    assert (outcome.code, outcome.seq) == (0, 1)
    assert texts() == ["1"]


async def test_what_redis_forgot_in_the_middle_is_published_again_in_its_new_life(redis):
    outbox = Outbox(STREAM)
    message = outbox.message(1)

    def handler(message):
        entry = publish(message.stream, message.payload)
        if not outbox.handled:
            with Redis(host=HOST, port=redis.port) as client:
                client.flushall()
        outbox.handled.append(entry.epoch)

    outcome = await send(outbox, message, handler)
    head = log_for(STREAM).heads([STREAM])[STREAM]
    assert (outcome.code, outcome.epoch) == (0, head.epoch)
    assert texts() == ["1"]
    assert len(set(outbox.handled)) == 2


async def test_scripts_that_redis_forgot_are_sent_again(redis):
    outbox = Outbox(STREAM)
    handler, _ = handlers(outbox)
    for n in range(3):
        with Redis(host=HOST, port=redis.port) as client:
            client.script_flush()
        assert (await send(outbox, outbox.message(n), handler)).seq == n + 1


async def test_on_a_cluster_claims_lie_beside_their_streams(configure, redis_cluster_urls):
    configure(STREAM_LOGS=logs(redis_cluster_urls, CLUSTER=True, KEY_PREFIX=f"{uuid.uuid4()}:"))
    for n in range(8):
        outbox = Outbox(f"fast:{n}")
        message = outbox.message(n)
        first = await send(outbox, message, handlers(outbox)[0])
        assert (first.code, first.seq) == (0, 1)
        assert await send(outbox, message, handlers(outbox)[0]) == first._replace(duplicate=True)
    log_for(STREAM).endpoint.close()


# -- the same rules --------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.integers(1, 4),  # n
        st.integers(0, 3),  # settled
        st.integers(0, 3),  # which key
        st.integers(0, 1),  # which payload
        st.sampled_from(["ack", "refuse", "fail"]),
    ),
    max_size=12,
)


@hypothesis_settings(
    max_examples=hypothesis_settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_both_ways_to_claim_answer_every_sequence_of_messages_alike(outbox, steps):
    """A `def` handler with a row differs in one thing: what a failure rolls back forgets `settled`, too."""
    slow, fast = Outbox("slow:1", str(uuid.uuid4())), Outbox(STREAM, str(uuid.uuid4()))
    fast.producer = slow.producer
    keys = [str(uuid.uuid4()) for _ in range(4)]
    log = log_for(STREAM)

    def handler(message):
        match message.payload[0]:
            case "refuse":
                raise Reject("no")
            case "fail":
                raise RuntimeError("defect")
        return message.payload

    def by_row(message):
        claim = claims.Claim(message, slow.identity)
        known = claim.take()
        if known is not None:
            return known
        outcome = base.run(handler, message, slow.identity)
        if outcome == base.FAILED:
            claim.release()
            return outcome
        return claim.finish(outcome)

    for n, settled, key, payload, then in steps:
        fields = {"n": n, "settled": settled, "id": keys[key]}
        expected = by_row(slow.message([then, payload], **fields))
        assert _run(handler, Claim(fast.message([then, payload], **fields), fast.identity, log)) == expected

"""What somebody wrote is blanked, what is known of them goes, and every position still holds."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections

from reconnect_channels import archive, folding, news, publish, publish_many
from reconnect_channels.consumers import DeltaSyncMixin
from reconnect_channels.erasure import MARK, NOBODY, erase
from reconnect_channels.live.hub import get_hub
from reconnect_channels.log import log_for
from reconnect_channels.log import redis as redis_log
from reconnect_channels.models import (
    ClientSession,
    DriftReport,
    ProcessedMessage,
    Producer,
    StoredSnapshot,
    Stream,
    StreamEntry,
)
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.position import Position
from reconnect_channels.publication import Authoring, authoring
from reconnect_channels.revocation import Cut
from reconnect_channels.testing import closed_hub
from tests.live.peer import Peer, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

ADA, EVE = "user:1", "user:2"
ERASED = json.loads(MARK)


@pytest.fixture
async def hub() -> AsyncIterator[None]:
    async with closed_hub():
        yield
    await sync_to_async(connections.close_all)()


def entries(stream: str) -> list[Entry]:
    log = log_for(stream)
    head = log.heads([stream])[stream]
    start = Position(head.epoch, head.floor - 1, head.floor_checksum)
    return log.read(stream, start, 10_000).entries


def payloads(stream: str) -> list[Any]:
    return [entry.payload for entry in entries(stream)]


def write(stream: str, *authors: str) -> None:
    for n, author in enumerate(authors, 1):
        publish(stream, {"n": n, "by": author}, author=author)


def identities(model: Any) -> list[str]:
    return list(model.objects.order_by("identity").values_list("identity", flat=True))


STREAMS = ["room:a", pytest.param("fast:a", marks=pytest.mark.redis)]


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> str:
    """A stream of each kind of log."""
    name: str = request.param
    if name.startswith("fast:"):
        request.getfixturevalue("fast")
    return name


# -- payloads ------------------------------------------------------------------------------------------


def test_what_somebody_wrote_is_blanked_and_nothing_else_changes(stream: str):
    write(stream, ADA, EVE, "", ADA)
    before, head = entries(stream), log_for(stream).heads([stream])[stream]
    result = erase(ADA)
    assert (result.entries, result.streams, result.failed) == (2, 1, {})
    after = entries(stream)
    assert [entry.payload for entry in after] == [ERASED, before[1].payload, before[2].payload, ERASED]
    assert [entry._replace(text="") for entry in after] == [entry._replace(text="") for entry in before]
    assert log_for(stream).heads([stream])[stream] == head
    for entry in before:
        log_for(stream).read(stream, entry.position, 10)  # raises where the position doesn't hold
    publish(stream, "on")
    assert payloads(stream)[-1] == "on"
    assert erase(ADA).entries == 0, "nothing is left"


def test_the_author_is_who_sent_the_message_and_is_not_told_to_clients(stream: str):
    token = authoring.set(Authoring(str(uuid.uuid4()), "ses: ü/1%"))
    try:
        publish(stream, "a secret")
        publish_many([(stream, "another"), (stream, "one")])
        publish(stream, "of somebody else", author=EVE)
    finally:
        authoring.reset(token)
    assert all("ses" not in entry.wire() for entry in entries(stream))
    assert erase("ses: ü/1%").entries == 3
    assert payloads(stream) == [ERASED, ERASED, ERASED, "of somebody else"]


def test_a_dry_run_counts_what_would_go_and_changes_nothing(stream: str):
    write(stream, ADA, EVE, ADA)
    Producer.objects.create(identity=ADA, producer="p", stream=stream)
    before = payloads(stream)
    result = erase(ADA, dry_run=True)
    assert (result.entries, result.streams, result.producers) == (2, 1, 1)
    assert payloads(stream) == before
    assert Producer.objects.count() == 1
    assert erase(ADA) == result


def test_an_identity_whose_name_begins_like_anothers_is_another(stream: str):
    write(stream, "user:1", "user:10", "user:%", "")
    assert erase("user:1").entries == 1
    assert payloads(stream)[1:] == [{"n": n, "by": by} for n, by in ((2, "user:10"), (3, "user:%"), (4, ""))]


def test_an_identity_is_known_by_as_much_of_it_as_is_stored(stream: str):
    write(stream, "x" * 300)
    assert erase("x" * 300).entries == 1
    assert payloads(stream) == [ERASED]


def test_nobody_cannot_be_erased():
    write("room:a", "")
    with pytest.raises(ValueError, match="identity"):
        erase("")
    assert payloads("room:a") == [{"n": 1, "by": ""}]


@pytest.mark.redis
def test_a_stream_in_redis_is_copied_in_steps_while_others_append(fast: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis_log, "PER_CALL", 3)
    write("fast:a", *[ADA, EVE] * 5)
    run, steps = fast.endpoint.run, []

    def step(script: Any, *args: Any) -> Any:
        if script is redis_log.BLANK:
            steps.append(publish("fast:a", "meanwhile") if len(steps) < 2 else None)
        return run(script, *args)

    monkeypatch.setattr(fast.endpoint, "run", step)
    assert erase(ADA).entries == 5
    assert len(steps) == 5, "12 entries, 3 a step, and one that finds the end"
    said = payloads("fast:a")
    assert said[:10:2] == [ERASED] * 5
    assert [payload["by"] for payload in said[1:10:2]] == [EVE] * 5
    assert said[10:] == ["meanwhile"] * 2
    assert not list(fast.endpoint.scan("*:copy"))


@pytest.mark.redis
def test_a_copy_that_was_left_behind_is_no_hindrance_once_it_is_gone(
    fast: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redis_log, "PER_CALL", 2)
    monkeypatch.setattr(redis_log, "UNFINISHED", 0.3)
    write("fast:a", ADA, EVE, ADA, EVE)
    keys = fast.keys("fast:a", "meta", "stream", "copy")
    assert fast.endpoint.run(redis_log.BLANK, keys, "killed", EVE, MARK, 2, 300) == 1
    assert erase(ADA).entries == 2
    assert [ADA in str(payload) for payload in payloads("fast:a")] == [False] * 4
    assert [EVE in str(payload) for payload in payloads("fast:a")] == [False, True, False, True]


@pytest.mark.redis
def test_how_long_a_stream_in_redis_lives_and_where_it_begins_stay(fast: Any, settings: Any):
    settings.RECONNECT_CHANNELS["RETENTION"] = {"fast:": {"SECONDS": 1000}}
    settings.RECONNECT_CHANNELS = dict(settings.RECONNECT_CHANNELS)
    log: Any = log_for("fast:a")
    write("fast:a", ADA, EVE, ADA)
    log.trim("fast:a", 2)
    erase(ADA)
    [key] = log.keys("fast:a", "stream")
    assert 900_000 < log.endpoint.client.pttl(key) <= 1_000_000
    assert log.heads(["fast:a"])["fast:a"].floor == 2
    assert payloads("fast:a") == [{"n": 2, "by": EVE}, ERASED]
    log.endpoint.close()


@pytest.mark.redis
def test_streams_of_a_cluster_are_blanked_in_their_slots(settings: Any, redis_cluster_urls: list[str]):
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {
                "BACKEND": "reconnect_channels.log.redis.RedisLog",
                "LOCATION": redis_cluster_urls,
                "CLUSTER": True,
                "KEY_PREFIX": f"{uuid.uuid4()}:",
            },
        }
    }
    names = [f"room:{n}" for n in range(5)]
    for name in names:
        write(name, ADA, EVE)
    result = erase(ADA)
    assert (result.entries, result.streams) == (5, 5)
    assert [payloads(name) for name in names] == [[ERASED, {"n": 2, "by": EVE}]] * 5
    log: Any = log_for("room:1")
    log.endpoint.close()


@pytest.mark.redis
def test_what_the_archive_holds_is_blanked_too(fast: Any):
    write("fast:a", ADA, EVE)
    list(archive.archive(fast))
    fast.trim("fast:a", 3)
    write("fast:a", ADA)
    result = erase(ADA)
    assert result.entries == 1
    assert payloads("fast:a") == [ERASED]
    assert StreamEntry.objects.get(seq=1).text == MARK
    list(archive.archive(fast))
    texts = StreamEntry.objects.order_by("seq").values_list("text", flat=True)
    assert [ADA in text for text in texts] == [False] * 3


# -- what else is known --------------------------------------------------------------------------------


def test_answers_are_blanked_and_sessions_producers_and_drift_reports_go():
    for who in (ADA, EVE):
        Producer.objects.create(identity=who, producer="p", stream="room:a", last_n=3)
        DriftReport.objects.create(
            stream="room:a", identity=who, client_id="c", epoch="e", seq=1, client_checksum=1
        )
        ClientSession.objects.create(key=who, identity=who, client_id="c", socket="s", node="n")
        for key, status, result in (("k1", "acked", '{"mail": "a@b.example"}'), ("k2", "rejected", '"why"')):
            ProcessedMessage.objects.create(
                identity=who, stream="room:a", key=key, status=status, payload_hash="h", result=result
            )
    result = erase(ADA)
    assert (result.answers, result.producers, result.sessions, result.reports) == (2, 1, 1, 1)
    for model in (Producer, DriftReport, ClientSession):
        assert identities(model) == [EVE]
    rows = ProcessedMessage.objects.order_by("identity", "key").values_list("status", "result")
    assert list(rows[:2]) == [("acked", "null"), ("rejected", "null")], "a retry isn't run again"
    assert "null" not in dict(rows[2:]).values()


# -- stored states -------------------------------------------------------------------------------------


class ErasableConsumer(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """The state is all texts; erased entries have none. `strict` ones aren't foreseen by its `reduce`."""

    stream_prefix = "erasable:"

    @classmethod
    def initial_state(cls, stream: str) -> Any:
        return []

    @classmethod
    def reduce(cls, state: Any, entry: Entry) -> Any:
        if entry.payload == "forget":
            return []
        if "strict" in entry.stream:
            return [*state, entry.payload["by"]]
        return [*state, entry.payload.get("by", "-")]


def state(stream: str) -> Any:
    return json.loads(folding.fold(ErasableConsumer, stream).text)


def store(stream: str) -> None:
    folding.fold(ErasableConsumer, stream, every=1)


def test_stored_states_are_folded_anew():
    stream = "erasable:a"
    write(stream, EVE, EVE)
    store(stream)
    write(stream, ADA, EVE)
    store(stream)
    result = erase(ADA)
    assert (result.states, result.unfolded) == (1, [])
    stored = StoredSnapshot.objects.order_by("seq")
    assert [(row.seq, json.loads(row.text)) for row in stored] == [
        (2, [EVE, EVE]),  # from before the first erased entry
        (4, [EVE, EVE, "-", EVE]),
    ]


def test_a_stream_whose_reduce_takes_no_erased_entries_stays_as_it_was_and_is_named():
    write("erasable:strict", ADA)
    store("erasable:strict")
    write("erasable:a", ADA)
    result = erase(ADA)
    assert isinstance(result.failed["erasable:strict"], KeyError)
    assert (result.streams, result.entries) == (1, 1)
    assert payloads("erasable:strict") == [{"n": 1, "by": ADA}]
    assert state("erasable:strict") == [ADA]
    assert payloads("erasable:a") == [ERASED]


def test_a_state_that_cannot_be_folded_anew_is_named_and_an_entry_can_make_it_right():
    stream = "erasable:a"
    write(stream, ADA, ADA)
    store(stream)
    log_for(stream).trim(stream, 2)
    publish(stream, "forget")
    result = erase(ADA)
    assert result.unfolded == [stream]
    assert payloads(stream) == [ERASED, "forget"]
    stored = StoredSnapshot.objects.filter(stream=stream)
    assert [(row.seq, row.text) for row in stored] == [(3, "[]")], "the newest one, and no older"


# -- hubs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["by news", "by the row"])
async def test_who_comes_later_gets_no_erased_payload_from_a_hub(
    hub: None, monkeypatch: pytest.MonkeyPatch, told: bool
):
    if not told:
        monkeypatch.setattr(news, "tell", lambda *_, **__: None)
    async with Peer() as first, Peer() as second:
        await first.greet({"notes:a": None})
        await first.sync("notes:a")
        await sync_to_async(write)("notes:a", ADA, EVE)
        delta = await first.hear("SYNC_DELTA", to=2)
        while delta["to"] < 2:
            delta = await first.sync("notes:a")
        feed = get_hub().feeds["notes:a"]
        assert feed.window is not None
        assert len(feed.window) == 2
        await sync_to_async(erase)(ADA)
        await eventually(lambda: feed.window is not None and len(feed.window) == 0)
        await second.greet({"notes:a": None})
        got: list[Any] = []
        while len(got) < 2:
            frame = await second.sync("notes:a")
            if frame["type"] == "SYNC_DELTA":
                got += [entry["payload"] for entry in frame["payload"]]
        assert got == [ERASED, {"n": 2, "by": EVE}]
        await sync_to_async(write)("notes:a", EVE)
        live = await first.hear("SYNC_DELTA", to=3)
        assert live["from"] == 2, "who is live goes on without a resync"


async def test_a_node_of_a_version_that_knows_no_erasure_ends_no_socket(hub: None):
    async with Peer() as peer:
        await peer.greet({"notes:a": None})
        await peer.sync("notes:a")
        get_hub().rights.apply([Cut(1, "", NOBODY, "", "", "a later cause", time.time())])
        assert (await peer.answer(peer.message("notes:a", "on")))["type"] == "ACK"
        assert not {"BYE", "ERROR"} & set(peer.kinds())


async def test_what_was_sent_over_a_socket_is_its_senders(hub: None):
    async with Peer() as peer:
        await peer.greet()
        for stream in ("notes:a", "notes:b"):
            assert (await peer.answer(peer.message(stream, "text")))["type"] == "ACK"
    row = await StreamEntry.objects.afirst()
    assert row is not None
    assert row.author.startswith("guest:")
    result = await sync_to_async(erase)(row.author)
    assert (result.entries, result.answers, result.producers) == (2, 2, 2)
    assert {text async for text in StreamEntry.objects.values_list("text", flat=True)} == {MARK}
    assert {text async for text in ProcessedMessage.objects.values_list("result", flat=True)} == {"null"}


# -- the command ---------------------------------------------------------------------------------------


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(
        "reconnect_erase", *arguments, stdout=out, stderr=options.pop("stderr", StringIO()), **options
    )
    return out.getvalue()


@pytest.mark.parametrize("by", ["name", "key"])
def test_the_command_takes_a_user_by_name_or_key(by: str):
    user = get_user_model().objects.create_user("ada")
    write("room:a", f"user:{user.pk}", f"user:{user.pk}0")
    said = run("--user", "ada" if by == "name" else str(user.pk), "--yes")
    assert said.startswith(f"user:{user.pk}: 1 entries, 1 streams, 0 stored states, 0 answers")
    assert payloads("room:a")[0] == ERASED


def test_the_command_takes_the_key_of_a_deleted_user_and_any_identity():
    write("room:a", "user:4711", "guest:x")
    run("--user", "4711", "--yes")
    run("--identity", "guest:x", "--yes")
    assert payloads("room:a") == [ERASED] * 2


def test_the_command_refuses_who_is_nobody_or_two():
    user = get_user_model().objects.create_user("ada")
    get_user_model().objects.create_user(str(user.pk))
    with pytest.raises(CommandError, match="no user 'eve'"):
        run("--user", "eve", "--yes")
    with pytest.raises(CommandError, match="name of one user and the key of another"):
        run("--user", str(user.pk), "--yes")
    with pytest.raises(CommandError, match="required"):
        run("--yes")
    with pytest.raises(CommandError, match="needs an identity"):
        run("--identity", "", "--yes")


@pytest.mark.redis
def test_the_command_says_when_a_log_is_away(settings: Any):
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
            "fast": {
                "BACKEND": "reconnect_channels.log.redis.RedisLog",
                "LOCATION": "redis://127.0.0.1:1",
                "PREFIXES": ["fast:"],
            },
        }
    }
    write("room:a", ADA)
    with pytest.raises(CommandError, match="run it again: ConnectionError"):
        run("--identity", ADA, "--yes")
    assert payloads("room:a") == [{"n": 1, "by": ADA}]


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("", False), ("no", False)])
def test_the_command_says_how_much_it_is_and_asks(
    monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool
):
    write("room:a", ADA)
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or answer)
    if goes_on:
        run("--identity", ADA)
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            run("--identity", ADA)
    assert "1 entries, 1 streams" in asked[0]
    assert (payloads("room:a") == [ERASED]) is goes_on


def test_the_command_only_counts_when_it_is_told_so():
    write("room:a", ADA)
    assert "1 entries, 1 streams" in run("--identity", ADA, "--dry-run")
    assert payloads("room:a") == [{"n": 1, "by": ADA}]


def test_the_command_fails_where_a_stream_could_not_be_erased():
    write("erasable:strict", ADA)
    store("erasable:strict")
    with pytest.raises(CommandError, match="erasable:strict: KeyError"):
        run("--identity", ADA, "--yes")


def test_the_command_names_states_that_may_hold_it_still():
    write("erasable:a", ADA, ADA)
    store("erasable:a")
    log_for("erasable:a").trim("erasable:a", 2)
    err = StringIO()
    run("--identity", ADA, "--yes", stderr=err)
    assert err.getvalue().startswith("erasable:a: its state couldn't be folded anew")


def test_states_of_a_consumer_that_this_process_does_not_know_are_left_and_named(
    monkeypatch: pytest.MonkeyPatch,
):
    write("erasable:a", ADA)
    store("erasable:a")
    monkeypatch.setattr("reconnect_channels.erasure.consumer_for", lambda stream: None)
    assert erase(ADA).unfolded == ["erasable:a"]
    assert payloads("erasable:a") == [ERASED]
    assert StoredSnapshot.objects.count() == 1


def test_nodes_of_the_version_before_append_while_a_deploy_rolls():
    write("room:a", "")
    pk = Stream.objects.get().pk
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO reconnect_channels_streamentry "
            "(stream_id, seq, uid, checksum, clock, text, created) "
            "SELECT stream_id, 2, %s, checksum, clock, text, created FROM reconnect_channels_streamentry",
            [str(uuid.uuid4())],
        )
    assert StreamEntry.objects.get(stream=pk, seq=2).author == ""


def test_entries_of_an_author_are_found_by_an_index():
    write("room:a", ADA, *[""] * 50)
    rows = StreamEntry.objects.filter(author=ADA).exclude(author="")
    plan = rows.explain()
    if connections["default"].vendor == "sqlite":
        assert "reconnect_entry_author" in plan
    assert Stream.objects.count() == 1

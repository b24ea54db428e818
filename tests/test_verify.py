"""reconnect_verify: what is stored is one unbroken history, or it says what isn't."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from reconnect_channels import folding, publish_many
from reconnect_channels.log import log_for
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.models import StoredSnapshot, Stream, StreamEntry
from reconnect_channels.protocol.codes import Resync
from reconnect_channels.verification import verify
from tests.app.consumers import NotesConsumer
from tests.log.conftest import drafts, fast  # noqa: F401 - a fixture
from tests.log.folded import TallyConsumer

pytestmark = [pytest.mark.django_db, pytest.mark.database]

A = "tally:a"
N = "notes:n"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Failed(Exception):
    """The exit code isn't 0; the text is what was written."""


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    try:
        call_command("reconnect_verify", *arguments, stdout=out, stderr=options.pop("stderr", StringIO()))
    except CommandError as error:
        raise Failed(f"{out.getvalue()}{error}") from None
    return out.getvalue()


def published(stream: str, count: int) -> None:
    publish_many((stream, n) for n in range(1, count + 1))


def problems(stream: str) -> list[str]:
    return [problem.text for problem in verify(stream).problems]


def entries(stream: str = A, **only: Any) -> Any:
    return StreamEntry.objects.filter(stream__name=stream, **only)


@pytest.fixture
def tally() -> None:
    """A stream of 1 200 entries, with stored states at 600 and 1 200."""
    for _ in range(2):
        published(A, 600)
        folding.fold(TallyConsumer, A, every=1)


def test_what_agrees_is_counted():
    published(A, 600)
    folding.fold(TallyConsumer, A, every=1)
    published(N, 3)
    assert run() == "2 streams, 603 entries, 1 stored states, 0 snapshots: all agree.\n"
    assert json.loads(run("--json")) == {
        "streams": 2,
        "entries": 603,
        "states": 1,
        "unproven": 0,
        "snapshots": 0,
        "problems": [],
    }


def test_streams_are_named_by_name_or_prefix():
    for stream in ("notes:1", "notes:11", "notes:2", A):
        published(stream, 1)
    assert run("notes:1").startswith("1 streams")
    assert run("notes:", "notes:1").startswith("3 streams")
    with pytest.raises(Failed, match="no stream is called 'other:'"):
        run("other:")
    assert not Stream.objects.filter(name="other:").exists()


def test_a_trimmed_stream_agrees_from_its_floor_and_its_oldest_state_on(tally: None):
    log_for(A).trim(A, 601)
    report = verify(A)
    assert (report.entries, report.states, report.unproven, report.problems) == (600, 1, 1, [])
    log_for(A).trim(A, 800)
    report = verify(A)
    assert (report.entries, report.states, report.unproven, report.problems) == (401, 0, 2, [])
    assert run().endswith("2 stored states have nothing left to be compared with.\n")


def test_a_new_epoch_is_the_same_history(tally: None):
    log_for(A).new_epoch(A, log_for(A).heads([A])[A].epoch)
    assert problems(A) == []


HURT: dict[str, tuple[Callable[[], Any], str]] = {
    "an entry's checksum": (
        lambda: entries(seq=700).update(checksum=5),
        "entry 700 has the checksum 5, not ",
    ),
    "an entry's id": (lambda: entries(seq=1).update(uid="0" * 36), "entry 1 has the checksum "),
    "a lost entry": (lambda: entries(seq=700).delete(), "entries 700 to 700 are missing"),
    "a lost page": (
        lambda: entries(seq__gt=100, seq__lt=900).delete(),
        "entries 101 to 1200 are missing, or ",
    ),
    "a lost end": (lambda: entries(seq__gt=1_100).delete(), "entries 1101 to 1200 are missing, or "),
    "nothing left": (lambda: entries().delete(), "entries 1 to 1200 are missing, or "),
    "a head that is behind": (
        lambda: Stream.objects.update(head=F("head") - 1),
        "the head is 1199, but there are entries up to 1200",
    ),
    "a head's checksum": (
        lambda: Stream.objects.update(checksum=5),
        "the head's checksum is 5, the last entry's ",
    ),
    "a floor's checksum": (
        lambda: Stream.objects.update(floor_checksum=5),
        "the checksum before the first entry is 5, not 0",
    ),
    "a payload": (
        lambda: entries(seq=700).update(text="0"),
        "the state stored at 1200 isn't what reduce makes of the entries",
    ),
    "a state": (
        lambda: StoredSnapshot.objects.filter(seq=600).update(text="{}"),
        "the state stored at 600 isn't what reduce makes of the entries",
    ),
    "a state's checksum": (
        lambda: StoredSnapshot.objects.filter(seq=600).update(checksum=5),
        "the state stored at 600 has the checksum 5, the log ",
    ),
    "a state of the future": (
        lambda: StoredSnapshot.objects.filter(seq=1_200).update(seq=1_300),
        "the state stored at 1300 lies beyond the head 1200",
    ),
    "a payload that reduce can't take": (
        lambda: StoredSnapshot.objects.filter(seq=600).update(text='{"at": 600}') and log_for(A).trim(A, 600),
        "reduce failed at entry 601: KeyError('all')",
    ),
}


@pytest.mark.parametrize("what", HURT)
def test_what_does_not_agree_is_said_in_plain_words(tally: None, what: str):
    hurt, said = HURT[what]
    hurt()
    told = problems(A)
    assert [text for text in told if text.startswith(said)], told
    with pytest.raises(Failed, match="what is stored doesn't agree") as failed:
        run()
    assert f"{A}: {said}" in str(failed.value)
    with pytest.raises(Failed) as failed:
        run("--json")
    found = json.loads(str(failed.value).splitlines()[0].removesuffix("what is stored doesn't agree"))
    assert {problem["stream"] for problem in found["problems"]} == {A}


def test_a_stream_with_many_problems_tells_some(tally: None):
    entries(seq__gt=10).update(checksum=F("checksum") + F("seq"))
    assert len(problems(A)) == 11
    assert problems(A)[-1] == "and more"


def test_the_position_of_a_snapshot_must_be_in_the_log(monkeypatch: pytest.MonkeyPatch):
    published(N, 3)
    monkeypatch.setattr(NotesConsumer, "get_snapshot", classmethod(lambda cls, stream: {}), raising=False)
    assert run(N) == "1 streams, 3 entries, 0 stored states, 1 snapshots: all agree.\n"

    def fail(cls: Any, stream: str) -> Any:
        raise RuntimeError("broken\n\x1b[31m")

    monkeypatch.setattr(NotesConsumer, "get_snapshot", classmethod(fail))
    assert problems(N) == [r"get_snapshot failed: RuntimeError('broken\n\x1b[31m')"]


@pytest.mark.django_db(transaction=True)
def test_an_async_snapshot_is_looked_at_too(monkeypatch: pytest.MonkeyPatch):
    async def get_snapshot(cls: Any, stream: str) -> Any:
        return {}

    published(N, 3)
    monkeypatch.setattr(NotesConsumer, "get_snapshot", classmethod(get_snapshot), raising=False)
    assert verify(N).snapshots == 1


def test_a_stream_that_is_trimmed_meanwhile_is_read_again(tally: None, monkeypatch: pytest.MonkeyPatch):
    read, trims = DatabaseLog.read, []

    def trimming(log: DatabaseLog, stream: str, after: Any, limit: int) -> Any:
        if after.seq == 500 and not trims:
            trims.append(log.trim(stream, 900))
        return read(log, stream, after, limit)

    monkeypatch.setattr(DatabaseLog, "read", trimming)
    report = verify(A)
    assert (report.entries, report.problems) == (301, [])


def test_a_stream_that_never_rests_is_given_up(tally: None, monkeypatch: pytest.MonkeyPatch):
    def never(log: DatabaseLog, stream: str, after: Any, limit: int) -> Any:
        raise folding.Mismatch(Resync.EPOCH, log.heads([stream])[stream])

    monkeypatch.setattr(DatabaseLog, "read", never)
    assert problems(A) == ["it changes faster than it can be read: try again"]


def test_long_work_shows_how_far_it_is(tally: None):
    terminal = Terminal()
    run(stderr=terminal)
    assert "streams; tally:a: " in terminal.getvalue()


def test_a_database_that_is_gone_is_said(tally: None, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> Any:
        raise OSError("gone")

    monkeypatch.setattr(DatabaseLog, "read", fail)
    with pytest.raises(Failed, match=r"tally:a couldn't be read: OSError\('gone'\)"):
        run()


def test_reading_writes_nothing(tally: None, django_assert_max_num_queries: Any):
    with django_assert_max_num_queries(20) as queries:
        run()
    assert connection.connection is not None
    assert not [q["sql"] for q in queries.captured_queries if not q["sql"].startswith("SELECT")]


@pytest.mark.redis
def test_a_log_in_redis_is_verified_too(fast: Any):  # noqa: F811
    fast.append("fast:a", drafts(1_100), 0)
    report = verify("fast:a")
    assert (report.entries, report.problems) == (1_100, [])
    assert run("fast:").startswith("1 streams, 1,100 entries")
    (meta,) = fast.keys("fast:a", "meta")
    fast.endpoint.client.hset(meta, "checksum", 5)
    assert problems("fast:a")[0].startswith("the head's checksum is 5, the last entry's ")

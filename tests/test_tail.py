"""reconnect_tail shows a stream as it grows; reconnect_publish makes it grow."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command

from reconnect_channels import publish
from reconnect_channels.log import log_for
from reconnect_channels.management.commands import reconnect_tail
from reconnect_channels.models import Stream, StreamEntry
from reconnect_channels.protocol.entry import Entry
from tests.log.threads import until
from tests.servers import ROOT, Server, django_environment
from tests.services import postgres_url as url_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def run(*arguments: str, err: StringIO | None = None) -> list[str]:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=err or StringIO())
    return out.getvalue().splitlines()


def tail(*arguments: str, err: StringIO | None = None) -> list[str]:
    return run("reconnect_tail", *arguments, "--no-follow", err=err)


def published(stream: str, count: int) -> None:
    for n in range(1, count + 1):
        publish(stream, n)


# -- what is shown -------------------------------------------------------------------------------------


def test_the_last_entries_are_shown_or_as_many_as_are_asked_for():
    published("board:1", 12)
    assert tail("board:1") == [f"board:1 {n} {n}" for n in range(3, 13)]
    assert tail("board:1", "--last", "2") == ["board:1 11 11", "board:1 12 12"]
    assert tail("board:1", "--last", "0") == []
    assert tail("board:1", "--last", "99") == [f"board:1 {n} {n}" for n in range(1, 13)]


def test_it_begins_with_the_entry_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnect_tail, "PAGE", 2)
    published("board:1", 6)
    assert tail("board:1", "--from", "3") == [f"board:1 {n} {n}" for n in range(3, 7)]
    assert tail("board:1", "--from", "99") == []
    log_for("board:1").trim("board:1", 4)
    for early in ("1", "0", "-5", "4"):
        assert tail("board:1", "--from", early) == [f"board:1 {n} {n}" for n in range(4, 7)]


@pytest.mark.redis
def test_streams_of_any_log_are_shown(settings: Any, redis_url: str):
    settings.RECONNECT_CHANNELS = {
        "STREAM_LOGS": {
            "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
            "fast": {
                "BACKEND": "reconnect_channels.log.redis.RedisLog",
                "LOCATION": redis_url,
                "KEY_PREFIX": "tail:",
                "PREFIXES": ["fast:"],
            },
        }
    }
    published("fast:tail", 3)
    published("board:1", 1)
    assert tail("board:1", "fast:tail", "--last", "2") == ["board:1 1 1", "fast:tail 2 2", "fast:tail 3 3"]
    log_for("fast:tail").drop("fast:tail")
    with pytest.raises(CommandError, match="no such stream"):
        tail("fast:tail")


def test_a_line_is_one_line_and_no_terminal_acts_on_it():
    payload = {"text": "a\n\x1b[2J\x9b31m\u202egnp.exe\u2028\x7f ü"}
    publish("board:1", payload)
    for arguments in ([], ["--json"]):
        [line] = tail("board:1", *arguments)
        assert line.isprintable()
        assert "ü" in line
    assert json.loads(line)["payload"] == payload


def test_json_has_every_field():
    entry: Any = publish("board:1", {"n": 1})
    [line] = tail("board:1", "--json")
    shown = json.loads(line)
    assert shown.pop("payload") == {"n": 1}
    assert shown == {field: getattr(entry, field) for field in shown}
    assert {"stream", "epoch", "seq", "id", "checksum", "clock", "key"} <= shown.keys() <= set(Entry._fields)


def test_an_unknown_stream_is_an_error_that_names_those_like_it_and_begins_none():
    published("board:launch", 1)
    published("board:lunch", 1)
    with pytest.raises(CommandError, match=r"no such stream: board:lanch. There are board:l\w+, board:l\w+"):
        tail("board:lanch")
    with pytest.raises(CommandError, match=r"no such stream: x$"):
        tail("board:lunch", "x")
    assert Stream.objects.count() == 2


# -- following -----------------------------------------------------------------------------------------


class Tailing(NamedTuple):
    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def shows(self, *lines: str) -> None:
        until(lambda: self.out.read_text().splitlines() == list(lines))

    def says(self, text: str) -> None:
        until(lambda: text in self.err.read_text())


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Callable[..., Tailing]]:
    running: list[Tailing] = []

    def follow(*arguments: str, env: Mapping[str, str] | None = None) -> Tailing:
        out, err = tmp_path / "out", tmp_path / "err"
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "django", "reconnect_tail", "--interval=0.05", *arguments],
                cwd=ROOT,
                env={**os.environ, **django_environment(), **(env or {})},
                stdout=output,
                stderr=errors,
                # Where pytest runs in the background of a shell, its children would ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        running.append(Tailing(process, out, err))
        return running[-1]

    yield follow
    for tailing in running:
        tailing.process.kill()
        tailing.process.wait()


@pytest.mark.servers
def test_it_follows_through_trims_and_new_epochs_until_ctrl_c(following: Callable[..., Tailing]):
    published("board:1", 2)
    tailing = following("board:1", "--last=1")
    tailing.shows("board:1 2 2")
    publish("board:1", 3)
    tailing.shows("board:1 2 2", "board:1 3 3")
    log, head = log_for("board:1"), Stream.objects.get(name="board:1")
    log.new_epoch("board:1", head.epoch)
    tailing.says("board:1: a new epoch")
    publish("board:1", 4)
    tailing.shows("board:1 2 2", "board:1 3 3", "board:1 4 4")
    rewind("board:1", 1)
    tailing.says("its history was replaced; it goes on after 1")
    publish("board:1", "again")
    tailing.shows("board:1 2 2", "board:1 3 3", "board:1 4 4", 'board:1 2 "again"')
    tailing.process.send_signal(signal.SIGINT)
    assert tailing.process.wait(10) == 0
    assert "Traceback" not in tailing.err.read_text()


def rewind(stream: str, seq: int) -> None:
    checksum = StreamEntry.objects.get(stream__name=stream, seq=seq).checksum
    StreamEntry.objects.filter(stream__name=stream, seq__gt=seq).delete()
    Stream.objects.filter(name=stream).update(head=seq, checksum=checksum)


@pytest.mark.servers
def test_what_was_trimmed_before_it_was_shown_is_said(following: Callable[..., Tailing]):
    published("board:1", 1)
    tailing = following("board:1")
    tailing.shows("board:1 1 1")
    tailing.process.send_signal(signal.SIGSTOP)
    published("board:1", 4)
    log_for("board:1").trim("board:1", 5)
    tailing.process.send_signal(signal.SIGCONT)
    tailing.says("entries 2 to 4 are gone")
    tailing.shows("board:1 1 1", "board:1 5 4")


@pytest.mark.servers
def test_a_reader_that_has_enough_ends_it_without_a_traceback():
    published("board:1", 3)
    command = f"{sys.executable} -m django reconnect_tail board:1 --from=1 --interval=0.05 | head -1"
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, **django_environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        publish("board:1", "more")
        time.sleep(0.05)
    out, err = process.communicate()
    assert (out, err) == ("board:1 1 1\n", "")


@pytest.mark.servers
def test_it_goes_on_after_a_restart_of_the_database(
    following: Callable[..., Tailing], postgres_server: Server
):
    env = {"DATABASE_URL": url_of(postgres_server)}

    def manage(*arguments: str) -> None:
        command = [sys.executable, "-m", "django", *arguments]
        everything = {**os.environ, **django_environment(), **env}
        subprocess.run(command, cwd=ROOT, env=everything, check=True, capture_output=True)

    manage("migrate", "reconnect_channels")
    manage("reconnect_publish", "board:1", "1")
    tailing = following("board:1", env=env)
    tailing.shows("board:1 1 1")
    postgres_server.kill()
    tailing.says("The log can't be read (OperationalError)")
    postgres_server.start()
    manage("reconnect_publish", "board:1", "2")
    tailing.shows("board:1 1 1", "board:1 2 2")


# -- reconnect_publish ---------------------------------------------------------------------------------


def test_publish_tells_epoch_seq_and_id():
    [line] = run("reconnect_publish", "board:1", '{"type": "ping"}')
    entry = StreamEntry.objects.select_related("stream").get()
    assert line == f"{entry.stream.epoch} 1 {entry.uid}"
    assert json.loads(entry.text) == {"type": "ping"}


def test_publish_repeats():
    lines = run("reconnect_publish", "board:1", "null", "--repeat", "3")
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]
    assert len({line.split()[2] for line in lines}) == 3


def test_publish_reads_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "payload.json"
    file.write_text('{"from": "ä file"}', encoding="utf-8")
    run("reconnect_publish", "board:1", "--file", str(file))
    monkeypatch.setattr("sys.stdin", StringIO("[1, 2]\n"))
    run("reconnect_publish", "board:1", "--file", "-")
    assert tail("board:1") == ['board:1 1 {"from":"ä file"}', "board:1 2 [1,2]"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["board:1", "{'a': 1}"], "the payload isn't JSON"),
        (["board:1", ""], "the payload isn't JSON"),
        (["board:1", "NaN"], "the payload isn't JSON"),
        (["bad stream", "1"], "not a stream name: 'bad stream'"),
        (["board:1", "9007199254740993"], "int"),
        (["board:1"], "give the payload, or --file: one of them"),
        (["board:1", "1", "--file", "-"], "give the payload, or --file: one of them"),
        (["board:1", "--file", "/nowhere"], "/nowhere can't be read"),
        (["board:1", "1", "--repeat", "0"], "--repeat is 1 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_publish_refuses_what_cannot_be_published(arguments: list[str], error: str):
    with pytest.raises(CommandError) as raised:
        run("reconnect_publish", *arguments)
    assert error in str(raised.value)
    assert StreamEntry.objects.count() == 0


def test_publish_says_when_no_consumer_serves_the_stream():
    err = StringIO()
    run("reconnect_publish", "nobodys:1", "1", err=err)
    assert "No consumer of this project serves 'nobodys:1'" in err.getvalue()
    err = StringIO()
    run("reconnect_publish", "notes:1", "1", err=err)
    assert err.getvalue() == ""

"""Commands that keep the log: reconnect_trim, reconnect_snapshot, reconnect_new_epoch."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from reconnect_channels import publish_many
from reconnect_channels.log import log_for
from reconnect_channels.models import ProcessedMessage, StoredSnapshot, StreamEntry
from tests.log.folded import TallyConsumer  # noqa: F401 - registers it
from tests.log.threads import until
from tests.servers import ROOT, django_environment

pytestmark = [pytest.mark.django_db, pytest.mark.database]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=options.pop("stderr", StringIO()), **options)
    return out.getvalue()


def published(count: int, stream: str, *, days_old: float = 1) -> None:
    entries = publish_many((stream, n) for n in range(count))
    created = timezone.now() - timedelta(days=days_old)
    StreamEntry.objects.filter(uid__in=[entry.id for entry in entries]).update(created=created)


def kept(stream: str) -> int:
    return StreamEntry.objects.filter(stream__name=stream).count()


# -- reconnect_trim ------------------------------------------------------------------------------------


def test_trim_forgets_entries_and_answers_and_says_how_many():
    published(10, "a:1")
    published(10, "b:1")
    ProcessedMessage.objects.create(
        identity="i",
        stream="s",
        key="k",
        payload_hash="",
        status="acked",
        created=timezone.now() - timedelta(9),
    )
    said = run("reconnect_trim", "--entries=4", "--prefix=a:")
    assert (kept("a:1"), kept("b:1")) == (4, 10)
    assert said == "1 streams: 6 entries, 1 answers forgotten.\n"


def test_trim_by_age_spares_what_is_young():
    published(3, "a:1", days_old=9)
    published(3, "a:1", days_old=0)
    run("reconnect_trim", "--days=0")
    assert kept("a:1") == 3
    run("reconnect_trim", "--days=0", "--spare=0")
    assert kept("a:1") == 0


def test_a_dry_run_only_counts():
    published(10, "a:1")
    assert "6 entries would be forgotten" in run("reconnect_trim", "--entries=4", "--dry-run")
    assert kept("a:1") == 10


def test_trim_goes_on_where_a_stream_fails_and_exits_with_1(caplog: pytest.LogCaptureFixture):
    published(10, "b:1")
    published(10, "tally:a")
    log_for("tally:a").trim("tally:a", 4)  # its state is lost
    with pytest.raises(CommandError, match="1 failed"):
        run("reconnect_trim", "--entries=2")
    assert "tally:a couldn't be trimmed" in caplog.text
    assert (kept("b:1"), kept("tally:a")) == (2, 7)


def test_a_bar_is_drawn_on_a_terminal_only():
    published(10, "a:1")
    screen = Terminal()
    run("reconnect_trim", "--entries=4", stderr=screen)
    assert "1/1" in screen.getvalue()
    assert "6 entries" in screen.getvalue()
    assert screen.getvalue().endswith("\r\033[K")


@pytest.fixture
def looping() -> Iterator[Any]:
    running: list[subprocess.Popen[str]] = []

    def loop(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env={**os.environ, **django_environment()},
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield loop
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_trims_again_and_again_until_it_is_told_to_end(looping: Any, ending: signal.Signals):
    published(10, "a:1")
    process = looping("reconnect_trim", "--entries=4", "--loop=0.1")
    until(lambda: kept("a:1") == 4)
    published(3, "a:1")
    until(lambda: kept("a:1") == 4)
    process.send_signal(ending)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "1 streams: 6 entries forgotten." in out


# -- reconnect_snapshot ------------------------------------------------------------------------------------


def stored() -> dict[str, int]:
    return dict(StoredSnapshot.objects.order_by("seq").values_list("stream", "seq"))


def test_snapshot_stores_the_states_of_named_streams():
    published(5, "tally:a")
    published(5, "tally:b")
    assert run("reconnect_snapshot", "tally:a") == "1 streams folded.\n"
    assert stored() == {"tally:a": 5}


@pytest.mark.parametrize("which", [["--all"], ["--prefix=tally:"]])
def test_snapshot_of_all_stores_what_is_due(settings: Any, which: list[str]):
    settings.RECONNECT_CHANNELS = {"SNAPSHOT_EVERY": 5}
    published(5, "tally:a")
    published(4, "tally:b")
    published(5, "other:1")
    assert run("reconnect_snapshot", *which) == "2 streams folded.\n"
    assert stored() == {"tally:a": 5}
    run("reconnect_snapshot", *which, "--every=1")
    assert stored() == {"tally:a": 5, "tally:b": 4}


def test_snapshot_tells_which_streams_it_cannot_fold():
    published(5, "tally:a")
    published(5, "tally:b")
    log_for("tally:a").trim("tally:a", 3)
    errors = StringIO()
    with pytest.raises(CommandError, match="1 streams can't be folded"):
        run("reconnect_snapshot", "--all", "--every=1", stderr=errors)
    assert "tally:a is kept from 3 on" in errors.getvalue()
    assert stored() == {"tally:b": 5}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [([], "name streams"), (["other:1", "tally:a"], "no consumer with reduce: other:1")],
)
def test_snapshot_refuses_what_has_no_state(arguments: list[str], error: str):
    with pytest.raises(CommandError, match=error):
        run("reconnect_snapshot", *arguments)


# -- reconnect_new_epoch ---------------------------------------------------------------------------------


def epochs(*names: str) -> list[str]:
    heads = log_for("").heads(names)
    return [heads[name].epoch for name in names]


@pytest.mark.parametrize(
    ("which", "changed"),
    [(["a:1"], "a:1"), (["--prefix=a:"], "a:1 a:2"), (["--all"], "a:1 a:2 b:1")],
)
def test_new_epoch_of_some_streams(which: list[str], changed: str):
    names = ("a:1", "a:2", "b:1")
    before = dict(zip(names, epochs(*names), strict=True))
    run("reconnect_new_epoch", *which, "--noinput")
    after = dict(zip(names, epochs(*names), strict=True))
    assert " ".join(name for name in names if before[name] != after[name]) == changed


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("yes", True), ("", False), ("n", False)])
def test_new_epoch_asks_first(monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool):
    before = epochs("a:1", "a:2")
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", ask)
    if goes_on:
        run("reconnect_new_epoch", "--all")
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            run("reconnect_new_epoch", "--all")
    assert "2 streams" in asked[0]
    assert (epochs("a:1", "a:2") != before) is goes_on


@pytest.mark.parametrize(
    ("arguments", "error"),
    [([], "name streams"), (["a:1", "--all"], "name streams"), (["a:1", "a:3"], "no such stream: a:3")],
)
def test_new_epoch_refuses_what_is_unclear(arguments: list[str], error: str):
    before = epochs("a:1", "a:2")
    with pytest.raises(CommandError, match=error):
        run("reconnect_new_epoch", *arguments, "--noinput")
    assert epochs("a:1", "a:2") == before

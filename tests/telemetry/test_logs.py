"""Structured logs: a line an event, and nothing in it that a client could forge, or that is private."""

import inspect
import json
import logging
import re
import shlex
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.position import Position
from reconnect_channels.telemetry import events, logs
from reconnect_channels.testing import closed_hub
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, publish_all

A = "notes:a"
EVENTS = [
    one
    for _, one in inspect.getmembers(events, inspect.isclass)
    if issubclass(one, tuple) and one.__module__ == events.__name__
]
HOSTILE = 'x"\n\r\t\0\x1b[31m\x7f\x85\u2028\u202e\ud800 event=forged'
POSITION = Position("e" + HOSTILE, 7, 99)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, level = Kept(), logs.logger.level
    logs.logger.addHandler(handler)
    logs.logger.setLevel(logging.DEBUG)
    yield handler
    logs.logger.setLevel(level)
    logs.logger.removeHandler(handler)


def fields(line: str) -> dict[str, Any]:
    """Reads logfmt."""
    found = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^" ]+)(?: |$)', line)
    assert " ".join(f"{name}={value}" for name, value in found) == line
    return {name: json.loads(value) if value.startswith('"') else value for name, value in found}


def hostile(event: type[Any]) -> Any:
    """An event whose every text is hostile."""
    values: dict[str, Any] = {"metrics": {"ws_queue_depth": 1.0}, "transitions": ((1, HOSTILE, HOSTILE),)}
    kinds: dict[Any, Any] = {str: HOSTILE, int: 3, float: 0.5, bool: True, Position: POSITION}
    for name, kind in get_type_hints(event).items():
        values.setdefault(name, kinds.get((*get_args(kind), kind)[0]))
    return event(**{name: values[name] for name in event._fields})


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_one_line_whatever_it_says(event: type[Any], kept: Kept):
    logs.write(hostile(event))
    if event is events.Sampled:
        assert kept.lines == []
        return
    (line,) = kept.lines
    assert line.isascii()
    assert line.isprintable()
    read = fields(line)
    assert read["event"] == re.sub(r"(?<!^)([A-Z])", r"_\1", event.__name__).lower() != "forged"
    assert vars(kept.records[0]).items() >= {"event": read["event"]}.items()
    for name, value in read.items():
        assert str(getattr(kept.records[0], name)) == value, "formatters that write JSON have it, too"
    assert "metrics" not in read or read["metrics"] == "1"
    assert "00-" not in line


def test_each_event_has_a_level():
    assert set(EVENTS) - set(logs.LEVELS) == {events.Sampled}


def test_a_resume_says_what_was_answered(kept: Kept):
    logs.write(events.Resumed("5f", A, "delta", "", Position("e", 7, 99), 10, "0a" * 16))
    place = "socket=5f stream=notes:a answer=delta seq=7 head=10"
    assert kept.lines == [f"event=resumed {place} trace={'0a' * 16} gap=3"]


def test_a_long_text_is_cut(kept: Kept):
    logs.write(events.Ended("5f", 4010, "x" * 10_000, 1.0))
    assert len(kept.lines[0]) < 300


@given(st.text())
def test_any_text_is_one_word_of_a_shell(text: str):
    quoted = logs._text(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert json.loads(quoted) == text if quoted.startswith('"') else quoted == text
    assert "'" in text or len(shlex.split(f"a={quoted}")) == 1


def test_a_level_that_is_off_formats_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    logs.logger.setLevel(logging.INFO)
    monkeypatch.setattr(logs, "_fields", lambda _: pytest.fail("formatted"))
    logs.write(events.FannedOut(A, 1, 1))
    assert kept.records == []


# -- of a real socket --------------------------------------------------------------------------------


class Loud(NotesConsumer):
    channel_layer_alias = None

    def get_identity(self) -> str:
        return "user:secret-identity"


class Rude(Loud):
    async def receive_message(self, message: Any) -> None:
        await self.close(4010, HOSTILE.replace("\ud800", ""))


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
async def test_a_conversation_is_logged_without_payloads_tokens_addresses_and_identities(kept: Kept):
    scope = {"client": ("203.0.113.77", 4_711), "query_string": b"token=secret-token"}
    async with closed_hub():
        await publish_all(A, ["secret-payload"])
        async with Peer(Loud, scope=scope) as one:
            welcome = await one.greet({A: None}, client_id="secret-client", identity="secret-token")
            await one.hear("SYNC_DELTA", complete=True)
            await one.answer(one.message(A, {"card": "secret-payload"}))
            await one.answer(one.message(A, {"reject": "secret-payload"}))
            one.say("TELEMETRY", metrics={"ws_queue_depth": 1, "secret-metric": 2}, environment="secret")
            one.say("\n\x1bsecret-type")
            one.say("TELEMETRY", metrics={})
            await one.still_works()
            await one.socket.close(1001)
    await sync_to_async(connections.close_all)()
    read = [fields(line) for line in kept.lines]
    told = [each["event"] for each in read]
    assert {"welcomed", "resumed", "caught_up", "answered", "reported", "published", "ended"} <= set(told)
    assert {each["socket"] for each in read if "socket" in each} == {welcome["session"]}
    text = "\n".join(kept.lines)
    assert "203.0.113.77" not in text
    assert re.findall(r"secret[\w-]*", text) == []


def test_apps_that_are_made_ready_again_write_each_event_once(kept: Kept):
    apps.get_app_config("reconnect_channels").ready()
    events.emit(events.Reaped("node"))
    assert kept.lines == ["event=reaped node=node"]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
async def test_an_applications_reason_to_close_forges_no_line(kept: Kept):
    async with closed_hub(), Peer(Rude) as one:
        await one.greet()
        one.message(A, 1)
        await one.goodbye()
    await sync_to_async(connections.close_all)()
    (line,) = [line for line in kept.lines if line.startswith("event=ended")]
    assert fields(line)["reason"].startswith(HOSTILE[:5])
    assert line.isascii()
    assert line.isprintable()

"""The flight recorder: what happened to a session, in the order in which it did, bounded."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.live.fencing import Holders, Rank, Session
from reconnect_channels.live.roster import Roster
from reconnect_channels.models import ClientSession
from reconnect_channels.protocol.position import Position
from reconnect_channels.sessions import Written
from reconnect_channels.telemetry import events, flight
from reconnect_channels.telemetry.flight import FIELDS, Flight, FlightEvent, Kind, decode, encode
from reconnect_channels.testing import closed_hub
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

A = "notes:a"
POSITION = Position("e", 7, 99)
HOSTILE = '"\n\r\t\0\x1b[31m\u2028\x85\ud800</script>'

ALL: list[tuple[Any, dict[str, Any]]] = [
    (events.Welcomed("s", "node", 1, 3, 0.25, "00-secret"), {"node": "node", "attempt": 3, "ms": 250}),
    (
        events.Resumed("s", A, "snapshot", "gap", POSITION, 5_010),
        {"stream": A, "answer": "snapshot", "reason": "gap", "seq": 7, "head": 5_010, "gap": 5_003},
    ),
    (
        events.Resumed("s", A, "unavailable", "", None, -1),
        {"stream": A, "answer": "unavailable", "seq": None, "head": None, "gap": None},
    ),
    (events.CaughtUp("s", A, 1.5, 9), {"stream": A, "seq": 9, "ms": 1_500}),
    (events.FellBehind("s", A, 9), {"stream": A, "seq": 9}),
    (events.Resynced("s", A, "diverged"), {"stream": A, "reason": "diverged"}),
    (events.Drifted("s", A, POSITION, 1), {"stream": A, "seq": 7}),
    (events.DriftMoved("s", "diverged"), {"drift": "diverged"}),
    (events.Refused("s", A, 403, "FORBIDDEN"), {"stream": A, "code": 403, "reason": "FORBIDDEN"}),
    (events.Ended("s", 4010, "closed", 12.0), {"code": 4010, "reason": "closed", "ms": 12_000}),
    (events.Ended("s", None, "", 12.0), {"code": None, "reason": "", "ms": 12_000}),
    (events.Returned(800, True), {"ms": 800, "moved": True}),
]


def noted(*all_events: Any) -> Flight:
    recorder = Flight()
    for event in all_events:
        recorder.note(event)
    return recorder


def written(recorder: Flight) -> str:
    return encode(recorder.begin())


@pytest.mark.parametrize(("event", "fields"), ALL)
def test_what_is_noted_is_read_again(event: Any, fields: dict[str, Any]):
    (read,) = decode(written(noted(event)))
    assert {name: getattr(read, name) for name in fields} == fields
    others = set(FlightEvent._fields) - {*fields, "at", "kind"}
    assert all(getattr(read, name) == FlightEvent._field_defaults[name] for name in others)


def test_every_kind_is_noted_by_some_event():
    told = events.Reported("s", {}, None, ((5, "CONNECTED", "DISCONNECTED"),))
    assert {event.kind for event in decode(written(noted(told, *(event for event, _ in ALL))))} == set(Kind)


def test_what_is_of_no_interest_costs_nothing():
    message = events.Answered("s", A, 0, "", False, 0.1)
    assert written(noted(message, events.FannedOut(A, 1, 1))) == ""


def test_states_of_the_client_stand_where_they_happened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flight.time, "time", lambda: 1_000.0)
    told = ((4_000, "CONNECTED", "DISCONNECTED"), (3_000, "DISCONNECTED", "RECONNECTING"))
    recorder = noted(events.Welcomed("s", "n", 0, 1, 0.0, None))
    monkeypatch.setattr(flight.time, "time", lambda: 1_001.0)
    recorder.note(events.Reported("s", {}, None, told))
    read = decode(written(recorder))
    assert [(event.at.timestamp(), event.before, event.after) for event in read] == [
        (997.0, "CONNECTED", "DISCONNECTED"),
        (998.0, "DISCONNECTED", "RECONNECTING"),
        (1_000.0, "", ""),
    ]


@given(st.lists(st.text(max_size=300), max_size=60))
def test_any_reason_is_one_line_and_comes_back(reasons: list[str]):
    text = written(noted(*(events.Ended("s", 4010, reason, 1.0) for reason in reasons)))
    assert all(ord(char) >= 0x20 or char == "\n" for char in text)
    read = [event.reason for event in decode(text)]
    plain = [reason.encode("utf-8", "replace").decode()[:100] for reason in reasons]
    assert read == plain[len(plain) - len(read) :]
    assert len(text) <= flight.TEXT
    assert len(read) == len(reasons) or len(text) > flight.TEXT - 400


def test_a_hostile_reason_is_text():
    (read,) = decode(written(noted(events.Ended("s", 4010, HOSTILE, 1.0))))
    assert read.reason == HOSTILE.replace("\ud800", "?")


@given(st.integers(0, 8_000))
def test_whatever_the_database_cuts_off_the_rest_is_read(cut: int):
    text = written(noted(*(event for event, _ in ALL)))
    whole = decode(text)
    rest = decode(text[cut:])
    assert rest == whole[len(whole) - len(rest) :]
    assert len(rest) >= text[cut:].count("\n") - 1


LINES = [
    '[1,"connect"]',
    '[1,"nobody",2]',
    '["x","drifting",""]',
    "{}",
    "[]",
    "7",
    "[",
    '[1e99,"drifting",""]',
]


@pytest.mark.parametrize("line", [*LINES, '[[],"drifting",""]', '[1,[],""]', "null", '["\ud800"]'])
def test_what_cannot_be_read_is_left_out(line: str):
    good = written(noted(ALL[0][0]))
    assert decode(line + "\n" + good) == decode(good)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_nothing_that_a_row_holds_raises(text: str):
    decode(text)


def test_many_events_are_few_characters_and_the_newest():
    recorder = Flight()
    for seq in range(100_000):
        recorder.note(events.FellBehind("s", A, seq))
    assert len(recorder._noted) <= flight.EVENTS + flight.SLACK
    text = written(recorder)
    read = decode(text)
    assert len(text) <= flight.TEXT
    assert [event.seq for event in read] == list(range(100_000 - len(read), 100_000))
    assert len(read) > 100


def test_what_could_not_be_written_is_written_later():
    recorder = noted(ALL[0][0])
    first = recorder.begin()
    recorder.note(ALL[3][0])
    both = recorder.begin()
    assert encode(both).startswith(encode(first))
    recorder.end(first)  # an older write, whose row was lost
    assert recorder.begin() is both
    recorder.note(ALL[4][0])
    recorder.end(both)
    assert [event.kind for event in decode(written(recorder))] == [Kind.BEHIND]


def test_the_fields_of_every_kind_exist():
    assert set(FIELDS) == set(Kind)
    assert {name for names in FIELDS.values() for name in names} <= set(FlightEvent._fields)


def test_recording_asks_for_no_write_of_its_own():
    roster = Roster(Holders())
    socket: Any = SimpleNamespace(session="s", exchange=SimpleNamespace(subscriptions={}), flight=None)
    roster.enter(Session("ada", "c"), Rank(0, 1), socket, 0.0)
    rows = roster.take(0.0, 10)
    roster.wrote(rows, Written(), 0.0)
    assert roster.is_written
    for event, _ in ALL:
        socket.flight.note(event)
    assert roster.is_written
    assert roster.take(59.0, 10) == []
    [row] = roster.take(61.0, 10)  # `SESSION_REFRESH`
    assert len(decode(encode(row.flight))) == len(ALL)
    roster.put_back([row])
    [again] = roster.take(62.0, 10)
    assert again.flight == row.flight
    roster.wrote([again], Written(), 62.0)
    [empty] = roster.take(200.0, 10)
    assert not empty.flight


# -- of a real session -------------------------------------------------------------------------------


class Board(NotesConsumer):
    channel_layer_alias = None

    def get_identity(self) -> str:
        return "ada"


@pytest.fixture
async def often(settings: Any) -> AsyncIterator[None]:
    settings.RECONNECT_CHANNELS = {"SESSION_FLUSH": 0.02, "SESSION_REFRESH": 0.05}
    async with closed_hub():
        yield
    await sync_to_async(connections.close_all)()


async def flown(client: str, enough: Callable[[list[FlightEvent]], bool]) -> list[FlightEvent]:
    """The flight of a client's row, once there is enough in it."""
    read: list[FlightEvent] = []

    async def look() -> bool:
        text = await ClientSession.objects.filter(client_id=client).values_list("flight", flat=True).afirst()
        read[:] = decode(text or "")
        return enough(read)

    try:
        await eventually(look)
    except TimeoutError:
        raise AssertionError(f"not enough: {read}") from None
    return read


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("often")
async def test_a_session_is_recorded_over_its_reconnects():
    last = (await publish_all(A, range(3)))[-1].position
    async with Peer(Board) as one:
        one.client_id = "c"
        await one.greet({A: last._replace(seq=1, checksum=0), "notes:secret": None})
        await one.hear("SYNC_DELTA", complete=True)
        moves = [["DISCONNECTED", "RECONNECTING"], ["RECONNECTING", "CONNECTED"]]
        told = [[900 - i, *move] for i, move in enumerate(moves)]
        one.say("TELEMETRY", metrics={"ws_queue_depth": 1}, environment="firefox", transitions=told)
        await flown("c", lambda read: len(read) >= 8)
        await one.socket.close(1006)
    async with Peer(Board) as two:
        two.client_id = "c"
        await two.greet({A: last}, attempt=2)
        await two.hear("SYNC_DELTA", complete=True)
        read = await flown("c", lambda read: len(read) >= 13)
    kinds = [event.kind for event in read]
    assert kinds[:2] == [Kind.STATE, Kind.STATE]  # they were before
    assert sorted(kinds[2:8]) == sorted(
        [Kind.CONNECT, Kind.REFUSED, Kind.RESUME, Kind.DRIFT, Kind.DRIFTING, Kind.CURRENT]
    )
    assert sorted(kinds[8:]) == sorted([Kind.CLOSE, Kind.OUTAGE, Kind.CONNECT, Kind.RESUME, Kind.CURRENT])
    assert [event.code for event in read if event.kind is Kind.CLOSE] == [1006]
    resumes = [(event.answer, event.reason, event.gap) for event in read if event.kind is Kind.RESUME]
    assert resumes == [("snapshot", "diverged", 2), ("delta", "", 0)]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("often")
async def test_a_newer_socket_goes_on_in_the_same_record():
    async with Peer(Board) as one, Peer(Board) as two:
        for attempt, each in enumerate((one, two), 1):
            each.client_id = "c"
            await each.greet({A: None}, attempt=attempt)
            await each.hear("SYNC_DELTA", complete=True)
        read = await flown("c", lambda read: len(read) >= 7)
    assert [event.code for event in read if event.kind is Kind.CLOSE] == [4509]
    assert [event.attempt for event in read if event.kind is Kind.CONNECT] == [1, 2]

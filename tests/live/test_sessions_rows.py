"""The rows of sessions: whatever order the nodes write in, the newest socket's row stays (design 10.4)."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import django
import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from reconnect_channels import sessions
from reconnect_channels.models import ClientSession, SessionStream
from reconnect_channels.protocol.subscription import Drift
from reconnect_channels.sessions import Row, State, session_key, write
from reconnect_channels.telemetry import flight
from reconnect_channels.telemetry.events import FellBehind

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

NOW = datetime.now(UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(
    term: int = 0,
    attempt: int = 1,
    state: State = State.LIVE,
    *,
    client: str = "c",
    identity: str = "user:1",
    connected: float = 0,
    seen: float | None = None,
    node: str = "one",
    **changed: Any,
) -> Row:
    socket = changed.pop("socket", f"{node[:3]}{term}.{attempt}")
    streams = changed.pop("streams", frozenset({"notes:a"}) if state is State.LIVE else None)
    values: dict[str, Any] = {
        "key": session_key(identity, client),
        "identity": identity,
        "client_id": client,
        "positions": {"notes:a": ("e", 7)},
        "environment": "other",
        "connects": 1,
        "outage_ms": None,
        "close_code": None,
        "connected": at(connected),
        "seen": at(connected if seen is None else seen),
        **changed,
    }
    return Row(socket=socket, node=node, term=term, attempt=attempt, state=state, streams=streams, **values)


def stored(client: str = "c") -> ClientSession:
    return ClientSession.objects.get(client_id=client)


def on(stream: str = "notes:a") -> list[str]:
    rows = SessionStream.objects.filter(stream=stream).order_by("session__client_id")
    return list(rows.values_list("session__client_id", flat=True))


def test_a_session_is_written_with_all_that_is_known():
    written = write([row(3, 4, node="one", environment="firefox", streams=frozenset({"notes:a", "notes:b"}))])
    assert written == sessions.Written()
    found = stored()
    assert (found.identity, found.client_id, found.node, found.term, found.attempt) == (
        "user:1",
        "c",
        "one",
        3,
        4,
    )
    assert (found.state, found.positions, found.environment) == ("live", {"notes:a": ["e", 7]}, "firefox")
    assert (found.connected, found.seen, found.connects, found.close_code) == (NOW, NOW, 1, None)
    assert on("notes:a") == on("notes:b") == ["c"]


RANKS = [(2, 1, 0.0), (1, 9, 1.0), (1, 2, 2.0)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_live_socket_stays_in_whatever_order_nodes_write(order: Sequence[int]):
    lost = {}
    for i in order:
        term, attempt, connected = RANKS[i]
        lost.update(write([row(term, attempt, connected=connected, node=f"node{i}")]).lost)
    assert (stored().node, stored().term, stored().attempt) == ("node0", 2, 1)
    key = row().key
    if order[0] == 0:
        assert lost == {key: (2, 1)}


def test_of_equals_the_one_that_was_greeted_later_stays():
    write([row(1, 1, connected=5, node="late")])
    assert write([row(1, 1, connected=4, node="early")]).lost == {row().key: (1, 1)}
    assert stored().node == "late"
    write([row(1, 1, connected=6, node="latest")])
    assert stored().node == "latest"


def test_the_end_of_an_older_socket_hides_no_newer_one():
    write([row(1, 1, node="one")])
    write([row(1, 2, node="two", connected=3)])
    write([row(1, 1, State.AWAY, node="one", seen=9, close_code=1006)])
    assert (stored().node, stored().state) == ("two", "live")
    write([row(1, 2, State.AWAY, node="two", connected=3, seen=4, close_code=1001)])
    write([row(1, 1, State.AWAY, node="one", seen=9, close_code=1006)])
    assert (stored().node, stored().state, stored().close_code, stored().seen) == ("two", "away", 1001, at(4))


def test_a_live_socket_comes_before_a_newer_one_that_has_ended():
    write([row(5, 1, State.AWAY, node="one", seen=1)])
    assert write([row(1, 1, node="two", connected=2)]).lost == {}
    assert (stored().node, stored().state, stored().term) == ("two", "live", 1)


def test_who_comes_back_was_away_for_so_long_and_perhaps_elsewhere():
    write([row(0, 1, node="one")])
    write([row(0, 1, State.AWAY, node="one", seen=-10, close_code=1006)])
    moved = write([row(0, 2, node="two", connected=-7.5)])
    assert moved.returns == [sessions.Return(row().key, 2500, True)]
    assert stored().outage_ms == 2500
    assert write([row(0, 2, node="two", connected=-7.5, connects=0)]).returns == []
    assert stored().outage_ms == 2500
    write([row(0, 2, State.AWAY, node="two", connected=-7.5, seen=-7, connects=0)])
    assert write([row(0, 3, node="two", connected=-6)]).returns == [sessions.Return(row().key, 1000, False)]
    assert stored().connects == 3 + 1  # the end of the first was written as if it were news


def test_another_visit_is_no_outage():
    write(
        [
            row(0, 1, State.AWAY, seen=-2 * 3600),
            row(0, 1, State.ENDED, client="left", seen=-1, close_code=1000),
        ]
    )
    assert write([row(0, 2), row(0, 2, client="left")]).returns == []


def test_who_is_where_follows_the_session():
    write([row(streams=frozenset({"notes:a", "notes:b"})), row(client="d")])
    since = dict(SessionStream.objects.filter(session__client_id="c").values_list("stream", "since"))
    write([row(0, 2, streams=frozenset({"notes:a", "notes:c"}), connected=1)])
    places = dict(SessionStream.objects.filter(session__client_id="c").values_list("stream", "since"))
    assert set(places) == {"notes:a", "notes:c"}
    assert places["notes:a"] == since["notes:a"]
    assert on() == ["c", "d"]
    write([row(0, 2, State.AWAY, connected=1)])
    assert on() == ["c", "d"]  # a blip
    write([row(0, 2, State.ENDED, connected=1, streams=frozenset())])
    assert on() == ["d"]


@pytest.mark.parametrize(
    "text", ["\0", "\ud800", "'; DROP TABLE x; --", "%s", "é" * 200, "\U0001f600" * 200, ""]
)
def test_any_text_is_an_identity_and_a_client(text: str):
    write([row(identity=text, client=text + "1"), row(identity=text, client=text + "2"), row()])
    assert ClientSession.objects.count() == 3
    write([row(0, 2, State.ENDED, identity=text, client=text + "1")])
    assert ClientSession.objects.filter(state="ended").count() == 1


def test_the_last_close_code_stays_while_there_is_another_socket():
    write([row(0, 1)])
    write([row(0, 1, State.AWAY, close_code=1006)])
    write([row(0, 2, connected=1)])
    assert (stored().state, stored().close_code) == ("live", 1006)
    write([row(0, 3, connected=2, close_code=1012)])
    assert stored().close_code == 1012
    write([row(0, 3, State.AWAY, connected=2)])
    assert stored().close_code is None


def test_identity_and_client_are_not_one_text():
    assert session_key("a", "bc") != session_key("ab", "c")
    assert session_key("1", "1:a") != session_key("11", ":a")


def test_a_batch_of_a_thousand_is_few_statements():
    rows = [row(client=str(n), streams=frozenset({"notes:a", f"notes:{n}"})) for n in range(1_000)]
    with CaptureQueriesContext(connection) as first:
        write(rows)
    again = [one._replace(attempt=2, connected=at(1)) for one in rows]
    with CaptureQueriesContext(connection) as second:
        assert write(again).lost == {}
    assert ClientSession.objects.filter(attempt=2).count() == 1_000
    assert SessionStream.objects.count() == 2_000
    # Before 6.0, Django counts on 999 parameters a statement, which SQLite allowed up to 3.31.
    few = 4 if django.VERSION >= (6,) or connection.vendor != "sqlite" else 12
    assert len(writes(first)) <= few, [query["sql"][:60] for query in first]
    assert len(writes(second)) == 1, [query["sql"][:60] for query in second]
    assert len(second) <= 10


def writes(captured: CaptureQueriesContext) -> list[str]:
    return [q["sql"] for q in captured if q["sql"].split()[0] in ("INSERT", "UPDATE", "DELETE")]


def test_two_nodes_that_write_the_same_sessions_at_once_neither_fail_nor_mix(request: pytest.FixtureRequest):
    errors: list[BaseException] = []
    names = [str(n) for n in range(50)]

    def node(name: str, order: list[str]) -> None:
        try:
            for attempt in range(1, 11):
                write([row(0, attempt, client=c, node=name, connected=attempt) for c in order])
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=node, args=("one", names)),
        threading.Thread(target=node, args=("two", names[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert set(ClientSession.objects.values_list("attempt", flat=True)) == {10}
    assert on() == sorted(names)


def test_sessions_long_unseen_are_forgotten_in_batches(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.RECONNECT_CHANNELS = {"SESSION_SECONDS": 100}
    monkeypatch.setattr(sessions, "BATCH", 2)
    write([row(0, 1, State.ENDED, client=f"old{n}", seen=-101) for n in range(5)])
    write([row(client="live", seen=60), row(0, 1, State.AWAY, client="young", seen=60)])
    assert list(sessions.forget_sessions()) == [2, 2, 1]
    assert set(ClientSession.objects.values_list("client_id", flat=True)) == {"live", "young"}
    assert list(sessions.forget_sessions()) == []


def test_who_stays_away_has_ended_after_the_grace(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.RECONNECT_CHANNELS = {"PRESENCE_GRACE": 10}
    monkeypatch.setattr(sessions, "BATCH", 2)
    write([row(client=f"{n}") for n in range(5)] + [row(client="young"), row(client="live", seen=-99)])
    write([row(0, 1, State.AWAY, client=f"{n}", seen=-11) for n in range(5)])
    write([row(0, 1, State.AWAY, client="young", seen=60)])
    assert sessions.end_absent() == 5
    assert on() == ["live", "young"]
    assert ClientSession.objects.filter(state="ended").count() == 5
    assert sessions.end_absent() == 0


# -- drift and flight --------------------------------------------------------------------------------


def fell_behind(*seqs: int) -> list[flight.Noted]:
    return [(NOW.timestamp(), FellBehind("s", "notes:a", seq)) for seq in seqs]


def flown() -> list[int | None]:
    return [event.seq for event in flight.decode(stored().flight)]


def test_flights_go_on_in_the_row_from_node_to_node():
    write([row(attempt=1, flight=fell_behind(1, 2))])
    write([row(attempt=1, state=State.AWAY, connects=0, seen=1)])
    write([row(attempt=2, node="two", connected=2, flight=fell_behind(3))])
    assert flown() == [1, 2, 3]


def test_a_row_that_is_not_written_brings_no_flight():
    write([row(attempt=2, connected=2, flight=fell_behind(1))])
    write([row(attempt=1, node="two", flight=fell_behind(2))])
    assert flown() == [1]


def test_of_a_long_flight_the_newest_is_kept():
    for seq in range(0, 1_000, 100):
        write([row(flight=fell_behind(*range(seq, seq + 100)))])
    assert len(stored().flight) <= flight.TEXT
    kept = flown()
    assert kept == list(range(1_000 - len(kept), 1_000))
    assert len(kept) > 100


def test_drift_is_what_was_written_last():
    write([row(drift=Drift.DIVERGED)])
    assert stored().drift == ClientSession.Drift.DIVERGED
    write([row(connects=0, drift=Drift.LAGGING)])
    assert stored().drift == ClientSession.Drift.LAGGING
    write([row(connects=0, state=State.AWAY, seen=1)])
    assert stored().drift == ""

"""Sessions are written behind: few writes, nothing lost while the database is down, no socket delayed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, OperationalError, connections
from django.db.backends.utils import CursorWrapper

from reconnect_channels import news, sessions, signals
from reconnect_channels.live import registrar as registrars
from reconnect_channels.live import roster as rosters
from reconnect_channels.live.fencing import Holders, Rank, Session
from reconnect_channels.live.hub import close_hub, get_hub
from reconnect_channels.live.roster import Roster
from reconnect_channels.models import ClientSession, Node, NodeStream, SessionStream
from reconnect_channels.protocol.position import Position
from reconnect_channels.protocol.subscription import State, Subscription
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all
from tests.live.test_layers import Node as Elsewhere

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


class Known(NotesConsumer):
    channel_layer_alias = None

    def get_identity(self) -> str:
        return self.scope.get("who", "ada")  # type: ignore[no-any-return]


def peer(client: str = "c", **scope: Any) -> Peer:
    one = Peer(Known, scope=scope)
    one.client_id = client
    return one


@pytest.fixture(autouse=True)
async def often(configure: Callable[..., None]) -> AsyncIterator[None]:
    configure(SESSION_FLUSH=0.02)
    yield
    await sync_to_async(connections.close_all)()  # consumers do it as they end, where there is one


async def row(client: str = "c", **wanted: Any) -> ClientSession:
    """The session's row, once it is as wanted."""
    found: list[ClientSession] = []

    async def fits() -> bool:
        one = await ClientSession.objects.filter(client_id=client, **wanted).afirst()
        found[:] = [one] if one is not None else []
        return one is not None

    try:
        await eventually(fits)
    except TimeoutError:
        now = [vars(one) async for one in ClientSession.objects.all()]
        raise AssertionError(f"never {wanted}: {now}") from None
    return found[0]


async def streams(client: str = "c") -> set[str]:
    rows = SessionStream.objects.filter(session__client_id=client)
    return {name async for name in rows.values_list("stream", flat=True)}


async def on(names: set[str]) -> bool:
    return await streams() == names


async def test_a_socket_is_a_session_from_its_greeting_to_its_end():
    async with peer() as one:
        welcome = await one.greet({A: None, "notes:b": None}, term=2, attempt=3)
        await one.hear("SYNC_DELTA", complete=True)
        found = await row(state="live")
        assert (found.identity, found.term, found.attempt) == ("ada", 2, 3)
        assert (found.node, found.socket) == (welcome["node"], welcome["session"])
        await eventually(lambda: on({A, "notes:b"}))
        node = await Node.objects.aget()
        assert (node.name, node.draining) == (welcome["node"], False)
        one.say("UNSUBSCRIBE", ref=1, streams=["notes:b"])
        await eventually(lambda: on({A}))
        await one.socket.close(1001)
        assert (await row(state="away")).close_code == 1001
        assert await streams() == {A}


async def test_what_a_client_acknowledged_is_known(configure: Callable[..., None]):
    configure(SESSION_REFRESH=0.05)
    async with peer() as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        last = (await publish_all(A, [1, 2]))[-1]
        await one.hear("SYNC_DELTA", to=2)
        one.say("ACK", streams={A: last.position})
        found = await row(positions__has_key=A, **{f"positions__{A}__1": 2})
        assert found.positions[A] == [last.position.epoch, 2]


@pytest.mark.parametrize(
    ("code", "state"), [(1000, "ended"), (1001, "away"), (1005, "away"), (1006, "away"), (1012, "away")]
)
async def test_who_closes_has_left_and_who_is_cut_off_is_away(code: int, state: str):
    async with peer() as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await row(state="live")
        await one.socket.close(code)
        assert (await row(state=state)).close_code == code


async def test_who_may_not_read_a_stream_is_not_on_it():
    async with peer() as one:
        await one.greet({A: None, "notes:secret": None})
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(streams)
        assert await streams() == {A}


async def test_coming_back_is_told_with_how_long_it_took():
    told: list[Any] = []

    def listen(sender: Any, **fields: Any) -> None:
        told.append((fields["outage_ms"], fields["moved"]))

    signals.returned.connect(listen)
    try:
        async with peer() as one:
            await one.greet({A: None}, attempt=1)
            await row(state="live")
            await one.socket.close(1006)
            await row(state="away")
        async with peer() as two:
            await two.greet({A: None}, attempt=2)
            await eventually(lambda: told)
        found = await row(attempt=2)
        assert told == [(found.outage_ms, False)]
        assert 0 < found.outage_ms < 5_000
        assert found.connects == 2
    finally:
        signals.returned.disconnect(listen)


async def test_closing_the_hub_leaves_no_node_and_nobody_live():
    async with peer() as one, peer("d") as two:
        for each in (one, two):
            await each.greet({A: None})
            await each.hear("SYNC_DELTA", complete=True)
        await row(state="live")
        await close_hub()
        assert not await Node.objects.aexists()
        assert not await NodeStream.objects.aexists()
        assert await ClientSession.objects.filter(state="away").acount() == 2


async def test_a_node_whose_last_socket_is_gone_is_no_node_any_more(configure: Callable[..., None]):
    configure(GRACE=0.05, NODE_TIMEOUT=1.0)
    async with peer() as one:
        await one.greet()  # on no stream at all
        await row(state="live")
    await row(state="ended")

    async def gone() -> bool:
        return not await Node.objects.aexists()

    await eventually(gone)
    assert get_hub().roster.live == 0
    async with peer("d") as two:  # and may become one again
        await two.greet({A: None})
        assert (await row("d")).node == get_hub().node


# -- many ------------------------------------------------------------------------------------------


class Sockets:
    """Sockets that are greeted and go away, without servers and frames."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}
        self.live: dict[str, Any] = {}

    def connect(self, client: str, hub: Any) -> None:
        self.attempts[client] = self.attempts.get(client, 0) + 1
        subscription = Subscription(A, None, 0.0)
        subscription.start(Position("e", self.attempts[client], 1), 0.0)
        subscription.state = State.LIVE
        socket = SimpleNamespace(
            session=f"{self.attempts[client]}",
            exchange=SimpleNamespace(subscriptions={A: subscription}),
            fenced=[],
        )
        socket.supersede = socket.fenced.append
        self.live[client] = socket
        rank = Rank(0, self.attempts[client])
        hub.holders.enter(Session("ada", client), rank, socket)
        hub.seat(Session("ada", client), rank, socket)

    def cut(self, client: str, hub: Any) -> None:
        hub.unseat(Session("ada", client), self.live.pop(client), 1006)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement of ours that goes to the database; the tests' own come from other threads."""
    seen: list[str] = []
    execute = CursorWrapper.execute

    def count(self: Any, sql: str, params: Any = None) -> Any:
        if threading.current_thread().name.startswith("reconnect"):
            seen.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", count)
    return seen


async def test_a_storm_of_5000_reconnects_is_at_most_50_writes(
    statements: list[str], configure: Callable[..., None]
):
    configure(SESSION_FLUSH=1.0)
    hub, sockets = get_hub(), Sockets()
    clients = [f"client {n}" for n in range(5_000)]
    for client in clients:
        sockets.connect(client, hub)

    async def all_are(attempt: int) -> bool:
        rows = ClientSession.objects.filter(state="live", attempt=attempt)
        return await rows.acount() == 5_000

    await eventually(lambda: all_are(1), 30)
    statements.clear()
    for start in range(0, 5_000, 50):  # in about 2 s
        for client in clients[start : start + 50]:
            sockets.cut(client, hub)
        for client in clients[start : start + 50]:
            sockets.connect(client, hub)
        await asyncio.sleep(0.02)
    await eventually(lambda: all_are(2), 30)
    changes = [sql for sql in list(statements) if sql.split()[0] in ("INSERT", "UPDATE", "DELETE")]
    writes = [sql for sql in changes if "session" in sql]
    assert 5 <= len(writes) <= 50
    assert len(statements) <= 200
    assert await SessionStream.objects.acount() == 5_000
    assert not any(socket.fenced for socket in sockets.live.values())


async def test_a_connected_socket_that_does_nothing_costs_one_row_a_minute(
    statements: list[str], configure: Callable[..., None]
):
    configure(NODE_TIMEOUT=600)
    async with peer() as one:
        await one.greet({A: None})
        await one.hear("SYNC_DELTA", complete=True)
        await eventually(streams)
        await eventually(lambda: not get_hub().roster._dirty)
        await asyncio.sleep(0.1)
        statements.clear()
        await asyncio.sleep(0.5)  # 25 times SESSION_FLUSH
        assert not [sql for sql in statements if "session" in sql or "node" in sql]


# -- the database is down --------------------------------------------------------------------------


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Rows of sessions can't be written while `outage.on`."""
    outage = SimpleNamespace(on=False, tries=0)
    write = sessions.write

    def fail(rows: Any) -> Any:
        outage.tries += 1
        if outage.on:
            raise OperationalError("the database is down")
        return write(rows)

    monkeypatch.setattr(sessions, "write", fail)
    monkeypatch.setattr(registrars, "BACKOFF", (0.01, 0.05))
    return outage


async def test_what_happens_while_the_database_is_down_is_written_later(outage: Any):
    async with peer() as one:
        await one.greet({A: None}, attempt=1)
        await row(state="live")
        outage.on = True
        await one.socket.close(1006)
        async with peer() as two, peer("d") as three:
            await two.greet({A: None}, attempt=2)
            await three.greet({A: None})
            await two.still_works()
            await three.socket.close(1006)
            tries = outage.tries
            await eventually(lambda: outage.tries > tries + 2)
            assert not await ClientSession.objects.filter(client_id="d").aexists()
            outage.on = False
            assert (await row(attempt=2, state="live")).connects == 2
            await row("d", state="away")


async def test_a_long_outage_keeps_memory_bounded(outage: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rosters, "ENDED_KEPT", 100)
    outage.on = True
    hub, sockets = get_hub(), Sockets()
    for n in range(1_000):
        sockets.connect(f"{n}", hub)
        sockets.cut(f"{n}", hub)
    sockets.connect("live", hub)
    assert len(hub.roster._seats) == 101
    assert hub.roster.dropped == 900
    assert hub.roster.live == 1
    outage.on = False
    await row("live", state="live")
    await row("999", state="away")
    assert await ClientSession.objects.acount() == 101


async def test_a_row_that_the_database_never_takes_costs_the_others_nothing(
    outage: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Roster, "_tell", lambda *_: None)
    upsert, together = sessions._upsert, []

    def fail(rows: Any, using: str) -> Any:
        if any(row.client_id == "bad" for row in rows):
            together.append(len(rows))
            raise DataError("value out of range")
        return upsert(rows, using)

    monkeypatch.setattr(sessions, "_upsert", fail)
    peers = [peer(name) for name in ("a", "b", "bad", "c", "d")]
    for each in peers:
        await each.socket.connect()
    await peers[0].greet({A: None})
    await row("a", state="live")
    outage.on = True
    for each in peers[1:]:
        await each.greet({A: None})
    await peers[0].socket.close(1006)
    outage.on = False
    await row("a", state="away")
    for name in "bcd":
        await row(name, state="live")
    assert together[0] > 1
    await eventually(lambda: not get_hub().roster._dirty)
    assert not await ClientSession.objects.filter(client_id="bad").aexists()
    for each in peers[1:]:
        await each.socket.close()


# -- two nodes -------------------------------------------------------------------------------------


async def opened(attempt: int, term: int = 0) -> Peer:
    one = peer()
    await one.socket.connect()
    one.hello({A: None}, attempt=attempt, term=term)
    await one.until(lambda frame: frame["type"] in ("WELCOME", "BYE"))
    return one


async def ends(one: Peer, term: int) -> None:
    bye, code = await one.goodbye()
    assert (bye["code"], bye["term"], bye["reconnect"], code) == (4509, term, False, 4509)
    await one.socket.close()


@pytest.fixture(params=["told", "untold"])
def layer_works(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the news between nodes, and where the layer drops them all."""
    if request.param == "untold":
        monkeypatch.setattr(news, "tell", lambda *_, **__: None)
        monkeypatch.setattr(registrars, "BEATS", 1_000)


@pytest.mark.usefixtures("layer_works", "quick")
@pytest.mark.parametrize(
    ("older", "newer"),
    [((0, 1), (0, 2)), ((1, 9), (2, 1)), ((1, 1), (1, 1))],
    ids=["attempt", "term", "equal"],
)
async def test_a_newer_socket_on_another_node_takes_over(older: tuple[int, int], newer: tuple[int, int]):
    async with Elsewhere() as node:
        here = await opened(older[1], older[0])
        await row(state="live")
        there = await node.run(opened(newer[1], newer[0]))
        await ends(here, newer[0])
        await node.run(there.still_works())
        found = await row(state="live", node__in=[await node.run(_name())])
        assert (found.term, found.attempt) == newer
        await node.run(there.socket.close())
        await row(state="ended")


@pytest.mark.usefixtures("layer_works", "quick")
async def test_an_older_socket_that_comes_late_to_another_node_goes():
    async with Elsewhere() as node:
        here = await opened(attempt=7, term=3)
        await row(state="live")
        there = await node.run(opened(attempt=8, term=2))
        await node.run(ends(there, 3))
        await here.still_works()
        assert (await row(state="live")).node == get_hub().node
        await here.socket.close()


def test_equal_sockets_on_two_nodes_at_once_don_t_end_each_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rosters.timezone, "now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    a, b = Roster(Holders()), Roster(Holders())
    a.begin("a")
    b.begin("b")
    told: list[Any] = []
    ends: list[str] = []
    place = Session("ada", "c")
    for roster in (a, b):
        socket: Any = SimpleNamespace(session="s", exchange=SimpleNamespace(subscriptions={}))
        socket.supersede = lambda term, name=roster.node: ends.append(name)
        roster._tell = lambda key, seat, roster=roster: told.append(  # type: ignore[method-assign]
            {"key": key, "term": 1, "attempt": 1, "at": seat.connected.timestamp(), "node": roster.node}
        )
        roster._holders.enter(place, Rank(1, 1), socket)
        roster.enter(place, Rank(1, 1), socket, 0.0)
    while told:
        fields = told.pop()
        a.hear(fields)
        b.hear(fields)
    assert ends == ["a"]


async def _name() -> str:
    return get_hub().node


async def test_an_identity_of_another_is_never_fenced():
    async with Elsewhere() as node:
        here = await opened(1)

        async def other() -> Peer:
            one = peer(who="bob")
            await one.socket.connect()
            await one.greet({A: None}, attempt=9)
            return one

        there = await node.run(other())
        await here.still_works()
        await row(identity="bob")
        await row(identity="ada", state="live")
        await here.still_works()
        await node.run(there.socket.close())
        await here.socket.close()

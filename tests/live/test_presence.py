"""Who is on a stream, with the blips of their connections hidden (design 10.4)."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from reconnect_channels import apresence, nodes, presence, sessions
from reconnect_channels.models import Node
from reconnect_channels.sessions import State
from tests.live.peer import Peer, eventually
from tests.live.test_sessions import A, Known, often, peer  # noqa: F401 - a fixture
from tests.live.test_sessions_rows import at, row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def there(stream: str = A) -> list[tuple[str, int]]:
    return [(present.identity, present.clients) for present in presence(stream)]


@pytest.fixture
def node() -> None:
    nodes.begin("one", "")


@pytest.mark.usefixtures("node")
def test_people_are_counted_once_longest_first_with_their_clients():
    sessions.write([row(client="c1", identity="ada")])
    sessions.write([row(client="c2", identity="bob"), row(client="c3", identity="ada")])
    sessions.write([row(client="c4", identity="eve", streams=frozenset({"notes:b"}))])
    assert there() == [("ada", 2), ("bob", 1)]
    assert there("notes:b") == [("eve", 1)]
    assert there("notes:c") == []
    assert presence(A)[0].since < presence(A)[1].since


@pytest.mark.usefixtures("node")
def test_a_blip_is_hidden_and_does_not_change_since_when(settings: Any):
    settings.RECONNECT_CHANNELS = {"PRESENCE_GRACE": 15}
    sessions.write([row()])
    since = presence(A)[0].since
    sessions.write([row(0, 1, State.AWAY, seen=60)])
    assert there() == [("user:1", 1)]
    sessions.write([row(0, 2, connected=61)])
    assert presence(A)[0].since == since


@pytest.mark.usefixtures("node")
def test_who_stays_away_is_gone_after_the_grace_and_comes_back_as_new(settings: Any):
    settings.RECONNECT_CHANNELS = {"PRESENCE_GRACE": 15}
    sessions.write([row()])
    since = presence(A)[0].since
    sessions.write([row(0, 1, State.AWAY, seen=-16)])
    assert there() == []
    sessions.end_absent()
    sessions.write([row(0, 2, connected=61)])
    assert presence(A)[0].since > since


@pytest.mark.usefixtures("node")
def test_who_has_left_is_gone_at_once():
    sessions.write([row()])
    sessions.write([row(0, 1, State.ENDED, streams=frozenset(), close_code=1000)])
    assert there() == []


def test_who_was_on_a_node_that_is_silent_is_gone_before_it_is_reaped(settings: Any):
    settings.RECONNECT_CHANNELS = {"NODE_TIMEOUT": 30, "PRESENCE_GRACE": 15}
    nodes.begin("one", "")
    sessions.write([row(seen=-100)])
    assert there() == [("user:1", 1)]
    Node.objects.update(seen=at(-31))
    assert there() == []
    Node.objects.update(seen=Now(), reaped=Now())
    assert there() == []


@pytest.mark.usefixtures("node")
def test_it_takes_two_queries_whatever_is_there():
    sessions.write([row(client=f"{n}", identity=f"{n % 7}") for n in range(300)])
    with CaptureQueriesContext(connection) as queries:
        assert len(presence(A)) == 7
    assert len(queries) == 2


@pytest.mark.usefixtures("node")
def test_the_stream_s_index_finds_them():
    if connection.vendor == "sqlite":
        with CaptureQueriesContext(connection) as queries:
            presence(A)
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + queries[-1]["sql"])
            plan = " ".join(str(line) for line in cursor.fetchall())
        assert "SCAN" not in plan, plan


async def test_real_sockets_are_present_while_they_are_there():
    async def are(*who: tuple[str, int]) -> bool:
        return [(one.identity, one.clients) for one in await apresence(A)] == list(who)

    async with peer("c1", who="ada") as one, peer("c2", who="bob") as two, Peer(Known) as three:
        await one.greet({A: None})
        await eventually(lambda: are(("ada", 1)))
        await two.greet({A: None})
        await eventually(lambda: are(("ada", 1), ("bob", 1)))
        await three.greet({A: None})
        await eventually(lambda: are(("ada", 2), ("bob", 1)))
        one.say("UNSUBSCRIBE", ref=1, streams=[A])
        await three.socket.close(1006)  # away, not gone
        await eventually(lambda: are(("bob", 1), ("ada", 1)))
        two.say("UNSUBSCRIBE", ref=1, streams=[A])
        await eventually(lambda: are(("ada", 1)))
    await sync_to_async(sessions.end_absent)()

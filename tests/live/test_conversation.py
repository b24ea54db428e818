"""HELLO, subscriptions, heartbeats and endings, with a peer that does the unusual (design 6, 10.5)."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from reconnect_channels.live.hub import get_hub
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.models import ProcessedMessage
from reconnect_channels.testing import StreamCommunicator
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database, pytest.mark.usefixtures("quick")]

A = "notes:a"


class Gate:
    """Holds whoever comes until it is opened; says when somebody is there."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.arrived.set()
        await self.opened.wait()


def gated() -> tuple[Gate, type[NotesConsumer]]:
    """A consumer whose `can_subscribe` waits at a gate for streams with `slow` in their names."""
    gate = Gate()

    class Gated(NotesConsumer):
        async def can_subscribe(self, stream: str) -> bool:  # type: ignore[override]
            if "slow" in stream:
                await gate()
            return "secret" not in stream

    return gate, Gated


# -- HELLO -------------------------------------------------------------------------------------------


async def test_without_hello_the_socket_ends_with_4015(configure: Any):
    configure(HELLO_TIMEOUT=0.05)
    async with Peer() as peer:
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4015, True, 4015)


async def test_rubbish_is_no_hello(configure: Any):
    configure(HELLO_TIMEOUT=0.05)
    async with Peer() as peer:
        peer.say("PONG", t=1)
        assert (await peer.hear("ERROR"))["reason"] == "HELLO"
        assert (await peer.goodbye())[1] == 4015


async def test_another_protocol_version_is_terminal():
    async with Peer() as peer:
        peer.hello(protocol="reconnect.v2")
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4500, False, 4500)


async def test_a_second_hello_is_an_error_and_changes_nothing():
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA")
        peer.hello({"notes:b": None})
        assert (await peer.hear("ERROR"))["reason"] == "HELLO"
        await publish_all("notes:b", [1])
        await publish_all(A, [1])
        await peer.hear("SYNC_DELTA", to=1)
        assert not peer.kinds("notes:b")


async def test_welcome_says_the_limits(configure: Any):
    configure(RATE=7, BURST=70, HEARTBEAT=3.0, MAX_STREAMS=9)
    async with Peer() as peer:
        welcome = await peer.greet()
        assert welcome["heartbeat_ms"] == 3_000
        assert (welcome["limits"]["rate"], welcome["limits"]["burst"], welcome["limits"]["streams"]) == (
            7,
            70,
            9,
        )


async def test_streams_of_the_server_and_of_hello_count_together(configure: Any):
    configure(MAX_STREAMS=2)

    class Own(NotesConsumer):
        def get_streams(self) -> list[str]:
            return ["notes:own"]

    async with Peer(Own) as peer:
        await peer.greet({A: None, "notes:b": None})
        refused = await peer.hear("ERROR")
        assert (refused["code"], refused["reason"], refused["streams"]) == (413, "LIMIT", ["notes:b"])
        await peer.hear("SYNC_DELTA", stream="notes:own")
        await peer.hear("SYNC_DELTA", stream=A)


async def test_a_message_on_the_heels_of_hello_belongs_to_its_sender():
    gate = Gate()

    class Slow(NotesConsumer):
        async def get_identity(self) -> str:  # type: ignore[override]
            await gate()
            return "anna"

    async with Peer(Slow) as peer:
        peer.hello()
        key = peer.message(A, 1)
        peer.say("SUBSCRIBE", ref=1, streams={A: None})
        await gate.arrived.wait()
        assert peer.heard == []
        gate.opened.set()
        assert (await peer.answer(key))["type"] == "ACK"
        assert peer.kinds()[0] == "WELCOME"
        assert (await ProcessedMessage.objects.aget()).identity == "anna"


async def test_a_subscribe_on_the_heels_of_hello_is_served_once():
    async with Peer() as peer:
        peer.hello({A: None})
        peer.say("SUBSCRIBE", ref=1, streams={A: None})
        await peer.hear("SUBSCRIBED", ref=1)
        await peer.hear("SYNC_DELTA", complete=True)
        await publish_all(A, [1])
        await peer.hear("SYNC_DELTA", to=1)
        peer.say("UNSUBSCRIBE", ref=2, streams=[A])
        await peer.hear("UNSUBSCRIBED", ref=2)
        assert [f["to"] for f in peer.heard if f.get("stream") == A and f["type"] == "SYNC_DELTA"].count(
            1
        ) == 1
        assert not get_hub().feeds[A].taps


@pytest.mark.parametrize("hook", ["get_identity", "get_streams"])
async def test_a_failing_hook_ends_the_socket_in_order(hook: str, caplog: pytest.LogCaptureFixture):
    async def fail(self: Any) -> Any:
        raise RuntimeError("the hook's defect")

    async with Peer(type("Failing", (NotesConsumer,), {hook: fail})) as peer:
        peer.hello({A: None})
        bye, code = await peer.goodbye()
        assert (bye["reconnect"], code) == (True, 4010)
        assert bye["retry_after_ms"][1] > 0
        assert "defect" not in str(peer.heard)
    assert "the hook's defect" in caplog.text


# -- order of answers ----------------------------------------------------------------------------------


async def test_subscriptions_are_answered_in_order_whatever_their_rights_take():
    gate, consumer = gated()
    async with Peer(consumer) as peer:
        await peer.greet()
        peer.say("SUBSCRIBE", ref=1, streams={"notes:slow": None})
        peer.say("SUBSCRIBE", ref=2, streams={A: None})
        await gate.arrived.wait()
        gate.opened.set()
        await peer.hear("SYNC_DELTA", stream=A)
        assert [frame["ref"] for frame in peer.heard if frame["type"] == "SUBSCRIBED"] == [1, 2]


async def test_subscribing_again_while_the_rights_are_asked_starts_one_sync_under_the_newer_ref():
    gate, consumer = gated()
    async with Peer(consumer) as peer:
        await peer.greet()
        peer.say("SUBSCRIBE", ref=1, streams={"notes:slow": None})
        await gate.arrived.wait()
        peer.say("SUBSCRIBE", ref=2, streams={"notes:slow": None})
        gate.opened.set()
        await peer.hear("SUBSCRIBED", ref=1)
        await peer.hear("SUBSCRIBED", ref=2)
        await peer.hear("SYNC_DELTA", complete=True)
        await publish_all("notes:slow", [1])
        await peer.hear("SYNC_DELTA", to=1)
        assert peer.kinds("notes:slow") == ["SYNC_SNAPSHOT", "SYNC_DELTA", "SYNC_DELTA"]
        assert peer.kinds().index("SYNC_SNAPSHOT") > [f.get("ref") for f in peer.heard].index(2)


async def test_unsubscribing_while_the_rights_are_asked_leaves_nothing():
    gate, consumer = gated()
    async with Peer(consumer) as peer:
        await peer.greet()
        peer.say("SUBSCRIBE", ref=1, streams={"notes:slow": None})
        await gate.arrived.wait()
        peer.say("UNSUBSCRIBE", ref=2, streams=["notes:slow"])
        await publish_all("notes:slow", [1])
        gate.opened.set()
        await peer.hear("SUBSCRIBED", ref=1)
        peer.say("SUBSCRIBE", ref=3, streams={A: None})
        await peer.hear("SYNC_DELTA", stream=A)
        assert not peer.kinds("notes:slow")
        assert not get_hub().feeds["notes:slow"].taps


async def test_subscribing_again_while_catching_up_starts_over_from_the_new_position():
    entries = await publish_all(A, range(1_500))
    async with Peer() as peer:
        await peer.greet({A: entries[0].position})
        await peer.sync(A)  # now it waits for an ACK
        peer.say("SUBSCRIBE", ref=1, streams={A: entries[1_400].position})
        await peer.hear("SUBSCRIBED", ref=1)
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"], frame["complete"]) == (1_401, 1_500, True)
        await publish_all(A, ["live"])
        assert (await peer.sync(A))["to"] == 1_501


async def test_unsubscribing_while_catching_up_ends_the_pages():
    entries = await publish_all(A, range(2_000))
    async with Peer() as peer:
        await peer.greet({A: entries[0].position})
        page = await peer.sync(A)
        peer.say("UNSUBSCRIBE", ref=1, streams=[A])
        peer.say("ACK", streams={A: entries[page["to"] - 1].position})
        await peer.hear("UNSUBSCRIBED", ref=1)
        await peer.still_works()
        assert peer.kinds(A) == ["SYNC_DELTA"]
        assert not get_hub().feeds[A].taps


async def test_unsubscribing_from_what_was_never_subscribed_is_answered():
    async with Peer() as peer:
        await peer.greet()
        peer.say("UNSUBSCRIBE", ref=1, streams=["notes:never", "notes:never"])
        await peer.hear("UNSUBSCRIBED", ref=1)


async def test_live_entries_stop_with_unsubscribe_and_come_again_without_a_hole():
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        first = (await publish_all(A, [1]))[-1]
        await peer.hear("SYNC_DELTA", to=1)
        peer.say("UNSUBSCRIBE", ref=1, streams=[A])
        await peer.hear("UNSUBSCRIBED")
        await publish_all(A, [2])
        peer.say("SUBSCRIBE", ref=2, streams={A: first.position})
        await peer.hear("SUBSCRIBED")
        frame = await peer.sync(A)
        assert (frame["from"], frame["to"]) == (1, 2)


# -- rights --------------------------------------------------------------------------------------------


async def test_a_denied_stream_sends_nothing_whenever_its_entries_come():
    gate, consumer = gated()
    async with Peer(consumer) as peer:
        await peer.greet({"notes:slow-secret": None})
        await gate.arrived.wait()
        await publish_all("notes:slow-secret", range(3))
        gate.opened.set()
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"], error["streams"]) == (403, "FORBIDDEN", ["notes:slow-secret"])
        await publish_all("notes:slow-secret", range(3))
        await peer.still_works()
        assert not peer.kinds("notes:slow-secret")


async def test_unknown_and_forbidden_streams_are_refused_alike():
    async with Peer() as peer:
        await peer.greet()
        await publish_all("notes:secret", [1])
        answers = []
        for ref, stream in enumerate(("notes:secret", "other:unknown")):
            peer.say("SUBSCRIBE", ref=ref, streams={stream: None})
            answers.append({**(await peer.hear("ERROR")), "ref": 0, "streams": []})
        assert answers[0] == answers[1]


async def test_a_failing_can_subscribe_is_unavailable_not_allowed(caplog: pytest.LogCaptureFixture):
    class Failing(NotesConsumer):
        def can_subscribe(self, stream: str) -> bool:
            raise RuntimeError("the hook's defect")

    async with Peer(Failing) as peer:
        await peer.greet({A: None})
        error = await peer.hear("ERROR")
        assert (error["code"], error["streams"]) == (503, [A])
        assert error["retry_after_ms"] > 0
        assert "defect" not in str(error)
        assert not peer.kinds(A)
    assert "the hook's defect" in caplog.text


async def test_allowed_streams_answers_for_many_at_once():
    asked = []

    class Batch(NotesConsumer):
        def allowed_streams(self, names: list[str]) -> list[str]:
            asked.append(sorted(names))
            return [name for name in names if name.endswith("1")] + ["notes:unasked"]

    async with Peer(Batch) as peer:
        await peer.greet({f"notes:{n}": None for n in range(3)})
        error = await peer.hear("ERROR")
        assert error["streams"] == ["notes:0", "notes:2"]
        await peer.hear("SYNC_DELTA", stream="notes:1")
        assert asked == [["notes:0", "notes:1", "notes:2"]]


async def test_own_streams_are_joined_unasked_and_named_in_welcome():
    class Own(NotesConsumer):
        def get_streams(self) -> list[str]:
            return ["inbox:1", A]

        def can_subscribe(self, stream: str) -> bool:
            return False

    entries = await publish_all("inbox:1", [1, 2])
    async with Peer(Own) as peer:
        welcome = await peer.greet({"inbox:1": entries[0].position})
        assert welcome["streams"] == ["inbox:1", A]
        await eventually(lambda: peer.kinds("inbox:1") and peer.kinds(A))
        first = {frame["stream"]: frame for frame in reversed(peer.heard) if "stream" in frame}
        assert (first["inbox:1"]["from"], first["inbox:1"]["to"]) == (1, 2)
        assert first[A]["reason"] == "new"


@pytest.mark.parametrize("limit", [1, 3])
async def test_streams_beyond_the_limit_are_refused_and_the_others_live(limit: int, configure: Any):
    configure(MAX_STREAMS=limit)
    async with Peer() as peer:
        await peer.greet({f"notes:{n}": None for n in range(limit)})
        peer.say("SUBSCRIBE", ref=5, streams={"notes:more": None})
        error = await peer.hear("ERROR")
        assert (error["code"], error["reason"], error["ref"]) == (413, "LIMIT", 5)
        assert error["streams"] == ["notes:more"]
        peer.say("SUBSCRIBE", ref=6, streams={"notes:0": None})  # again, not one more
        await peer.hear("SUBSCRIBED", ref=6)
        await publish_all("notes:0", [1])
        await peer.hear("SYNC_DELTA", stream="notes:0", to=1)


# -- time --------------------------------------------------------------------------------------------------


async def test_ping_carries_what_was_sent_and_is_answered_by_pong(configure: Any):
    configure(HEARTBEAT=0.05)
    entries = await publish_all(A, range(3))
    async with Peer() as peer:
        await peer.greet({A: entries[-1].position})
        ping = await peer.hear("PING", heads={A: entries[-1].position.wire()})
        peer.say("PONG", t=ping["t"], streams={A: entries[-1].position})
        again = await peer.hear("PING")
        assert again["t"] > ping["t"]


async def test_a_silent_peer_is_given_up(configure: Any):
    configure(HEARTBEAT=0.05, DEAD_AFTER=0.05)
    async with Peer() as peer:
        await peer.greet()
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4008, True, 4008)


async def test_a_peer_that_answers_pings_stays(configure: Any):
    configure(HEARTBEAT=0.05, DEAD_AFTER=0.2)
    async with Peer() as peer:
        await peer.greet()
        for _ in range(8):
            peer.say("PONG", t=(await peer.hear("PING"))["t"], streams={})
        assert peer.socket.closed is None


async def test_a_head_that_cannot_be_verified_is_left_out_of_ping(
    configure: Any, monkeypatch: pytest.MonkeyPatch
):
    from reconnect_channels.live import connection

    configure(HEARTBEAT=0.05, HEAD_CHECK=0.02)
    monkeypatch.setattr(connection, "VERIFIED", 0.1)
    entries = await publish_all(A, range(3))
    async with Peer() as peer:
        await peer.greet({A: entries[-1].position})
        await peer.hear("PING", heads={A: entries[-1].position.wire()})
        heads, DatabaseLog.heads = DatabaseLog.heads, broken  # type: ignore[method-assign]
        try:
            await peer.hear("PING", heads={})
        finally:
            DatabaseLog.heads = heads  # type: ignore[method-assign]
        await peer.hear("PING", heads={A: entries[-1].position.wire()})


def broken(*_: Any) -> Any:
    raise RuntimeError("no database")


async def test_without_ack_progress_past_the_window_the_socket_ends_with_4008(
    monkeypatch: pytest.MonkeyPatch,
):
    impatient(monkeypatch)
    entries = await publish_all(A, range(2_000))
    async with Peer() as peer:
        await peer.greet({A: entries[0].position})
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4008, True, 4008)
        assert peer.kinds(A) == ["SYNC_DELTA"]


async def test_slow_progress_is_progress(monkeypatch: pytest.MonkeyPatch):
    impatient(monkeypatch, 0.2)
    entries = await publish_all(A, range(3_000))
    async with Peer() as peer:
        await peer.greet({A: entries[0].position})
        at = 1
        while at < 3_000:
            page = await peer.sync(A)
            while at < page["to"]:
                at = min(at + 100, page["to"])
                peer.say("ACK", streams={A: entries[at - 1].position})
                await asyncio.sleep(0.02)
        assert peer.socket.closed is None


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.1) -> None:
    from reconnect_channels.live import connection
    from reconnect_channels.protocol.limits import Limits

    monkeypatch.setattr(connection, "_limits", lambda: Limits(ack_timeout=seconds))


async def test_a_peer_that_takes_nothing_is_given_up_and_its_application_ends(
    monkeypatch: pytest.MonkeyPatch,
):
    impatient(monkeypatch)
    monkeypatch.setattr("reconnect_channels.live.connection.FAREWELL", 0.05)
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        peer.socket.block()
        await publish_all(A, [1])
        await publish_all(A, [2])
        assert await peer.socket.ended() is None
        assert not get_hub().feeds[A].taps


# -- endings -------------------------------------------------------------------------------------------------


async def test_nothing_follows_a_close(configure: Any):
    gate, consumer = gated()
    running = Gate()

    class Slow(consumer):  # type: ignore[valid-type, misc]
        async def receive_message(self, message: Any) -> Any:
            await running()

    async with Peer(Slow) as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        peer.message(A, 1)
        await running.arrived.wait()
        peer.say("SUBSCRIBE", ref=1, streams={"notes:slow": None})
        await gate.arrived.wait()
        peer.say("SUBSCRIBE", ref=2, streams={A: {"nonsense": 1}})
        await peer.goodbye()
        gate.opened.set()
        running.opened.set()
        await publish_all(A, range(3))
        await eventually(lambda: not get_hub().feeds[A].taps and not get_hub().feeds["notes:slow"].taps)
        await eventually(ProcessedMessage.objects.filter(status="acked").aexists)
        await peer.goodbye()


async def test_frames_after_the_send_failed_join_nothing():
    async with Peer() as peer:
        await peer.greet({A: None})
        await peer.hear("SYNC_DELTA", complete=True)
        peer.socket.fail()
        await publish_all(A, [1])
        peer.say("SUBSCRIBE", ref=1, streams={"notes:late": None, A: None})
        peer.message("notes:late", 1)
        await peer.socket.close()
        feeds = get_hub().feeds
        await eventually(lambda: not any(feed.taps for feed in feeds.values()))


@pytest.mark.parametrize(
    ("closing", "code"),
    [({}, 4010), ({"code": 4501}, 4501), ({"code": 4321, "reason": "maintenance"}, 4321)],
    ids=["close()", "a terminal code", "a reason"],
)
async def test_a_close_by_the_consumer_is_told_in_a_bye(closing: dict[str, Any], code: int):
    class Closing(NotesConsumer):
        async def receive_message(self, message: Any) -> Any:
            await self.close(**closing)

    async with Peer(Closing) as peer:
        await peer.greet()
        peer.message(A, 1)
        bye, closed = await peer.goodbye()
        assert (bye["code"], closed, bye["reconnect"]) == (code, code, code < 4500)
        assert bye["reason"] == closing.get("reason", "CLOSED")


async def test_a_refusal_in_connect_is_accept_bye_close():
    class Closed(NotesConsumer):
        async def connect(self) -> None:
            await self.close()

    async with Peer(Closed) as peer:
        bye, code = await peer.goodbye()
        assert peer.socket.accepted == {"type": "websocket.accept", "subprotocol": "reconnect.v1"}
        assert (bye["code"], bye["reconnect"], code) == (4503, False, 4503)


async def test_an_ordinary_message_of_the_consumer_goes_out_in_turn():
    class Chatty(NotesConsumer):
        async def receive_message(self, message: Any) -> Any:
            await self.send_json({"type": "application", "n": message.payload})

    async with Peer(Chatty) as peer:
        await peer.greet()
        peer.message(A, 7)
        assert (await peer.hear("application"))["n"] == 7


async def test_a_client_that_comes_back_is_the_same_guest():
    async with StreamCommunicator(NotesConsumer.as_asgi(), "/ws/") as client:
        key = client.post(A, 1)
        await client.outcome(key)
        identity = client.session.identity
        await client.cut()
        await client.resume()
        assert client.session.identity == identity
    async with Peer() as stranger:
        await stranger.greet(identity="forged:" + str(identity))
        assert (await stranger.answer(stranger.message("notes:b", 1, id=key)))["type"] == "ACK"
    assert len({row.identity async for row in ProcessedMessage.objects.all()}) == 2


async def test_the_clock_of_a_message_may_not_leap():
    async with Peer() as peer:
        welcome = await peer.greet()
        far = await peer.answer(peer.message(A, 1, clock=welcome["clock"] + 2**20 + 100_000))
        assert (far["type"], far["code"], far["reason"], far["retry"]) == ("REJECT", 400, "CLOCK", False)
        near = await peer.answer(
            peer.message(A, 1, clock=welcome["clock"] + 1_000, settled=1, id=str(uuid4()))
        )
        assert near["type"] == "ACK"

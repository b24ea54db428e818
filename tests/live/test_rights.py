"""Whatever ends a right ends it on open sockets: by signals at once, by looking again within RECHECK (P8)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import authenticate, get_user_model, login, logout, update_session_auth_hash
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from django.utils import timezone

from reconnect_channels import accounts
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.identity import Login, identity_key
from reconnect_channels.live import judge, rights
from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import Revocation
from tests.live.peer import Peer, eventually, publish_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

STAFF, BOARD, MEMBERS, OPEN = "may:staff", "may:board", "may:members", "may:open"


class May(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Rights by what the user of the scope may do, as Django caches it."""

    stream_prefix = "may:"

    def get_streams(self) -> list[str]:
        groups = self.scope["user"].groups.all() if self.scope["user"].is_authenticated else []
        return [f"may:group-{group.name}" for group in groups]

    def can_subscribe(self, stream: str) -> bool:
        user = self.scope["user"]
        match stream:
            case "may:staff":
                return bool(user.is_staff)
            case "may:board":
                return bool(user.has_perm("auth.view_group"))
            case "may:members":
                return any(group.name == "members" for group in user.groups.all())
        return stream == OPEN


def act(request: HttpRequest) -> HttpResponse:
    match request.GET["do"]:
        case "login":
            user = authenticate(request, username=request.GET["user"], password=request.GET["password"])
            assert user is not None
            login(request, user)
        case "logout":
            logout(request)
        case "password":
            request.user.set_password("another")  # type: ignore[union-attr]
            request.user.save()
            update_session_auth_hash(request, request.user)  # type: ignore[arg-type]
        case "flush":
            request.session.flush()
    return HttpResponse("done")


urlpatterns = [path("act/", act), path("reconnect/", include("reconnect_channels.urls"))]


class Browser:
    """Cookies and sockets of one browser that is logged in."""

    def __init__(self, consumer: Any = May) -> None:
        self.client = Client(headers={"host": "testserver"})
        self.consumer = consumer

    async def do(self, what: str, **query: str) -> None:
        response = await sync_to_async(self.client.get)("/act/", {"do": what, **query})
        assert response.status_code == 200

    def socket(self) -> Peer:
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self.client.cookies.items())
        application = AuthMiddlewareStack(self.consumer.as_asgi())
        return Peer(application, headers={"cookie": cookies} if cookies else {})


@pytest.fixture(autouse=True)
async def ada(settings: Any) -> AsyncIterator[Any]:
    settings.ROOT_URLCONF = __name__
    users = get_user_model().objects
    await users.acreate_user("eve", password="secret")
    yield await users.acreate_user("ada", password="secret", is_staff=True)
    await sync_to_async(connections.close_all)()


async def browser(name: str = "ada", password: str = "secret", consumer: Any = May) -> Browser:
    made = Browser(consumer)
    await made.do("login", user=name, password=password)
    return made


async def live(peer: Peer, *streams: str, **fields: Any) -> None:
    await peer.greet(dict.fromkeys(streams), **fields)
    for stream in streams:
        await peer.hear("SYNC_DELTA", stream=stream, complete=True)


async def goes(peer: Peer, code: int, reason: str) -> None:
    bye, closed = await peer.goodbye()
    assert (bye["reason"], bye["code"], closed) == (reason, code, code)
    assert bye["reconnect"] is (code < 4500)
    heard = len(peer.socket.sent)
    await publish_all(OPEN, ["after"])
    await asyncio.sleep(0.05)
    assert len(peer.socket.sent) == heard


async def loses(peer: Peer, stream: str) -> None:
    error = await peer.hear("ERROR")
    assert (error["code"], error["streams"]) == (403, [stream])
    await publish_all(stream, ["secret"])
    await publish_all(OPEN, ["public"])
    await peer.until(lambda frame: "public" in str(frame))
    assert "secret" not in str(peer.heard)


# -- accounts: signals -------------------------------------------------------------------------------


async def test_logout_ends_the_sockets_of_its_session_alone():
    here, there = await browser(), await browser()
    async with here.socket() as one, here.socket() as two, there.socket() as other:
        for peer in (one, two, other):
            await live(peer, OPEN)
        await here.do("logout")
        await goes(one, 4501, "logged out")
        await goes(two, 4501, "logged out")
        await other.still_works(OPEN)


async def test_who_logs_in_again_at_once_is_let_in():
    here = await browser()
    async with here.socket() as before:
        await live(before, OPEN)
        await here.do("logout")
        await here.do("login", user="ada", password="secret")
        async with here.socket() as after:
            await live(after, OPEN)
            await goes(before, 4501, "logged out")
            await after.still_works(OPEN)


async def test_a_logout_without_a_request_sends_all_of_the_user_s_sockets_to_come_back(ada: Any):
    from channels.auth import logout as leave

    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
        await leave({"session": here.client.session, "user": ada})
        await goes(peer, 4010, "logged out")
    async with here.socket() as peer:
        await peer.greet({})
        assert peer.socket.scope


async def test_a_changed_password_ends_every_socket_of_older_sessions_and_the_changer_comes_back():
    here, there, third = await browser(), await browser(), await browser("eve")
    async with here.socket() as mine, there.socket() as other, third.socket() as eve:
        for peer in (mine, other, eve):
            await live(peer, OPEN)
        await here.do("password")
        await goes(mine, 4010, "password changed")
        await goes(other, 4010, "password changed")
        await eve.still_works(OPEN)
    async with here.socket() as mine:  # with the cookie of the answer
        await live(mine, STAFF)
        await asyncio.sleep(1.1)  # the row is looked at meanwhile
        await mine.still_works(STAFF)
    async with there.socket() as other:
        await other.greet({STAFF: None})
        assert (await other.hear("ERROR"))["code"] == 403


async def test_a_page_of_an_older_session_is_told_to_log_in(ada: Any):
    here, there = await browser(), await browser()
    key = await sync_to_async(identity_key)(ada, None)
    async with there.socket() as other:
        await live(other, OPEN, key=key)
        await here.do("password")
        await goes(other, 4010, "password changed")
    async with there.socket() as other:
        other.hello({OPEN: None}, key=key)
        assert (await other.goodbye())[1] == 4501


@pytest.mark.parametrize("fields", [None, ["is_active"]], ids=["all", "one field"])
async def test_deactivation_ends_the_user_s_sockets(ada: Any, fields: Any):
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
        ada.is_active = False
        await ada.asave(update_fields=fields)
        await goes(peer, 4501, "deactivated")


async def test_a_deactivated_user_who_gets_past_authentication_is_refused(ada: Any):
    ada.is_active = False
    await ada.asave()
    async with Peer(May, scope={"user": ada}) as peer:
        peer.hello({OPEN: None})
        bye, code = await peer.goodbye()
        assert (bye["reason"], code) == ("deactivated", 4501)


async def test_a_deleted_user_s_sockets_end(ada: Any):
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
        await ada.adelete()
        await goes(peer, 4501, "deleted")


async def test_an_account_that_is_saved_unchanged_or_logs_in_revokes_nothing(ada: Any):
    await browser()
    await ada.arefresh_from_db()
    ada.first_name = "Ada"
    await ada.asave()
    assert not await Revocation.objects.aexists()


async def test_nothing_happens_before_the_transaction_of_the_account_is_committed(ada: Any):
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)

        def rolled_back() -> None:
            with transaction.atomic():
                ada.is_active = False
                ada.save()
                transaction.set_rollback(True)

        await sync_to_async(rolled_back)()
        await asyncio.sleep(1.1)
        await peer.still_works(OPEN)


async def test_a_logout_succeeds_though_its_revocation_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)

        def broken(*args: Any, **kwargs: Any) -> None:
            raise OperationalError("no such table")

        monkeypatch.setattr(Revocation, "save", broken)
        await here.do("logout")
        assert "couldn't be written" in caplog.text
        await goes(peer, 4501, "logged out")  # by news


# -- rights: signals ---------------------------------------------------------------------------------

# What gives eve the right to BOARD or MEMBERS, and what takes it away.
Step = Callable[[Any, Any, Any], None]


def _perm() -> Permission:
    return Permission.objects.get(codename="view_group")


LOSSES: dict[str, tuple[str, Step, Step]] = {
    "a group of the user": (
        MEMBERS,
        lambda user, group, perm: user.groups.add(group),
        lambda user, group, perm: user.groups.remove(group),
    ),
    "a user of the group": (
        MEMBERS,
        lambda user, group, perm: group.user_set.add(user),
        lambda user, group, perm: group.user_set.remove(user),
    ),
    "all groups of the user": (
        MEMBERS,
        lambda user, group, perm: user.groups.add(group),
        lambda user, group, perm: user.groups.clear(),
    ),
    "all users of the group": (
        MEMBERS,
        lambda user, group, perm: user.groups.add(group),
        lambda user, group, perm: group.user_set.clear(),
    ),
    "the group": (
        MEMBERS,
        lambda user, group, perm: user.groups.add(group),
        lambda user, group, perm: group.delete(),
    ),
    "a permission of the user": (
        BOARD,
        lambda user, group, perm: user.user_permissions.add(perm),
        lambda user, group, perm: user.user_permissions.remove(perm),
    ),
    "a permission of the group": (
        BOARD,
        lambda user, group, perm: (user.groups.add(group), group.permissions.add(perm))[0],
        lambda user, group, perm: group.permissions.remove(perm),
    ),
    "superuser": (
        BOARD,
        lambda user, group, perm: type(user).objects.filter(pk=user.pk).update(is_superuser=True),
        lambda user, group, perm: _set(user, is_superuser=False),
    ),
}


def _set(user: Any, **fields: Any) -> None:
    user.refresh_from_db()
    for name, value in fields.items():
        setattr(user, name, value)
    user.save()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
async def test_what_groups_and_permissions_gave_they_take_away(
    loss: tuple[str, Step, Step], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rights, "SPREAD", 0.0)
    stream, give, take = loss
    eve = await get_user_model().objects.aget(username="eve")
    group = await Group.objects.acreate(name="members")
    perm = await sync_to_async(_perm)()
    await sync_to_async(give)(eve, group, perm)
    here = await browser("eve")
    async with here.socket() as peer:
        await live(peer, stream, OPEN)
        await sync_to_async(take)(eve, group, perm)
        error = await peer.until(lambda f: f["type"] == "ERROR" and stream in f["streams"])
        assert error["code"] == 403
        await publish_all(stream, ["secret"])
        await publish_all(OPEN, ["public"])
        await peer.until(lambda frame: "public" in str(frame))
        assert "secret" not in str(peer.heard)
        peer.say("SUBSCRIBE", ref=1, streams={stream: None})
        assert (await peer.hear("ERROR", ref=1))["code"] == 403  # also now: the user is a fresh one


async def test_many_changes_of_groups_are_one_look_at_everybody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rights, "SPREAD", 0.3)
    looks: list[int] = []
    real = accounts.standings
    monkeypatch.setattr(judge, "standings", lambda logins: (looks.append(len(logins)), real(logins))[1])
    group = await Group.objects.acreate(name="members")
    perm = await sync_to_async(_perm)()
    here = await browser()
    async with here.socket() as one, here.socket() as two:
        await live(one, OPEN)
        await live(two, OPEN)
        for _ in range(5):
            await group.permissions.aadd(perm)
            await group.permissions.aremove(perm)
        assert await Revocation.objects.acount() == 5
        await eventually(lambda: looks == [2])
        await one.still_works(OPEN)


async def test_a_stream_of_get_streams_ends_with_what_gave_it():
    eve = await get_user_model().objects.aget(username="eve")
    group = await Group.objects.acreate(name="choir")
    await eve.groups.aadd(group)
    here = await browser("eve")
    async with here.socket() as peer:
        assert (await peer.greet({OPEN: None}))["streams"] == ["may:group-choir"]
        await peer.hear("SYNC_DELTA", stream="may:group-choir")
        await eve.groups.aremove(group)
        await loses(peer, "may:group-choir")


async def test_a_right_that_is_given_later_is_seen_by_an_open_socket():
    eve = await get_user_model().objects.aget(username="eve")
    here = await browser("eve")
    async with here.socket() as peer:
        await peer.greet({BOARD: None})
        assert (await peer.hear("ERROR"))["code"] == 403  # the user of the scope now knows that it may not
        await eve.user_permissions.aadd(await sync_to_async(_perm)())
        await asyncio.sleep(0.1)
        peer.say("SUBSCRIBE", ref=1, streams={BOARD: None})
        await peer.hear("SYNC_DELTA", stream=BOARD)


# -- looking again -----------------------------------------------------------------------------------


@pytest.fixture
def often(configure: Callable[..., None]) -> None:
    configure(RECHECK=0.4)


async def _update(**fields: Any) -> None:
    await get_user_model().objects.filter(username="ada").aupdate(**fields)


UNSIGNALLED: dict[str, tuple[Any, int, str]] = {
    "deactivated by update()": (lambda here: _update(is_active=False), 4501, "deactivated"),
    "another password by update()": (lambda here: _update(password="x"), 4010, "password changed"),
    "session deleted": (lambda here: Session.objects.all().adelete(), 4010, "session ended"),
    "session expired": (
        lambda here: Session.objects.aupdate(expire_date="2000-01-01T00:00:00Z"),
        4010,
        "session ended",
    ),
    "session flushed": (lambda here: here.do("flush"), 4010, "session ended"),
}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("cause", UNSIGNALLED.values(), ids=UNSIGNALLED.keys())
async def test_what_no_signal_tells_is_found_by_looking_again(cause: tuple[Any, int, str]):
    change, code, reason = cause
    here, other = await browser(), await browser("eve")
    async with here.socket() as peer:
        await live(peer, OPEN)
        await change(here)
        await goes(peer, code, reason)
    assert not await Revocation.objects.aexists()
    assert other


@pytest.mark.usefixtures("often")
async def test_a_right_that_ended_silently_ends_its_stream_alone():
    here = await browser()
    async with here.socket() as peer:
        await live(peer, STAFF, OPEN)
        await asyncio.sleep(0.5)
        await peer.still_works(STAFF)
        await _update(is_staff=False)
        await loses(peer, STAFF)


ENGINES = ["db", "cached_db", "cache", "file"]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("engine", ENGINES)
async def test_sessions_of_every_kind_are_looked_at(engine: str, settings: Any, tmp_path: Any):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    here, there = await browser(), await browser()
    async with here.socket() as peer, there.socket() as other:
        await live(peer, OPEN)
        await live(other, OPEN)
        await asyncio.sleep(0.6)
        await peer.still_works(OPEN)
        await here.do("flush")
        await goes(peer, 4010, "session ended")
        await other.still_works(OPEN)


async def test_sessions_in_cookies_end_with_the_logout_of_their_user(settings: Any):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
        await here.do("logout")
        await goes(peer, 4010, "logged out")
    async with here.socket() as peer:
        await peer.greet({STAFF: None})
        assert (await peer.hear("ERROR"))["code"] == 403


class Failing(May):
    """Its rights can't be read any more once `error` is set."""

    error: Exception | None = None

    def can_subscribe(self, stream: str) -> bool:
        if self.error is not None and stream == STAFF:
            raise self.error
        return True


@pytest.fixture
def failing() -> Iterator[Any]:
    yield Failing
    Failing.error = None


@pytest.mark.usefixtures("often")
async def test_a_database_that_fails_takes_no_right_away(failing: Any, caplog: pytest.LogCaptureFixture):
    here = await browser(consumer=failing)
    async with here.socket() as peer:
        await live(peer, STAFF, OPEN)
        failing.error = OperationalError("down")
        await eventually(lambda: caplog.text.count("sockets are unknown") >= 3)
        assert "ERROR" not in peer.kinds()
        await publish_all(STAFF, ["still"])
        await peer.hear("SYNC_DELTA", stream=STAFF, to=1)


@pytest.mark.usefixtures("often")
async def test_a_hook_that_keeps_failing_ends_its_streams_until_they_are_asked_for_again(
    failing: Any, caplog: pytest.LogCaptureFixture
):
    here = await browser(consumer=failing)
    async with here.socket() as peer:
        await live(peer, STAFF)
        failing.error = KeyError("the membership is gone")
        error = await peer.hear("ERROR")
        assert (error["code"], error["streams"]) == (503, [STAFF])
        assert error["retry_after_ms"] > 0
        assert caplog.text.count("1 sockets are unknown") == 2
        failing.error = None
        peer.say("SUBSCRIBE", ref=1, streams={STAFF: None})
        await peer.hear("SYNC_DELTA", stream=STAFF)


@pytest.mark.usefixtures("often")
async def test_users_that_cannot_be_read_cut_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    failures: list[Any] = []

    def fail(logins: Any) -> Any:
        failures.append(logins)
        raise OperationalError("down")

    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
        with monkeypatch.context() as patch:
            patch.setattr(judge, "standings", fail)
            await eventually(lambda: len(failures) >= 3)
        await peer.still_works(OPEN)
        await _update(is_active=False)
        await goes(peer, 4501, "deactivated")


def test_the_users_and_sessions_of_a_chunk_are_two_queries():
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"user {n}", password=str(n)) for n in range(judge.CHUNK)
    )
    soon = timezone.now() + timedelta(days=1)
    Session.objects.bulk_create(
        Session(session_key=f"key {n}", expire_date=soon) for n in range(judge.CHUNK - 1)
    )
    logins = [
        (user, Login(f"user:{user.pk}", True, f"key {n}", "", user.get_session_auth_hash()))
        for n, user in enumerate(users)
    ]
    with CaptureQueriesContext(connection) as queries:
        found = accounts.standings(logins)
    assert len(queries) == 2
    assert [standing.problem for standing in found] == [""] * (judge.CHUNK - 1) + ["session ended"]
    assert [standing.user for standing in found[:-1]] == users[:-1]


async def test_guests_and_users_without_rows_are_asked_by_hooks_alone(configure: Callable[..., None]):
    class Token:
        is_authenticated, is_active, pk = True, True, "of a token"

    configure(RECHECK=0.2)
    opened = True

    class Hooked(May):
        def get_streams(self) -> list[str]:
            return []

        def can_subscribe(self, stream: str) -> bool:
            return opened

    async with (
        Peer(Hooked, scope={"user": Token()}) as one,
        Peer(Hooked, scope={"user": AnonymousUser()}) as two,
        Peer(Hooked) as three,
    ):
        for peer in (one, two, three):
            await live(peer, OPEN)
        await asyncio.sleep(0.3)
        opened = False
        for peer in (one, two, three):
            assert (await peer.hear("ERROR"))["code"] == 403


async def test_looking_again_ends_with_the_sockets(often: None, caplog: pytest.LogCaptureFixture):
    here = await browser()
    async with here.socket() as peer:
        await live(peer, OPEN)
    await eventually(lambda: not len(get_hub().rights))
    hub = get_hub().rights
    assert not hub._by_identity
    assert not hub._by_session
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- HTTP --------------------------------------------------------------------------------------------


async def test_the_http_delta_judges_each_request(ada: Any):
    here = await browser()

    def status() -> int:
        return here.client.get(f"/reconnect/streams/{STAFF}/delta").status_code

    assert await sync_to_async(status)() == 200
    await _update(is_staff=False)
    assert await sync_to_async(status)() == 403
    await _update(is_staff=True)
    await here.do("logout")
    assert await sync_to_async(status)() == 403

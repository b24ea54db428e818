"""The key of who is logged in: the same on the page and on its socket, through the real middleware."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.sessions import SessionMiddlewareStack
from django.contrib.auth import get_user_model, login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import path

from reconnect_channels.live.hub import get_hub
from reconnect_channels.models import ProcessedMessage, StreamEntry
from tests.app.consumers import NotesConsumer
from tests.live.peer import Peer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

A = "notes:a"


def page(request: HttpRequest) -> HttpResponse:
    template = Template("{% load reconnect_channels %}{% reconnect_client %}")
    return HttpResponse(template.render(RequestContext(request)))


def act(request: HttpRequest) -> HttpResponse:
    """Does something to the login, and answers with a page at once."""
    user = get_user_model().objects.filter(username=request.GET.get("user", "")).first()
    match request.GET["do"]:
        case "login":
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        case "logout":
            logout(request)
        case "password":
            request.user.set_password("another")
            request.user.save()
            update_session_auth_hash(request, request.user)
        case "cycle":
            request.session.cycle_key()
        case "visit":
            request.session["seen"] = request.session.get("seen", 0) + 1
        case "flush":
            request.session.flush()
    return page(request)


urlpatterns = [path("page/", page), path("act/", act)]


class Browser:
    """Cookies, pages and sockets of one browser."""

    def __init__(self) -> None:
        self.client = Client(headers={"host": "testserver"})

    def _key(self, url: str, **query: str) -> str | None:
        html = self.client.get(url, query).content.decode()
        assert "data-reconnect-channels" in html
        found = re.search(r' data-key="([^"]+)"', html)
        return found and found[1]

    async def page(self) -> str | None:
        """The key of a page that is opened now."""
        return await sync_to_async(self._key)("/page/")

    async def do(self, what: str, **query: str) -> str | None:
        return await sync_to_async(self._key)("/act/", do=what, **query)

    def socket(self, stack: Callable[[Any], Any] = AuthMiddlewareStack) -> Peer:
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self.client.cookies.items())
        return Peer(stack(NotesConsumer.as_asgi()), headers={"cookie": cookies} if cookies else {})

    async def welcomed(self, key: str | None) -> str | None:
        """Greets with a key; returns what WELCOME says of it."""
        async with self.socket() as peer:
            return (await peer.greet(**({} if key is None else {"key": key}))).get("key")


async def refused(peer: Peer, key: str) -> None:
    peer.hello({A: None}, key=key)
    peer.message(A, "of somebody else")
    bye, code = await peer.goodbye()
    assert (bye["code"], bye["reason"], bye["reconnect"], code) == (4501, "another identity", False, 4501)
    assert peer.kinds() == ["BYE"]
    assert not get_hub().feeds
    assert not len(get_hub().holders)


async def nothing_happened() -> None:
    assert not await StreamEntry.objects.aexists()
    assert not await ProcessedMessage.objects.aexists()


@pytest.fixture(autouse=True)
async def users(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    for name in ("ada", "eve"):
        await get_user_model().objects.acreate_user(name, password="secret")


@pytest.fixture
def browser() -> Browser:
    return Browser()


async def test_a_page_and_its_socket_have_the_same_key(browser: Browser):
    await browser.do("login", user="ada")
    key = await browser.page()
    assert key is not None
    assert await browser.welcomed(key) == key
    assert await browser.welcomed(None) == key  # a page without a key learns it


async def test_two_pages_of_one_login_share(browser: Browser):
    at_once = await browser.do("login", user="ada")
    assert at_once == await browser.page() == await browser.page()


async def test_it_outlives_the_session_s_key_and_the_password(browser: Browser):
    key = await browser.do("login", user="ada")
    before = browser.client.cookies["sessionid"].value
    assert await browser.do("cycle") == key
    assert browser.client.cookies["sessionid"].value != before
    assert await browser.do("password") == key
    assert await browser.page() == key
    assert await browser.welcomed(key) == key


async def test_two_browsers_of_one_user_are_the_same_identity(browser: Browser):
    other = Browser()
    assert await browser.do("login", user="ada") == await other.do("login", user="ada")


async def test_two_users_never_share(browser: Browser):
    keys = [await browser.do("login", user=name) for name in ("ada", "eve", "ada")]
    assert keys[0] == keys[2] != keys[1]
    other = Browser()
    assert await other.do("login", user="eve") == keys[1]


async def test_login_and_logout_change_it(browser: Browser):
    await browser.do("visit")
    visitor = await browser.page()
    ada = await browser.do("login", user="ada")
    assert await browser.do("logout") is None
    gone = await browser.page()
    assert visitor is not None
    assert ada is not None
    assert gone is None
    assert visitor != ada


async def test_a_visitor_with_a_session_has_a_key_and_without_one_none(browser: Browser):
    assert await browser.page() is None
    assert not browser.client.cookies  # none is made for the key's sake
    assert await browser.welcomed(None) is None
    assert await browser.do("visit") is None  # it isn't saved yet
    key = await browser.page()
    assert key is not None
    assert key == await browser.page()
    assert await browser.welcomed(key) == key
    other = Browser()
    await other.do("visit")
    assert await other.page() not in (None, key)


async def test_a_session_that_is_gone_gives_no_key(browser: Browser):
    await browser.do("visit")
    browser.client.cookies["sessionid"] = "x" * 32  # as long as a session's, but nobody's
    assert await browser.page() is None
    assert await browser.welcomed(None) is None


@pytest.mark.parametrize("engine", ["cache", "cached_db", "file"])
async def test_every_engine_gives_page_and_socket_the_same(
    browser: Browser, engine: str, settings: Any, tmp_path: Any
):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    await browser.do("visit")
    visitor = await browser.page()
    assert visitor is not None
    assert await browser.welcomed(visitor) == visitor
    ada = await browser.do("login", user="ada")
    assert await browser.welcomed(ada) == ada != visitor


async def test_a_session_in_a_cookie_knows_users_but_not_visitors(browser: Browser, settings: Any):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    await browser.do("visit")
    assert await browser.page() is None  # its key is its contents, and changes with them
    assert await browser.welcomed(None) is None
    ada = await browser.do("login", user="ada")
    assert ada is not None
    await browser.do("visit")
    assert await browser.page() == ada
    assert await browser.welcomed(ada) == ada


async def test_an_older_secret_is_still_known(browser: Browser, settings: Any):
    await browser.do("visit")
    rendered = await browser.page()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one, long enough for every signer too"
    current = await browser.welcomed(rendered)
    assert current not in (None, rendered)
    assert await browser.page() == current
    settings.SECRET_KEY_FALLBACKS = []
    async with browser.socket() as peer:
        await refused(peer, rendered or "")


# -- refusals ------------------------------------------------------------------------------------------


async def test_a_page_of_somebody_else_opens_nothing(browser: Browser):
    ada = await browser.do("login", user="ada")
    assert ada is not None
    await browser.do("login", user="eve")
    async with browser.socket() as peer:
        await refused(peer, ada)
    await browser.do("logout")
    async with browser.socket() as peer:
        await refused(peer, ada)
    await nothing_happened()


@pytest.mark.parametrize("key", ["", "x", "0" * 32, "\u00e9" * 32, "k" * 200], ids=ascii)
async def test_a_key_that_is_none_opens_nothing(browser: Browser, key: str):
    await browser.do("login", user="ada")
    async with browser.socket() as peer:
        await refused(peer, key)
    await nothing_happened()


async def test_a_wrong_key_asks_the_consumer_nothing_and_fences_nobody(browser: Browser):
    asked = []

    class Curious(NotesConsumer):
        def get_identity(self) -> str:
            asked.append("identity")
            return "everybody"

        def get_streams(self) -> list[str]:
            asked.append("streams")
            return []

    async with Peer(Curious) as good, Peer(Curious) as bad:
        await good.greet(term=1, client_id="one")
        asked.clear()
        bad.hello(term=2, client_id="one", key="k" * 32)
        assert (await bad.goodbye())[0]["code"] == 4501
        assert not asked
        await good.still_works()


async def test_an_identity_of_the_consumer_s_own_leaves_the_key_alone(browser: Browser):
    class Team(NotesConsumer):
        def get_identity(self) -> str:
            return "team:1"

    ada = await browser.do("login", user="ada")
    cookie = f"sessionid={browser.client.cookies['sessionid'].value}"
    async with Peer(AuthMiddlewareStack(Team.as_asgi()), headers={"cookie": cookie}) as peer:
        assert (await peer.greet(key=ada))["key"] == ada
        await peer.still_works()
    row = await ProcessedMessage.objects.aget()
    assert row.identity == "team:1"


async def test_a_socket_that_knows_nobody_refuses_a_key_and_says_why_in_the_log(
    browser: Browser, caplog: pytest.LogCaptureFixture
):
    ada = await browser.do("login", user="ada")
    assert ada is not None
    async with browser.socket(lambda consumer: consumer) as peer:
        await refused(peer, ada)
    assert "AuthMiddlewareStack" in caplog.text


async def test_a_socket_with_a_session_but_no_user_knows_visitors(browser: Browser):
    await browser.do("visit")
    key = await browser.page()
    async with browser.socket(SessionMiddlewareStack) as peer:
        assert (await peer.greet(key=key))["key"] == key


async def test_tabs_of_a_crowd_get_their_own_keys():
    browsers = [Browser() for _ in range(8)]
    for number, browser in enumerate(browsers):
        await browser.do("login", user=("ada", "eve")[number % 2])
    pages = [await browser.page() for browser in browsers]
    assert len(set(pages)) == 2
    assert await asyncio.gather(*(b.welcomed(key) for b, key in zip(browsers, pages, strict=True))) == pages

"""{% reconnect_client %}, {% reconnect_positions %}: what a page carries for the browser client."""

import html
import json
import re
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.urls import include, path
from django.utils.functional import SimpleLazyObject, empty

from reconnect_channels import apositions, jinja, positions, publish
from reconnect_channels.identity import identity_key, identity_keys
from reconnect_channels.log import log_for
from reconnect_channels.testing import closed_hub
from tests.live.peer import Peer, publish_all

TEMPLATE = "{% load reconnect_channels %}{% reconnect_client %}"
SRC = "/static/reconnect_channels/reconnect-channels.min.js"
REST = 'data-reconnect-channels data-delta="/reconnect/streams/STREAM/delta"></script>'


class LazyNonce(SimpleLazyObject):
    """Like Django 6's: false until somebody has used it."""

    def __init__(self) -> None:
        super().__init__(lambda: "l4zy")

    def __bool__(self) -> bool:
        return self._wrapped is not empty


def render(**context):
    return Template(TEMPLATE).render(Context(context))


@pytest.fixture
def request_():
    return RequestFactory().get("/")


def test_without_a_nonce():
    assert render() == f'<script type="module" src="{SRC}" {REST}'


def test_without_a_request():
    assert render(request=None) == render()


def test_the_nonce_of_the_context():
    assert render(csp_nonce="abc") == f'<script type="module" src="{SRC}" nonce="abc" {REST}'


def test_the_nonce_of_the_request(request_):
    request_.csp_nonce = "def"
    assert Template(TEMPLATE).render(RequestContext(request_)) == render(csp_nonce="def")


def test_the_context_s_nonce_goes_before_the_request_s(request_):
    request_.csp_nonce = "def"
    assert render(request=request_, csp_nonce="abc") == render(csp_nonce="abc")


def test_a_nonce_that_nobody_used_yet_is_one(request_):
    assert render(csp_nonce=LazyNonce()) == render(csp_nonce="l4zy")
    request_.csp_nonce = LazyNonce()
    assert render(request=request_) == render(csp_nonce="l4zy")


def test_the_nonce_of_django_itself():
    csp = pytest.importorskip("django.utils.csp", reason="Django 6")
    nonce = csp.LazyNonce()
    html = render(csp_nonce=nonce)
    assert html == render(csp_nonce=str(nonce))


@pytest.mark.parametrize("nonce", [None, ""], ids=repr)
def test_an_empty_nonce_is_none(request_, nonce):
    request_.csp_nonce = nonce
    assert render(request=request_, csp_nonce=nonce) == render()


def test_a_nonce_is_escaped():
    assert render(csp_nonce='"><script>') == render(csp_nonce="x").replace('x"', '&quot;&gt;&lt;script&gt;"')


def test_the_address_of_static_files_is_used_and_escaped(settings):
    settings.STATIC_URL = "https://cdn.example/a&b/"
    assert 'src="https://cdn.example/a&amp;b/reconnect_channels/' in render()


def test_the_small_bundle():
    template = Template("{% load reconnect_channels %}{% reconnect_client core=True %}")
    assert template.render(Context()) == render().replace("channels.min.js", "channels-core.min.js")


def test_a_site_without_our_urls_gets_no_address_of_deltas(settings):
    settings.ROOT_URLCONF = ()
    assert render() == f'<script type="module" src="{SRC}" data-reconnect-channels></script>'


def test_the_address_of_deltas_is_that_of_the_site(settings):
    settings.ROOT_URLCONF = (path("a&b/", include("reconnect_channels.urls")),)
    assert ' data-delta="/a&amp;b/streams/STREAM/delta"' in render()


# -- the identity key ----------------------------------------------------------------------------------


def key_in(text):
    found = re.search(r' data-key="([0-9a-f]{32})"', text)
    return found and found[1]


def user(pk, **fields):
    return SimpleNamespace(is_authenticated=True, pk=pk, **fields)


def test_the_key_of_who_is_logged_in(request_):
    request_.user = user(7)
    assert key_in(render(request=request_)) == identity_key(request_.user, None)


@pytest.mark.parametrize("nobody", [None, AnonymousUser()], ids=["no user", "anonymous"])
def test_nobody_without_a_session_has_no_key(request_, nobody):
    request_.user = nobody
    assert "data-key" not in render(request=request_)


def test_a_user_that_is_not_saved_has_no_key():
    assert identity_keys(user(None), None) == []


def test_keys_say_nothing_of_whom_they_are_and_differ():
    keys = {identity_key(user(pk), None) for pk in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)


def test_the_key_hangs_on_the_secret(settings):
    before = identity_key(user(7), None)
    settings.SECRET_KEY = "another"
    assert identity_key(user(7), None) != before
    settings.SECRET_KEY_FALLBACKS = ["only for tests, long enough for every signer"]
    assert identity_keys(user(7), None)[1] == before


@pytest.mark.django_db
@pytest.mark.database
def test_a_visitor_s_key_is_the_session_s_and_asking_makes_none():
    sessions = [SessionStore() for _ in range(3)]
    for session in sessions[:2]:
        session["seen"] = 1
        session.save()
    one, other, unsaved = (identity_key(AnonymousUser(), SessionStore(s.session_key)) for s in sessions)
    assert len({one, other, unsaved}) == 3
    assert unsaved is None
    assert sessions[2].session_key is None


@pytest.mark.django_db
@pytest.mark.database
def test_a_page_with_the_tag_varies_by_cookie(client, settings):
    def page(request):
        return HttpResponse(Template(TEMPLATE).render(RequestContext(request)))

    settings.ROOT_URLCONF = (path("page/", page),)
    client.force_login(get_user_model().objects.create(username="ada"))
    response = client.get("/page/")
    assert key_in(response.content.decode())
    assert response["Vary"] == "Cookie"


def test_an_async_view_that_loaded_no_user_gets_no_key(request_):
    def load():
        raise SynchronousOnlyOperation

    request_.user = SimpleLazyObject(load)
    assert render(request=request_) == render()


# -- positions -----------------------------------------------------------------------------------------


def positions_in(text):
    found = re.fullmatch(
        '<script type="application/json" data-reconnect-positions>(.*)</script>', text, re.DOTALL
    )
    return json.loads(found[1])


def render_positions(arguments, **context):
    template = Template("{% load reconnect_channels %}{% reconnect_positions " + arguments + " %}")
    return positions_in(template.render(Context(context)))


@pytest.mark.django_db
@pytest.mark.database
class TestPositions:
    def test_where_streams_stand(self):
        entry = [publish("notes:a", n) for n in range(3)][-1]
        assert positions(["notes:a"]) == {"notes:a": entry.position.wire()}

    def test_a_stream_without_entries_is_begun(self):
        assert positions(["notes:new"]) == {
            "notes:new": {
                "epoch": log_for("notes:new").heads(["notes:new"])["notes:new"].epoch,
                "last_seq_id": 0,
                "checksum": 0,
            }
        }

    def test_many_are_one_read(self, django_assert_num_queries):
        names = [f"notes:{n}" for n in range(20)]
        positions(names)
        with django_assert_num_queries(1):
            assert list(positions(iter([*names, *names]))) == names

    def test_none_are_none(self):
        assert positions([]) == {}

    @pytest.mark.parametrize(
        "name", ["", "a b", "</script>", "x" * 101], ids=["empty", "space", "markup", "long"]
    )
    def test_what_is_no_name_is_refused(self, name):
        with pytest.raises(ValueError, match="not a stream name"):
            positions([name])

    def test_the_tag_takes_what_the_view_read_before(self):
        known = positions(["notes:a"])
        publish("notes:a", 1)
        assert render_positions("known", known=known) == known
        assert known != positions(["notes:a"])

    def test_the_tag_reads_positions_by_name(self):
        publish("notes:a", 1)
        expected = positions(["notes:a", "notes:b"])
        assert render_positions("'notes:a' other", other="notes:b") == expected

    def test_both_at_once(self):
        known = positions(["notes:a"])
        assert render_positions("known 'notes:b'", known=known) == positions(["notes:a", "notes:b"])

    def test_nothing_ends_the_element_before_its_end(self):
        hostile = {
            "</script><script>alert(1)</script>&amp;": {"epoch": "<!--", "last_seq_id": 1, "checksum": 0}
        }
        template = Template("{% load reconnect_channels %}{% reconnect_positions known %}")
        text = template.render(Context({"known": hostile}))
        assert text.count("<") == 2
        assert positions_in(text) == hostile
        assert html.unescape(text) == text

    def test_the_functions_for_jinja_give_the_same(self, request_):
        request_.user = user(7)
        request_.csp_nonce = LazyNonce()
        assert jinja.reconnect_client(request_) == render(request=request_)
        assert jinja.reconnect_client(request_, nonce="n") == render(request=request_, csp_nonce="n")
        assert "core.min.js" in jinja.reconnect_client(core=True)
        known = positions(["notes:a"])
        assert positions_in(jinja.reconnect_positions(known)) == known


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
async def test_what_happens_between_the_page_and_its_socket_is_delivered():
    async with closed_hub():
        await publish_all("notes:a", ["on the page"])
        known = await apositions(["notes:a"])
        await publish_all("notes:a", ["on the page, perhaps", "after it"])
        async with Peer() as peer:
            await peer.greet(known)
            frame = await peer.sync("notes:a")
            assert frame["type"] == "SYNC_DELTA"
            assert [entry["payload"] for entry in frame["payload"]] == ["on the page, perhaps", "after it"]

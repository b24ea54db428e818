"""{% reconnect_client %}: the script of the browser client, with the page's CSP nonce."""

import pytest
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject, empty

TEMPLATE = "{% load reconnect_channels %}{% reconnect_client %}"
SRC = "/static/reconnect_channels/reconnect-channels.min.js"


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
    assert render() == f'<script type="module" src="{SRC}"></script>'


def test_without_a_request():
    assert render(request=None) == render()


def test_the_nonce_of_the_context():
    assert render(csp_nonce="abc") == f'<script type="module" src="{SRC}" nonce="abc"></script>'


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

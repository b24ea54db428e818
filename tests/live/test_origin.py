"""Which pages may open a socket (design 13). A refusal is accept, BYE, close."""

from typing import Any

import pytest

from tests.live.peer import Peer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

HOST = ("host", "testserver")


async def verdict(headers: list[tuple[str, Any]], scheme: str = "ws") -> str:
    """`welcome`, or how the socket was refused."""
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    async with Peer(scope={"headers": raw, "scheme": scheme}) as peer:
        assert peer.socket.accepted == {"type": "websocket.accept", "subprotocol": "reconnect.v1"}
        peer.hello({"notes:a": None})
        first = await peer.until(lambda frame: True)
        if first["type"] == "WELCOME":
            return "welcome"
        bye, code = await peer.goodbye()
        assert (bye["code"], bye["reconnect"], code) == (4503, False, 4503)
        assert peer.kinds() == ["BYE"]
        return str(bye["reason"])


@pytest.mark.parametrize(
    ("host", "origin", "scheme"),
    [
        ("testserver", "http://testserver", "ws"),
        ("testserver:8000", "http://testserver:8000", "ws"),
        ("testserver:80", "http://testserver", "ws"),
        ("testserver", "http://testserver:80", "ws"),
        ("TestServer", "http://testserver", "ws"),
        ("testserver", "https://testserver", "wss"),
        ("testserver", "https://testserver", "ws"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", "ws"),
    ],
    ids=[
        "same",
        "port",
        "port 80 said",
        "port 80 in the origin",
        "case",
        "TLS",
        "TLS ends at a proxy",
        "address",
    ],
)
async def test_the_site_itself_is_welcome(host: str, origin: str, scheme: str):
    assert await verdict([("host", host), ("origin", origin)], scheme) == "welcome"


async def test_an_ipv6_address_is_a_site_too(settings: Any):
    settings.ALLOWED_HOSTS = ["[::1]"]
    assert await verdict([("host", "[::1]:8000"), ("origin", "http://[::1]:8000")]) == "welcome"
    assert await verdict([("host", "[::2]:8000"), ("origin", "http://[::2]:8000")]) == "ORIGIN"


async def test_in_development_local_addresses_are_sites(settings: Any):
    settings.ALLOWED_HOSTS, settings.DEBUG = [], True
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "board.localhost:8000"):
        assert await verdict([("host", host), ("origin", f"http://{host}")]) == "welcome", host
    assert await verdict([("host", "evil.example"), ("origin", "http://evil.example")]) == "ORIGIN"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "testserver",
        "//testserver",
        "https://evil.example",
        "http://testserver.evil.example",
        "http://eviltestserver",
        "http://testserver:1234",
        "http://testserver:99999",
        "http://testserver:x",
        "ws://testserver",
        "file://testserver",
        "chrome-extension://testserver",
        "http://[",
        "http://[::1",
        b"\xff",
        b"http://testserver\xff",
        "http://tests\u00e9rver",
        "http://" + "a" * 65_000,
        "http://testserver http://evil.example",
        "javascript:alert(1)",
    ],
    ids=lambda origin: repr(origin)[:40],
)
async def test_other_origins_are_refused(origin: Any):
    assert await verdict([HOST, ("origin", origin)]) == "ORIGIN"


async def test_a_plain_page_may_not_reach_a_secure_socket():
    assert await verdict([("host", "testserver:443"), ("origin", "http://testserver:443")], "wss") == "ORIGIN"
    assert await verdict([HOST, ("origin", "http://testserver")], "wss") == "ORIGIN"


@pytest.mark.parametrize(
    "headers",
    [
        [HOST],
        [HOST, ("origin", "http://testserver"), ("origin", "http://testserver")],
        [HOST, ("origin", "http://testserver"), ("origin", "https://evil.example")],
        [("origin", "http://testserver")],
        [HOST, ("host", "evil.example"), ("origin", "http://testserver")],
        [("host", "evil.example"), ("origin", "http://evil.example")],
        [("host", "["), ("origin", "http://testserver")],
        [("host", b"\xff"), ("origin", "http://testserver")],
        [],
    ],
    ids=[
        "no origin",
        "the origin twice",
        "two origins",
        "no host",
        "two hosts",
        "a host that isn't ours",
        "a malformed host",
        "a host of bytes",
        "no headers",
    ],
)
async def test_doubtful_headers_are_refused(headers: list[tuple[str, Any]]):
    assert await verdict(headers) == "ORIGIN"


async def test_listed_origins_are_welcome_exactly_as_listed(configure: Any):
    configure(
        ALLOWED_ORIGINS=("https://app.example.com", "http://other.example:8080", "capacitor://localhost")
    )
    for origin in ("https://app.example.com", "http://other.example:8080", "capacitor://localhost"):
        assert await verdict([HOST, ("origin", origin)]) == "welcome", origin
    for origin in ("http://app.example.com", "https://app.example.com:8443", "http://other.example", "null"):
        assert await verdict([HOST, ("origin", origin)]) == "ORIGIN", origin


async def test_origins_that_django_trusts_are_welcome(settings: Any):
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    assert await verdict([HOST, ("origin", "https://trusted.example")]) == "welcome"

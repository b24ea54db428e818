"""The consumer that the doctor's round trip talks to: closed to everybody without a token of this site.

path("ws/reconnect/doctor/", DoctorConsumer.as_asgi())
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.signing import BadSignature, TimestampSigner

from ..consumers import DedupMixin, DeltaSyncMixin

PATH = "ws/reconnect/doctor/"
PREFIX = "reconnect.doctor:"
MAX_AGE = 300  # seconds

SALT = "reconnect_channels.doctor"


def doctor_url(url: str, visit: str) -> str:
    """The doctor's consumer on the host of a URL, with a token that is good for MAX_AGE seconds.

    :param visit: names the only stream that may be used there.
    """
    parts = urlsplit(url)
    path = parts.path if parts.path.endswith(PATH) else f"/{PATH}"
    return urlunsplit(parts._replace(path=path, query=f"token={TimestampSigner(salt=SALT).sign(visit)}"))


def visit_of(scope: Any) -> str | None:
    """The visit whose token stands in the socket's query string; None without a valid one."""
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
    try:
        return TimestampSigner(salt=SALT).unsign(given, max_age=MAX_AGE)
    except BadSignature:
        return None


class DoctorConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Gives the holder of a token one stream of its own, to write and to read."""

    stream_prefix = PREFIX
    visit: str

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        visit = visit_of(scope)
        if visit is None:
            await send({"type": "websocket.close"})  # HTTP 403; costs no connection of ours
            return
        self.visit = visit
        await super().__call__(scope, receive, send)

    def can_subscribe(self, stream: str) -> bool:
        return hasattr(self, "visit") and stream == PREFIX + self.visit

    @staticmethod
    def identity(visit: str) -> str:
        """As whom a visit sends its messages."""
        return f"doctor:{visit}"

    def get_identity(self) -> str:
        return self.identity(self.visit)

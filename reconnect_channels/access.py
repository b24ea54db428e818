"""Who is it, and what may they read and send (design 8.1, 10.5, 13)."""

from __future__ import annotations

import inspect
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.signing import BadSignature, Signer
from django.http.request import validate_host
from django.utils.crypto import constant_time_compare
from django.utils.functional import LazyObject, empty

from . import workers
from .accounts import load_user
from .conf import settings
from .identity import Login, identity_keys, login_of
from .protocol.codes import Close, Reason
from .protocol.frames import STREAM_NAME, Message

logger = logging.getLogger(__name__)

PORTS = {"http": 80, "https": 443}
LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
_guests = Signer(salt="reconnect_channels.guest")


def _overridden(consumer: Any, hook: str) -> bool:
    """Whether the application gave its own version of a hook."""
    own = getattr(type(consumer), hook, None)
    return own is not None and not getattr(own, "_reconnect_default", False)


def origin_allowed(scope: Mapping[str, Any]) -> bool:
    """Whether the handshake's Origin is the site itself or one of `ALLOWED_ORIGINS`.

    Compares scheme, host and port; a missing, doubled or malformed Origin is refused. A page served
    over https may reach us as plain ws behind a proxy that ends TLS; the opposite may not.
    """
    headers: list[tuple[bytes, bytes]] = list(scope.get("headers") or ())
    origins = [value for name, value in headers if name == b"origin"]
    hosts = [value for name, value in headers if name == b"host"]
    if len(origins) != 1 or len(hosts) != 1:
        return False
    try:
        text = origins[0].decode("ascii")
        if text in (*settings().ALLOWED_ORIGINS, *django_settings.CSRF_TRUSTED_ORIGINS):
            return True
        origin, host = urlsplit(text), urlsplit("//" + hosts[0].decode("ascii"))
        if origin.scheme not in PORTS or origin.hostname is None or host.hostname is None:
            return False
        default = PORTS[origin.scheme]
        same = (origin.hostname, origin.port or default) == (host.hostname, host.port or default)
        secure = scope.get("scheme") in ("wss", "https")
        allowed = django_settings.ALLOWED_HOSTS or (LOCAL_HOSTS if django_settings.DEBUG else [])
        name = f"[{host.hostname}]" if ":" in host.hostname else host.hostname  # Django lists IPv6 so
        return same and (origin.scheme == "https" or not secure) and validate_host(name, allowed)
    except (ValueError, UnicodeDecodeError):
        return False


class PermissionRevoked(Exception):
    """A right ended between its question and its use: ask again."""


class Access:
    """The rights of one connection; asks the consumer's hooks.

    An answer counts only if nothing was revoked while it was worked on: else the hook is asked again, with
    a user that was read after the revocation. Channels reads `scope["user"]` once, at the handshake.
    """

    def __init__(self, consumer: Any, scope: Mapping[str, Any]) -> None:
        self.consumer = consumer
        self.scope = scope
        self.identity = ""
        self.issued: str | None = None  # a guest's signed identity, to be told in WELCOME
        self.key: str | None = None  # of who is logged in, to be told in WELCOME
        self.has_snapshot = _overridden(consumer, "get_snapshot") or _overridden(consumer, "reduce")
        self.takes_messages = hasattr(consumer, "receive_message")
        self.login = Login()
        self.opened = time.time()
        self.void = False  # whoever it was has no rights any more
        self.lost: set[str] = set()  # streams that were taken away and not given again
        self._stale = False  # the user must be read again before anything is asked
        self._turn = 0  # counts what makes answers outdated
        self._own: frozenset[str] = frozenset()
        self._granted: set[str] = set()

    def refusal(self) -> tuple[Close, str] | None:
        """Why this handshake can't be served."""
        return None if origin_allowed(self.scope) else (Close.FORBIDDEN, Reason.ORIGIN)

    async def recognise(self, given: str | None) -> bool:
        """Reads the identity key of the socket; False when the page that opened it was another's.

        :param given: the key that the page was rendered with, if it has one.
        """
        user, session = self.scope.get("user"), self.scope.get("session")
        keys: list[str] = []
        if user is not None or session is not None:
            keys, self.login = await workers.run(_recognise, user, session)
        elif given is not None:
            logger.warning(
                "A page knows who is logged in, but its socket doesn't: its scope has neither user nor "
                "session. Put AuthMiddlewareStack around the consumer"
            )
        self.key = keys[0] if keys else None
        return given is None or any(constant_time_compare(given, key) for key in keys)

    async def identify(self, token: str | None) -> None:
        """Settles whose messages these are: the scope of idempotency keys.

        :param token: the signed identity that an earlier WELCOME gave to a guest.
        """
        given = (
            await workers.call(self.consumer.get_identity) if hasattr(self.consumer, "get_identity") else None
        )
        if given:
            self.identity = str(given)[:200]
            return
        try:
            guest = _guests.unsign(token or "")
        except BadSignature:
            guest = secrets.token_hex(16)
        self.issued = _guests.sign(guest)
        self.identity = f"guest:{guest}"

    # -- what may be read and sent -------------------------------------------------------------------

    async def own_streams(self) -> list[str]:
        """The streams that the server joins by itself, granted without a question.

        :raises ValueError: `get_streams` returned something that isn't a stream name.
        """
        if not hasattr(self.consumer, "get_streams"):
            return []
        names = list(await self._ask(lambda: workers.call(self.consumer.get_streams)))
        for name in names:
            if not STREAM_NAME.match(name):
                raise ValueError(f"get_streams() returned {name!r}, which is no stream name")
        self._own = frozenset(names)
        self.lost -= self._own
        return names

    async def allowed(self, names: Iterable[str]) -> set[str]:
        """Those of the streams that may be read, by `allowed_streams` (all at once) or `can_subscribe`."""
        names = list(names)
        allowed: set[str] = await self._ask(lambda: self._allowed(names))
        self._granted |= allowed
        self.lost -= allowed
        return allowed

    async def _allowed(self, names: list[str]) -> set[str]:
        rest = [name for name in names if name not in self._own]
        allowed = {name for name in names if name in self._own}
        if rest and hasattr(self.consumer, "can_subscribe"):
            if hasattr(self.consumer, "allowed_streams"):
                allowed |= set(await workers.call(self.consumer.allowed_streams, rest)) & set(rest)
            else:
                allowed |= await self._ask_each(rest)
        return allowed

    async def _ask_each(self, names: list[str]) -> set[str]:
        hook = self.consumer.can_subscribe
        if inspect.iscoroutinefunction(hook):
            return {name for name in names if await hook(name)}
        return await workers.run(lambda: {name for name in names if hook(name)})  # type: ignore[no-any-return]

    async def may_send(self, message: Message) -> bool:
        """Whether the message may be sent; without `can_send`, whoever may read may send."""
        if _overridden(self.consumer, "can_send"):
            asked = self.consumer.can_send
            allowed = bool(await self._ask(lambda: workers.call(asked, message.stream, message)))
            if allowed:
                self.lost.discard(message.stream)  # to read it is another right
            return allowed
        return message.stream in self._granted or message.stream in await self.allowed([message.stream])

    async def again(self, names: Iterable[str]) -> set[str]:
        """Those of the streams that may still be read. Nothing that was granted before counts."""
        await self.own_streams()
        allowed = await self.allowed(names)
        self._granted &= allowed  # what is only sent to is asked again with the next message
        return allowed

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            if self._stale:
                await self._reload()
            turn = self._turn
            answer = await question()
            if turn == self._turn:
                return answer

    def hold(self, stream: str) -> None:
        """Raises PermissionRevoked when what was granted has ended meanwhile. Callable from any thread."""
        if self.void or stream in self.lost:
            raise PermissionRevoked(f"the right to {stream} ended before the handler began")

    # -- what ends -----------------------------------------------------------------------------------

    def lose(self, names: Iterable[str] = ()) -> None:
        """Something was revoked: these streams, and whatever hooks find out from a fresh user."""
        self._stale = True
        self._turn += 1
        gone = set(names)
        self.lost |= gone
        self._granted -= gone
        self._own -= gone

    async def _reload(self) -> None:
        user = self.scope.get("user")
        turn = self._turn
        fresh = await workers.run(load_user, user) if user is not None else None
        if turn == self._turn:
            self.renew(fresh)

    def renew(self, user: Any) -> None:
        """Puts a user that was read just now into the scope; None leaves the one that is there."""
        self._stale = False
        self._turn += 1
        given = self.scope.get("user")
        if user is None or given is None:
            return
        if isinstance(given, LazyObject) and given.__dict__.get("_wrapped", empty) is not empty:
            given._wrapped = user  # whoever holds it sees the change
        else:
            self.scope["user"] = user  # type: ignore[index]


def _recognise(user: Any, session: Any) -> tuple[list[str], Login]:
    return identity_keys(user, session), login_of(user, session)

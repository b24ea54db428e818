"""Who a browser is logged in as: for the server a name, for its pages an opaque key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.utils.crypto import salted_hmac

SALT = "reconnect_channels.identity_key"
SESSION_SALT = "reconnect_channels.session"
AUTH_SALT = "reconnect_channels.auth"
KEY_LENGTH = 32  # hex digits


def default_identity(scope: Mapping[str, Any]) -> str | None:
    """The user's key, else a hash of the session's, else None (a guest)."""
    user = scope.get("user")
    if user is not None and user.is_authenticated:
        return f"user:{user.pk}"
    session = scope.get("session")
    key = getattr(session, "session_key", None)
    return "session:" + hashlib.sha256(key.encode()).hexdigest()[:32] if key else None


def identity_keys(user: Any, session: Any) -> list[str]:
    """The keys of who is logged in: the current one first, then those of SECRET_KEY_FALLBACKS.

    Tabs with the same key may share a connection, so it changes with login, logout and account, and with
    nothing else: not when the session gets another key, nor with the password. Of visitors who aren't
    logged in only a session that exists tells them apart; without one there is no key (and none is made).
    Blocks: may load the session and the user.

    :param user: of a request or a socket's scope; None where there is no such thing.
    :param session: likewise.
    """
    scope: dict[str, Any] = {"user": user}
    if user is None or not user.is_authenticated:
        if session is None or isinstance(session, CookieSession):  # whose key is its contents
            return []
        session.keys()  # loads it: until then its key is whatever the cookie says
        scope["session"] = session
    elif user.pk is None:
        return []
    identity = default_identity(scope)
    if identity is None:
        return []
    secrets = [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    return [
        salted_hmac(SALT, identity, secret=secret, algorithm="sha256").hexdigest()[:KEY_LENGTH]
        for secret in secrets
    ]


def identity_key(user: Any, session: Any) -> str | None:
    """The current one of `identity_keys`, or None: then nothing is shared between tabs."""
    return next(iter(identity_keys(user, session)), None)


def session_digest(key: str) -> str:
    """How a session is named outside its cookie: its key is a secret."""
    return salted_hmac(SESSION_SALT, key, algorithm="sha256").hexdigest()


def auth_digest(auth_hash: str) -> str:
    """How a session's auth hash, which changes with the password, is named; empty for none."""
    return salted_hmac(AUTH_SALT, auth_hash, algorithm="sha256").hexdigest() if auth_hash else ""


class Login(NamedTuple):
    """What a socket's rights rest on: compared with what holds later."""

    user: str = ""  # its default identity; empty: nobody is logged in
    active: bool = True
    session_key: str = ""  # empty: no session that the server keeps
    session: str = ""  # its digest
    auth_hash: str = ""  # of the session; empty where it isn't one of a login

    @property
    def auth(self) -> str:
        return auth_digest(self.auth_hash)


def login_of(user: Any, session: Any) -> Login:
    """The login of a socket's scope or a request. Blocks: may load the session and the user."""
    name, active, auth_hash = "", True, ""
    if user is not None and user.is_authenticated:
        name = f"user:{user.pk}"[:200]
        active = bool(getattr(user, "is_active", True))
    if session is None:
        return Login(name, active)
    auth_hash = session.get("_auth_user_hash", "")  # django.contrib.auth.HASH_SESSION_KEY; loads it
    key = "" if isinstance(session, CookieSession) else getattr(session, "session_key", None) or ""
    return Login(name, active, key, session_digest(key) if key else "", auth_hash)

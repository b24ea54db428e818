"""Who a browser is logged in as: for the server a name, for its pages an opaque key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.utils.crypto import salted_hmac

SALT = "reconnect_channels.identity_key"
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

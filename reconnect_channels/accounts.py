"""What holds now of those who are logged in: their users and sessions, read for many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.core.cache import caches
from django.db import router
from django.db.models import Model
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .identity import Login


class Standing(NamedTuple):
    """One login, looked at again."""

    user: Any = None  # read just now; None where there is none that can be read
    problem: str = ""  # why it doesn't hold any more
    final: bool = False  # the account is gone; else whoever it is may have another session by now


def load_user(user: Any) -> Any:
    """The same user, read from the database now; None where that can't be. Blocks."""
    return _users([user]).get(_key(user))


def standings(logins: Sequence[tuple[Any, Login]]) -> list[Standing]:
    """How these users and logins of sockets stand. Blocks: one query for all users, one for all sessions."""
    users = _users(user for user, _ in logins)
    sessions = _sessions({login.session_key for _, login in logins if login.session_key})
    return [_standing(user, login, users, sessions) for user, login in logins]


def _key(user: Any) -> tuple[type[Model], Any] | None:
    """A user of the database; others (of a token, a guest) can't be read again."""
    if isinstance(user, Model) and user.pk is not None:
        return user.__class__, user.pk  # a lazy object's __class__ is that of what it wraps
    return None


def _users(users: Iterable[Any]) -> dict[Any, Any]:
    by_model: defaultdict[type[Model], set[Any]] = defaultdict(set)
    for user in users:
        if (key := _key(user)) is not None:
            by_model[key[0]].add(key[1])
    found: dict[Any, Any] = {}
    for model, pks in by_model.items():
        rows = model._default_manager.using(router.db_for_write(model)).in_bulk(list(pks))
        found |= {(model, pk): row for pk, row in rows.items()}
    return found


def _sessions(keys: set[str]) -> set[str]:
    """Those of the sessions that a request would still find."""
    if not keys:
        return set()
    store: Any = import_module(django_settings.SESSION_ENGINE).SessionStore
    prefix: str | None = getattr(store, "cache_key_prefix", None)
    found: set[str] = set()
    if prefix is not None:
        cached = caches[django_settings.SESSION_CACHE_ALIAS].get_many([prefix + key for key in keys])
        found = {name[len(prefix) :] for name in cached}
    rest = keys - found
    if rest and hasattr(store, "get_model_class"):
        model = store.get_model_class()
        rows = model._default_manager.using(router.db_for_write(model))
        rows = rows.filter(session_key__in=rest, expire_date__gt=timezone.now())
        found.update(rows.values_list("session_key", flat=True))
    elif prefix is None:
        found = {key for key in rest if store().exists(key)}
    return found


def _standing(user: Any, login: Login, users: dict[Any, Any], sessions: set[str]) -> Standing:
    key = _key(user)
    fresh = users.get(key)
    if key is not None:
        if fresh is None:
            return Standing(problem="deleted", final=True)
        if not getattr(fresh, "is_active", True):
            return Standing(problem="deactivated", final=True)
        if login.auth_hash and not _verified(fresh, login.auth_hash):
            return Standing(problem="password changed")
    if login.session_key and login.session_key not in sessions:
        return Standing(problem="session ended")
    return Standing(fresh)


def _verified(user: Any, auth_hash: str) -> bool:
    """As Django asks of a request's session."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    hashes = [user.get_session_auth_hash()]
    if hasattr(user, "get_session_auth_fallback_hash"):
        hashes += user.get_session_auth_fallback_hash()
    return any(constant_time_compare(auth_hash, known) for known in hashes)

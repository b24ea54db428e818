"""Identities as operators know them: by user name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.text import Truncator

USER = "user:"  # how `default_identity` names users


def name_people(rows: Iterable[Any]) -> None:
    """Gives each row a `who`: its identity, with the name of the user where it is one. One query."""
    users = get_user_model()
    keys = {}
    for row in rows:
        row.who = row.identity
        if row.identity.startswith(USER):
            try:
                keys[row.identity] = users._meta.pk.to_python(row.identity.removeprefix(USER))
            except ValidationError:
                continue
    if keys:
        found = users._default_manager.filter(pk__in=set(keys.values()))
        names = dict(found.values_list("pk", users.USERNAME_FIELD))
        for row in rows:
            if (name := names.get(keys.get(row.identity))) is not None:
                row.who = f"{name} ({row.identity})"


def short(name: str, most: int = 24) -> str:
    """A name in a list: guests' are long, and say nothing."""
    return Truncator(name).chars(most)


def identities(term: str) -> list[str]:
    """What may be meant by an identity, a user's primary key or a user's name."""
    users = get_user_model()
    named = users._default_manager.filter(**{users.USERNAME_FIELD: term}).values_list("pk", flat=True)[:1]
    return [term, f"{USER}{term}", *(f"{USER}{pk}" for pk in named)]

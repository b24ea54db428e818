"""What a probe found, in plain words."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import NamedTuple


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, but not as well, or not for long
    FAILURE = "failure"  # a promise is broken, or will be


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    name: str  # for machines: `fsync`
    text: str  # what is so, and what it means
    advice: str = ""  # what to do


def ok(name: str, text: str) -> Finding:
    return Finding(Level.OK, name, text)


def warning(name: str, text: str, advice: str) -> Finding:
    return Finding(Level.WARNING, name, text, advice)


def failure(name: str, text: str, advice: str) -> Finding:
    return Finding(Level.FAILURE, name, text, advice)


@dataclass(frozen=True)
class Plan:
    """:param url: the public WebSocket URL; empty: the way through proxies isn't looked at.
    :param patience: seconds that an idle socket is held.
    :param show: called with what a long probe is doing.
    :param visit: a name that nobody else has, for what is left on a server meanwhile.
    """

    url: str = ""
    patience: float = 0.0
    show: Callable[[str], None] = lambda text: None
    visit: str = field(default_factory=partial(secrets.token_hex, 8))


def told(error: BaseException) -> str:
    """An error in one line: drivers add advice of their own."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first[:300]}".removesuffix(": ") + "."

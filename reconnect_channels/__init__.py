"""Resumable, deduplicated WebSocket streams for Django Channels.

Public names are imported on first use, so that `from reconnect_channels import publish` works before
Django's apps are ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attendance import Present as Present
    from .attendance import apresence as apresence
    from .attendance import presence as presence
    from .pages import apositions as apositions
    from .pages import positions as positions
    from .publication import Pending as Pending
    from .publication import apublish as apublish
    from .publication import publish as publish
    from .publication import publish_many as publish_many
    from .rejection import Reject as Reject
    from .revocation import arevoke as arevoke
    from .revocation import revoke as revoke

__version__ = "0.1.0"

_HOMES = {
    "Pending": "publication",
    "publish": "publication",
    "apublish": "publication",
    "publish_many": "publication",
    "positions": "pages",
    "apositions": "pages",
    "Present": "attendance",
    "presence": "attendance",
    "apresence": "attendance",
    "Reject": "rejection",
    "revoke": "revocation",
    "arevoke": "revocation",
}
__all__ = [
    "Pending",
    "Present",
    "Reject",
    "apositions",
    "apresence",
    "apublish",
    "arevoke",
    "positions",
    "presence",
    "publish",
    "publish_many",
    "revoke",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

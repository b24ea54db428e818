"""Which consumer class serves which streams (design 1.4)."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.utils.module_loading import autodiscover_modules, import_string

consumers: list[type[Any]] = []
"""Every consumer class that declared a `stream_prefix`, in order of definition."""


def consumer_for(stream: str) -> type[Any] | None:
    """The class with the longest prefix of this stream's name; among equals, the newest."""
    fitting = [c for c in consumers if stream.startswith(c.stream_prefix)]
    return max(reversed(fitting), key=lambda c: len(c.stream_prefix), default=None)


def prefix_of(stream: str) -> str:
    """The prefix of the class that serves this stream; "" where none does."""
    consumer = consumer_for(stream)
    return consumer.stream_prefix if consumer is not None else ""


def overlaps() -> list[tuple[type[Any], type[Any]]]:
    """Pairs of classes of which one's prefix begins the other's."""
    return [
        (a, b)
        for i, a in enumerate(consumers)
        for b in consumers[i + 1 :]
        if a.stream_prefix.startswith(b.stream_prefix) or b.stream_prefix.startswith(a.stream_prefix)
    ]


def load() -> None:
    """Imports the project's consumers, for commands: the apps' `consumers` modules, the ASGI application."""
    autodiscover_modules("consumers")
    if application := getattr(django_settings, "ASGI_APPLICATION", None):
        import_string(application)

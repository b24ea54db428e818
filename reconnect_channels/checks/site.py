"""Checks of what lies around the sockets: origins, URLs, templates, servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.urls import NoReverseMatch, reverse

from ..protocol.codec import MAX_FRAME
from .settings import current

REQUEST = "django.template.context_processors.request"
DAPHNE = (4, 2, 2)


@register()
def check_origins(**_: Any) -> Iterator[CheckMessage]:
    """ALLOWED_ORIGINS are origins: they are compared as a whole."""
    now = current()
    for text in now.ALLOWED_ORIGINS if now else ():
        if not _is_origin(text):
            yield Error(
                f"ALLOWED_ORIGINS: {text!r} is no origin, and fits no page.",
                hint='Scheme, host, and the port if it isn\'t the default: "https://app.example.com".',
                id="reconnect_channels.E007",
            )


def _is_origin(text: str) -> bool:
    try:
        at = urlsplit(text)
        port = f":{at.port}" if at.port is not None else ""
        return bool(at.hostname) and "*" not in text and text == f"{at.scheme}://{at.hostname}{port}"
    except ValueError:
        return False


@register()
def check_urls(**_: Any) -> list[CheckMessage]:
    """The URLs are included, so that tabs can fetch what they miss over HTTP."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("reconnect_channels:ready")
    except NoReverseMatch:
        return [
            Warning(
                "reconnect_channels.urls isn't included: tabs that share a socket can't fetch what they "
                "lack, and load balancers can't ask whether a process is ready.",
                hint='path("reconnect/", include("reconnect_channels.urls")) in the ROOT_URLCONF.',
                id="reconnect_channels.W019",
            )
        ]
    return []


@register()
def check_templates(**_: Any) -> list[CheckMessage]:
    """`{% reconnect_client %}` finds the request."""
    given: list[dict[str, Any]] = django_settings.TEMPLATES
    engines = [
        engine
        for engine in given
        if engine.get("BACKEND") == "django.template.backends.django.DjangoTemplates"
    ]
    if not engines or any(
        REQUEST in engine.get("OPTIONS", {}).get("context_processors", ()) for engine in engines
    ):
        return []
    return [
        Warning(
            "No template engine knows the request: {% reconnect_client %} can't say who is logged in, so "
            "tabs share no connection, and a change of the account isn't noticed.",
            hint=f'Add "{REQUEST}" to the context_processors.',
            id="reconnect_channels.W020",
        )
    ]


@register()
def check_daphne(**_: Any) -> list[CheckMessage]:
    """Daphne, if it is the server, is one without known holes."""
    if "daphne" not in django_settings.INSTALLED_APPS:
        return []
    version = metadata.version("daphne")
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) >= DAPHNE:
        return []
    return [
        Warning(
            f"daphne {version} takes messages of any size (CVE-2026-44545) and forged headers "
            "(CVE-2026-44546).",
            hint='pip install "daphne>=4.2.2", or uvicorn.',
            id="reconnect_channels.W013",
        )
    ]


@register(deploy=True)
def check_deployment(**_: Any) -> Iterator[CheckMessage]:
    """Origins, hosts and limits are those of a public site."""
    if "*" in django_settings.ALLOWED_HOSTS:
        yield Warning(
            'ALLOWED_HOSTS is "*": whoever points a name of their own at this server is taken for this site, '
            "and so are the sockets of their pages.",
            hint="Name the hosts.",
            id="reconnect_channels.W015",
        )
    now = current()
    secure = django_settings.SECURE_SSL_REDIRECT or django_settings.SESSION_COOKIE_SECURE
    plain = [text for text in now.ALLOWED_ORIGINS if text.startswith("http:")] if now and secure else []
    if plain:
        yield Warning(
            f"ALLOWED_ORIGINS has {', '.join(plain)} while the site is https: who can change that page on "
            "its way can open sockets as its users.",
            hint="Use https: there, too.",
            id="reconnect_channels.W017",
        )
    limit = os.environ.get("UVICORN_WS_MAX_SIZE", "")
    if limit.isdigit() and int(limit) < MAX_FRAME:
        yield Warning(
            f"uvicorn ends sockets that send more than {limit} bytes (1009) before that can be answered: a "
            "client sends such a message again and again.",
            hint=f"--ws-max-size {MAX_FRAME}",
            id="reconnect_channels.W014",
        )

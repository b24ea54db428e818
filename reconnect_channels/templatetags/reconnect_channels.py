"""`{% load reconnect_channels %}{% reconnect_client %}`: the browser client on a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


def _text(nonce: Any) -> str:
    """A nonce as text, which makes it: Django's is false until it was used."""
    return "" if nonce is None else str(nonce)


@register.simple_tag(takes_context=True)
def reconnect_client(context: template.Context) -> SafeString:
    """The module script that sets `ReconnectChannels`; carries the page's CSP nonce if there is one.

    The nonce is Django 6's `csp_nonce` or django-csp's `request.csp_nonce`.
    """
    src = static("reconnect_channels/reconnect-channels.min.js")
    nonce = _text(context.get("csp_nonce")) or _text(getattr(context.get("request"), "csp_nonce", None))
    if nonce:
        return format_html('<script type="module" src="{}" nonce="{}"></script>', src, nonce)
    return format_html('<script type="module" src="{}"></script>', src)

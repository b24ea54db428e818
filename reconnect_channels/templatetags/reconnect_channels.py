"""`{% load reconnect_channels %}{% reconnect_client %}`: the browser client on a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag(takes_context=True)
def reconnect_client(context: template.Context) -> SafeString:
    """The module script that sets `ReconnectChannels`; carries the page's CSP nonce if there is one.

    The nonce is Django 6's `csp_nonce` or django-csp's `request.csp_nonce`.
    """
    request: Any = context.get("request")
    nonce = context.get("csp_nonce") or getattr(request, "csp_nonce", None)
    src = static("reconnect_channels/reconnect-channels.min.js")
    if nonce:
        return format_html('<script type="module" src="{}" nonce="{}"></script>', src, nonce)
    return format_html('<script type="module" src="{}"></script>', src)

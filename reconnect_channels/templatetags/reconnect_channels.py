"""`{% load reconnect_channels %}{% reconnect_client %}`: the browser client on a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.safestring import SafeString

from .. import pages

register = template.Library()


@register.simple_tag(takes_context=True)
def reconnect_client(context: template.Context, core: bool = False) -> SafeString:
    """The module script that sets `ReconnectChannels`; carries the page's CSP nonce if there is one.

    The nonce is Django 6's `csp_nonce` or django-csp's `request.csp_nonce`. The script's `data-key` is an
    opaque key of who is logged in (none for visitors without a session): tabs with the same key share
    their connection, and the server refuses the key of somebody else. Such a page must not lie in a
    cache that other people read. It varies by cookie, which Django's session middleware says; a
    `Cache-Control: private` (`@cache_control(private=True)`) says it to caches that don't look at that.
    An async view that loaded no user (`request.user = await request.auser()`) gets no key.

    :param core: `{% reconnect_client core=True %}` serves the small bundle, whose tabs share nothing.
    """
    return pages.script(context.get("request"), nonce=context.get("csp_nonce"), core=core)


@register.simple_tag
def reconnect_positions(*what: Any) -> SafeString:
    """Where the streams stand that the page shows, so that nothing is missed until the client connects.

    `{% reconnect_positions positions %}`, with what the view got from `reconnect_channels.positions([…])`
    before it made its queries, in the same transaction if there is one. What happened between the two is
    in the page and delivered again: applying it twice must change nothing.

    `{% reconnect_positions "board:launch" "room:1" %}` reads the positions here and now. That is right only
    above everything in the template that makes the queries: whatever a view had read before, an entry since
    then would be lost.
    """
    return pages.positions_element(what)

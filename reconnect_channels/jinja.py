"""The template tags as functions for Jinja2.

def environment(**options):
    env = Environment(**options)
    env.globals |= {"reconnect_client": reconnect_client, "reconnect_positions": reconnect_positions}
    return env

{{ reconnect_client(request, nonce=csp_nonce) }}
{{ reconnect_positions(positions) }}
"""

from __future__ import annotations

from typing import Any

from django.utils.safestring import SafeString

from . import pages

__all__ = ["reconnect_client", "reconnect_positions"]


def reconnect_client(request: Any = None, *, nonce: Any = None, core: bool = False) -> SafeString:
    """`{% reconnect_client %}`.

    :param request: of the page; None = no identity key, so that tabs share nothing.
    :param nonce: of the page's content security policy; default: django-csp's `request.csp_nonce`.
    :param core: the small bundle, whose tabs share nothing.
    """
    return pages.script(request, nonce=nonce, core=core)


def reconnect_positions(*what: Any) -> SafeString:
    """`{% reconnect_positions %}`: results of `reconnect_channels.positions()`, or names of streams."""
    return pages.positions_element(what)

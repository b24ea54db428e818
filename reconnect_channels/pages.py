"""What a page carries for the browser client: its script, and the positions of what the page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from .identity import identity_key
from .log import by_log
from .protocol.codec import encode
from .protocol.frames import STREAM_NAME

BUNDLES = {
    False: "reconnect_channels/reconnect-channels.min.js",
    True: "reconnect_channels/reconnect-channels-core.min.js",
}
PLACEHOLDER = "STREAM"  # the client puts a stream's name in its place
ESCAPES = {ord("<"): "\\u003C", ord(">"): "\\u003E", ord("&"): "\\u0026"}

Positions = Mapping[str, Mapping[str, Any]]


def script(request: Any = None, *, nonce: Any = None, core: bool = False) -> SafeString:
    """The module script of the client, with who is logged in and where deltas are.

    :param request: whose `user` and `session` give the identity key; None = no key.
    :param nonce: of the page's content security policy; default: django-csp's `request.csp_nonce`.
    :param core: the small bundle, whose tabs share nothing.
    """
    nonce = _text(nonce) or _text(getattr(request, "csp_nonce", None))
    given = _attributes(type="module", src=static(BUNDLES[core]), nonce=nonce)
    data = _attributes(**{"data-key": _key(request), "data-delta": _delta()})
    return format_html("<script{} data-reconnect-channels{}></script>", given, data)


def _attributes(**values: str | None) -> SafeString:
    return format_html_join("", ' {}="{}"', [(name, value) for name, value in values.items() if value])


def _text(nonce: Any) -> str:
    """A nonce as text, which makes it: Django's is false until it was used."""
    return "" if nonce is None else str(nonce)


def _key(request: Any) -> str | None:
    try:
        return identity_key(getattr(request, "user", None), getattr(request, "session", None))
    except SynchronousOnlyOperation:  # an async view that didn't load them: its tabs share nothing
        return None


def _delta() -> str | None:
    try:
        return reverse("reconnect_channels:delta", args=[PLACEHOLDER])
    except NoReverseMatch:
        return None


def positions(streams: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Where streams stand, for `{% reconnect_positions %}`: the client goes on from there.

    Call it before the queries whose results the page shows. What happens between the two is then shown
    *and* delivered: applying an entry that is in the state already must change nothing. (The other way
    round an entry between the two would be in neither.) So read that state from the primary, too: a
    replica may be behind the position. Inside a transaction with a snapshot (REPEATABLE READ) both are of
    one moment. Who may see the streams is the view's business here; the socket asks for itself.

    :param streams: names, `[A-Za-z0-9._:-]{1,100}`; a stream without entries is begun.
    :returns: `{name: {"epoch", "last_seq_id", "checksum"}}`.
    :raises ValueError: a bad stream name.
    """
    names = list(dict.fromkeys(streams))
    for name in names:
        if not STREAM_NAME.match(name):
            raise ValueError(f"not a stream name: {name[:120]!r}")
    found: dict[str, Any] = {}
    for log, group in by_log(names).items():
        found |= log.heads(group)
    return {name: found[name].position.wire() for name in names}


async def apositions(streams: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`positions` for async code; parameters and errors are the same."""
    return await _positions(streams)


_positions = sync_to_async(positions)


def positions_element(what: Iterable[str | Positions]) -> SafeString:
    """The positions as data in the page, which no content security policy minds.

    :param what: results of `positions()`, and names of streams whose positions are read now.
    """
    known: dict[str, Any] = {}
    names: list[str] = []
    for item in what:
        if isinstance(item, str):
            names.append(item)
        else:
            known.update(item)
    text = encode({**known, **positions(names)}).translate(ESCAPES)
    return format_html(
        '<script type="application/json" data-reconnect-positions>{}</script>',
        mark_safe(text),
    )

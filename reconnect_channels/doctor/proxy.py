"""The way that browsers take: TLS, upgrade, subprotocol, origin, and how long an idle socket lives on it."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from django.db import Error
from django.urls import NoReverseMatch, reverse
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidUpgrade,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from ..client.client import origin_of
from ..client.session import Session, Transmit, Welcomed
from ..conf import settings
from ..models import ClientSession
from ..protocol.codes import Close, Reason
from ..protocol.frames import SUBPROTOCOL
from ..sessions import alias
from .consumer import DoctorConsumer, doctor_url
from .finding import Finding, Plan, failure, ok, told, warning

TIMEOUT = 10.0  # seconds
LOOK = 1.0  # seconds between two reports of an idle socket
SOON = 14  # days
STRANGER = "https://stranger.invalid"
ROUTE = (
    "Add path('ws/reconnect/doctor/', DoctorConsumer.as_asgi()) to the WebSocket routes "
    "(reconnect_channels.doctor.consumer); only who knows SECRET_KEY gets in."
)
CAUSES = {
    400: "A proxy takes it for ordinary HTTP: pass Upgrade and Connection on (nginx: proxy_set_header).",
    401: "Something before the server asks for a login.",
    403: "Does the server have another SECRET_KEY than this process, or another time?",
    404: "No such path there, or a proxy doesn't pass Upgrade and Connection on.",
    426: "A proxy doesn't pass Upgrade on.",
    500: "No such route, or an error in the server: look at its log.",
    502: "The proxy doesn't reach the server.",
    503: "The proxy has no server that is ready.",
    504: "The server doesn't answer the proxy in time.",
}


class Held(NamedTuple):
    """What became of a socket that was left idle."""

    seconds: float  # how long it was held
    quiet: float  # since something was last said on it
    pings: int
    closed: bool = False
    code: int | None = None  # of the close frame; None = there was none
    bye: str = ""  # the server's own reason, if it gave one


def open_socket(url: str, *, origin: str | None = None) -> ClientConnection:
    """:raises OSError, TimeoutError, InvalidHandshake: it doesn't open."""
    return connect(
        url,
        origin=Origin(origin or origin_of(url)),
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        open_timeout=TIMEOUT,
        close_timeout=1,
        ping_interval=None,
    )


def probe(plan: Plan) -> Iterator[Finding]:
    parts = urlsplit(plan.url)
    if not plan.url:
        yield ok("url", "No public URL is given (--url, or PUBLIC_URL): proxies aren't looked at.")
        return
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        yield failure(
            "url", f"{plan.url!r} is no ws:// or wss:// URL.", "Give one like wss://example.com/ws/board/."
        )
        return
    if parts.scheme == "wss":
        yield _certificate(parts)
    else:
        yield warning("tls", "The URL is ws://: everybody on the way can read along.", "Serve wss://.")
    yield from _ready(parts)
    url = doctor_url(plan.url, plan.visit)
    try:
        with open_socket(url) as opened:
            subprotocol = opened.subprotocol
    except (OSError, WebSocketException) as error:
        yield from _elsewhere(plan.url, error)
        return
    yield ok("upgrade", f"A WebSocket opens through {parts.netloc}.")
    yield _subprotocol(subprotocol)
    if subprotocol == SUBPROTOCOL:
        yield _origin(url)
        yield judge(hold(doctor_url(plan.url, plan.visit), plan), settings().HEARTBEAT)
        _forget(plan.visit)


def refused(error: Exception) -> Finding:
    """Why the doctor's route doesn't open."""
    code = error.response.status_code if isinstance(error, InvalidStatus) else 0
    if code:
        text, advice = f"it answers {code} to the doctor's route.", f"{CAUSES.get(code, '')} {ROUTE}".strip()
    elif isinstance(error, InvalidUpgrade):
        text, advice = f"it drops the headers of the upgrade: {told(error)}", CAUSES[400]
    elif isinstance(error, InvalidHandshake):
        text, advice = f"the handshake is broken: {told(error)}", "Is it a WebSocket server, and HTTP/1.1?"
    elif isinstance(error, ssl.SSLError):
        text, advice = f"TLS fails: {told(error)}", "See the finding on the certificate."
    else:
        text, advice = f"nobody answers: {told(error)}", "Check name, port, firewall, and that it runs."
    return failure("upgrade", f"No WebSocket opens at the public URL: {text}", advice)


def _elsewhere(url: str, error: Exception) -> Iterator[Finding]:
    """What is so where the doctor's route doesn't open: perhaps it is all that is missing."""
    finding = refused(error)
    try:
        if not isinstance(error, InvalidHandshake):
            raise error
        with open_socket(url) as opened:
            subprotocol = opened.subprotocol
    except (OSError, WebSocketException):
        yield finding
        return
    yield ok("upgrade", f"A WebSocket opens at {url}.")
    yield warning("route", f"None opens at the doctor's route: {told(error)}", finding.advice)
    yield _subprotocol(subprotocol)


def has_route(url: str) -> bool:
    """Whether something else than a refusal is at a URL."""
    try:
        open_socket(url).close()
    except InvalidHandshake:
        return False
    except OSError:
        pass
    return True


def _certificate(parts: SplitResult) -> Finding:
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout=TIMEOUT) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            certificate: Any = secure.getpeercert()
    except ssl.SSLError as error:
        return failure(
            "tls", f"Browsers won't trust it: {told(error)}", "Renew the certificate, with the whole chain."
        )
    except OSError as error:
        return failure(
            "tls", f"Nobody answers: {told(error)}", "Check name, port, firewall, and that it runs."
        )
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86400)
    if days < SOON:
        return warning("tls", f"The certificate ends in {days} days.", "Renew it; is the renewal automatic?")
    return ok("tls", f"The certificate is good for {days} days.")


def _ready(parts: SplitResult) -> Iterator[Finding]:
    try:
        path = reverse("reconnect_channels:ready")
    except NoReverseMatch:
        yield warning(
            "ready",
            "reconnect_channels.urls isn't in the URLs: no readiness, and no HTTP delta for tabs.",
            "path('reconnect/', include('reconnect_channels.urls'))",
        )
        return
    url = urlunsplit(("https" if parts.scheme == "wss" else "http", parts.netloc, path, "", ""))
    try:
        with closing(urllib.request.urlopen(url, timeout=TIMEOUT)) as answer:
            yield ok("ready", f"{path} answers {answer.status}.")
    except urllib.error.HTTPError as error:
        with error:
            text = f"{path} answers {error.code}: {error.read(200).decode(errors='replace')}"
        advice = "503 is right while a node drains, or its log is away; 404: does the proxy pass the path on?"
        yield warning("ready", text, advice)
    except OSError as error:
        yield warning(
            "ready", f"{path} can't be read: {told(error)}", "Does the proxy serve HTTP there, too?"
        )


def _subprotocol(chosen: str | None) -> Finding:
    if chosen == SUBPROTOCOL:
        return ok("subprotocol", f"The subprotocol {SUBPROTOCOL} passes.")
    return failure(
        "subprotocol",
        f"The subprotocol {SUBPROTOCOL} got lost: clients get no WELCOME, and give up.",
        "Pass Sec-WebSocket-Protocol on, in both directions. (Or the route's consumer has no mixin.)",
    )


def _origin(url: str) -> Finding:
    greeted = hold(url, Plan(), until_welcome=True)
    if greeted.closed and greeted.bye != Reason.ORIGIN and greeted.code != Close.FORBIDDEN:
        why = greeted.bye or greeted.code
        return failure("origin", f"The server doesn't greet ({why}).", "Does it drain? Look at its log.")
    if greeted.closed:
        return failure(
            "origin",
            "The site's own pages are refused: the server sees another host than the browser.",
            "Pass Host on (nginx: proxy_set_header Host $host), or set ALLOWED_ORIGINS; see ALLOWED_HOSTS.",
        )
    if not hold(url, Plan(), origin=STRANGER, until_welcome=True).closed:
        return failure(
            "origin",
            "Pages of other sites may open sockets with the cookies of your users.",
            "Take what is too wide out of ALLOWED_ORIGINS and CSRF_TRUSTED_ORIGINS; does a proxy set Origin?",
        )
    return ok("origin", "The site's own pages get in, those of other sites don't.")


def hold(url: str, plan: Plan, *, origin: str | None = None, until_welcome: bool = False) -> Held:
    """Opens a socket, and answers nothing but the server's pings until the plan's patience ends.

    :param until_welcome: only see whether the server greets.
    """
    session, pings, bye = Session(), 0, ""
    with open_socket(url, origin=origin) as opened:
        began = said = time.monotonic()
        until = began + (TIMEOUT if until_welcome else plan.patience)
        try:
            _send(opened, session.open(began))
            while (now := time.monotonic()) < until:
                plan.show(f"idle for {now - began:.0f} of {plan.patience:.0f} s")
                try:
                    text = opened.recv(timeout=min(LOOK, until - now))
                except TimeoutError:
                    continue
                said = time.monotonic()
                frame = json.loads(text)
                pings += frame["type"] == "PING"
                if frame["type"] == "BYE":
                    bye = str(frame.get("reason", ""))
                for action in session.receive(text, said):
                    if isinstance(action, Transmit):
                        _send(opened, action.text)
                    elif isinstance(action, Welcomed) and until_welcome:
                        return Held(said - began, 0, pings)
        except (ConnectionClosed, OSError) as error:
            code = error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd else None
            now = time.monotonic()
            return Held(now - began, now - said, pings, closed=True, code=code, bye=bye)
    return Held(plan.patience, time.monotonic() - said, pings, closed=until_welcome)


def _send(opened: ClientConnection, text: str) -> None:
    """What the server said before it closed is read all the same."""
    with suppress(ConnectionClosed):
        opened.send(text)


def _forget(visit: str) -> None:
    """Takes away the rows of the sockets, once their node has written that they ended."""
    rows = ClientSession.objects.using(alias()).filter(identity=DoctorConsumer.identity(visit))
    until = time.monotonic() + settings().SESSION_FLUSH + TIMEOUT / 2
    with suppress(Error):  # another probe says what is wrong with it
        while rows.filter(state=ClientSession.State.LIVE).exists() and time.monotonic() < until:
            time.sleep(0.1)
        rows.delete()


def judge(held: Held, heartbeat: float) -> Finding:
    """:param heartbeat: seconds between two pings of the server."""
    if not held.closed:
        if held.pings or held.seconds <= heartbeat:
            return ok(
                "idle", f"An idle socket was still open after {held.seconds:.0f} s, {held.pings} pings in."
            )
        return failure(
            "idle",
            f"No ping came within {held.seconds:.0f} s: clients take the server for dead.",
            "Does a proxy buffer what the server sends?",
        )
    when = f"An idle socket was closed after {held.seconds:.0f} s, {held.quiet:.0f} s after anything was said"
    if held.bye:
        return warning("idle", f"{when}, by the server: {held.bye!r}.", "Does it drain, or restart?")
    if held.code == Close.GOING_AWAY:
        return warning("idle", f"{when}, by the server, which goes away.", "Does it drain, or restart?")
    how = (
        "without a close frame"
        if held.code is None
        else f"with the code {held.code} and no word of the server"
    )
    return failure(
        "idle",
        f"{when}, {how}: something between cut it. The heartbeat comes every {heartbeat:g} s only.",
        "Raise the proxy's idle timeout above a minute (nginx: proxy_read_timeout), or lower HEARTBEAT.",
    )

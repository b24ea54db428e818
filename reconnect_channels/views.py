"""The recovery decision over HTTP, for followers with a hole, scripts, and pages without a socket; and what
machines ask of a node."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET, require_safe

from . import workers
from .access import Access
from .conf import settings
from .identity import login_of
from .live.breaker import BreakerOpen, breaker_of, check, guarded, retry_after_ms
from .live.hub import is_draining
from .live.tap import TAIL, UNREADABLE
from .log import log_for
from .log.base import Mismatch
from .protocol import entry, frames
from .protocol.codec import encode
from .protocol.codes import Reason, Resync
from .protocol.entry import Entry
from .protocol.frames import STREAM_NAME
from .protocol.position import MAX_SEQ, InvalidPosition, Position, parse
from .protocol.recovery import Answer, Head, decide, needs_checksum
from .protocol.window import PAGE_ENTRIES, Slot, cut
from .registry import consumer_for
from .snapshots import atake, take

logger = logging.getLogger(__name__)

NUMBERS = ("last_seq_id", "checksum")


def _claim(request: HttpRequest) -> Position | None:
    query = request.GET
    if query.keys().isdisjoint(("epoch", *NUMBERS)):
        return None
    numbers = {key: query.get(key, "") for key in NUMBERS}
    if not all(text.isascii() and text.isdigit() and len(text) <= 16 for text in numbers.values()):
        raise InvalidPosition("last_seq_id and checksum are whole numbers")
    return parse({"epoch": query.get("epoch"), **{key: int(text) for key, text in numbers.items()}})


def _answer(text: str, status: int = 200) -> HttpResponse:
    response = HttpResponse(text, content_type="application/json", status=status)
    response["Cache-Control"] = "private, no-store"
    return response


def _forbidden(name: str) -> HttpResponse:
    """The same for streams that don't exist and those that may not be read."""
    return _answer(frames.error(403, Reason.FORBIDDEN, "no such stream", streams=[name[:100]]), 403)


def _invalid(name: str, detail: str) -> HttpResponse:
    return _answer(frames.error(400, Reason.INVALID_SEQ, detail, streams=[name]), 400)


def _unavailable(name: str) -> HttpResponse:
    """Come back later; when is left to chance, which spreads a herd."""
    after = retry_after_ms()
    text = frames.error(503, Reason.UNAVAILABLE, UNREADABLE, streams=[name], retry_after_ms=after)
    response = _answer(text, 503)
    response["Retry-After"] = str(-(-after // 1000))
    return response


def _scope(request: HttpRequest) -> dict[str, Any]:
    """What a consumer's hooks read of a socket's scope, made of a request."""
    user = getattr(request, "user", None)
    bool(user)  # loads it: an `async def` hook couldn't
    return {
        "type": "websocket",
        "path": request.path,
        "headers": [(key.lower().encode(), value.encode()) for key, value in request.headers.items()],
        "query_string": request.META.get("QUERY_STRING", "").encode(),
        "user": user,
        "session": getattr(request, "session", None),
        "url_route": {"args": (), "kwargs": {}},
    }


@async_to_sync
async def _here(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Runs async code whose blocking parts stay on this thread, with the request's own connection."""
    token = workers.on_callers_thread.set(True)
    try:
        return await function(*args)
    finally:
        workers.on_callers_thread.reset(token)


@require_safe
async def ready(request: HttpRequest) -> HttpResponse:
    """For load balancers: 503 while this process sends its sockets away, or its default log doesn't answer.

    Asks nothing of the database, and needs none of its threads.
    """
    reason = "draining" if is_draining() else "log" if breaker_of(log_for("")).is_open else None
    body = {"ready": reason is None} | ({"reason": reason} if reason else {})
    return _answer(encode(body), 503 if reason else 200)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus: plain text, or OpenMetrics with exemplars for who accepts it.

    With `METRICS_PERMISSION`, visitors are sent to the login, and users without it are refused.
    """
    permission = settings().METRICS_PERMISSION
    if permission and not request.user.has_perm(permission):
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    try:
        from .telemetry.exposition import exposition
    except ImportError:
        raise Http404("Metrics need prometheus_client: install reconnect-channels[prometheus]") from None
    page, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(page, content_type=content_type, headers={"Cache-Control": "no-store"})


@require_GET
def delta(request: HttpRequest, name: str) -> HttpResponse:
    """SYNC_DELTA (one page) or SYNC_SNAPSHOT for a position in the query string (design 5.6)."""
    consumer_class = consumer_for(name) if STREAM_NAME.match(name) else None
    if consumer_class is None:
        return _forbidden(name)
    try:
        check(name)
        consumer = consumer_class()
        consumer.scope = _scope(request)
        access = Access(consumer, consumer.scope)
        active = login_of(consumer.scope["user"], None).active
        if not active or name not in _here(access.allowed, [name]):
            return _forbidden(name)
        return _recover(consumer_class, access, name, _claim(request))
    except InvalidPosition as error:
        return _invalid(name, str(error))
    except BreakerOpen:
        return _unavailable(name)
    except Exception:
        logger.warning("Stream %s couldn't be read", name, exc_info=True)
        return _unavailable(name)


def _recover(consumer_class: Any, access: Access, name: str, claim: Position | None) -> HttpResponse:
    log = log_for(name)
    checksum = None
    with guarded(log):
        head = log.heads([name])[name]
        if claim is not None and needs_checksum(claim, head):
            checksum = log.checksum_at(name, claim.epoch, claim.seq)
    # Without a snapshot there is nothing to jump to: however large the gap, its entries are the answer.
    max_delta = settings().MAX_DELTA if access.has_snapshot else MAX_SEQ
    decision = decide(claim, head, checksum=checksum, max_delta=max_delta)
    if decision.answer is Answer.INVALID:
        return _invalid(name, "no such position")
    reason = decision.reason or Resync.NEW
    if decision.answer is Answer.DELTA and claim is not None:
        try:
            with guarded(log):
                run = log.read(name, claim, PAGE_ENTRIES)
        except Mismatch as mismatch:
            reason, head = mismatch.reason, mismatch.head
        else:
            return _answer(_page(name, claim, run.entries, run.head.seq))
    if not access.has_snapshot:
        return _answer(frames.snapshot(name, _tail(name, head), reason, "null", partial=head.floor > 1))
    if inspect.iscoroutinefunction(consumer_class.get_snapshot):
        snapshot = _here(atake, consumer_class, name)
    else:
        snapshot = take(consumer_class, name)
    if len(snapshot.text) > settings().MAX_SNAPSHOT:
        return _answer(
            frames.error(413, Reason.SNAPSHOT_SIZE, "the snapshot is too large", streams=[name]), 413
        )
    return _answer(frames.snapshot(name, snapshot.position, reason, snapshot.text, exact=snapshot.exact))


def _tail(name: str, head: Head) -> Position:
    """Where one begins who gets no snapshot: at the floor, or at the last entries of a trimmed log."""
    seq = head.seq - TAIL
    if head.floor > 1 and seq >= head.floor:
        checksum = log_for(name).checksum_at(name, head.epoch, seq)
        if checksum is not None:
            return Position(head.epoch, seq, checksum)
    return Position(head.epoch, head.floor - 1, head.floor_checksum)


def _page(name: str, claim: Position, entries: list[Entry], head: int) -> str:
    slots = [Slot(e.position, e.wire(), e) for e in entries]
    page = cut(claim, slots, complete=not slots or slots[-1].position.seq == head)
    return entry.delta(name, page.after, page.to, page.wires, page.complete)

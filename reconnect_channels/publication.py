"""publish(): from a payload to committed, announced entries (design 7.3)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.db import transaction

from .announcement import announce
from .log import log_for
from .log.base import Draft, SequenceLog
from .protocol.clock import LamportClock
from .protocol.codec import encode_payload
from .protocol.entry import Entry
from .protocol.frames import STREAM_NAME
from .telemetry import events, tracing

logger = logging.getLogger(__name__)

LONG_HOLD = 0.1  # seconds between taking a stream's row and COMMIT

node_clock = LamportClock()
"""This process's Lamport clock: above every entry and message that it has seen."""


@dataclass
class Pending:
    """A published entry that waits for the caller's COMMIT, since its log can't take an append back.

    It has no seq, checksum or clock yet: `entry` has them once it was appended. That stays None after a
    rollback, and where the log was away.
    """

    stream: str
    id: str
    key: str | None
    text: str
    entry: Entry | None = None

    @property
    def payload(self) -> Any:
        """The decoded payload."""
        return msgspec.json.decode(self.text)


captures: list[list[Entry | Pending]] = []
"""Where `testing.captured_entries()` listens."""


@dataclass
class Authoring:
    """The message whose handler is running: names its entries (design 8.3).

    The i-th entry has the id uuid5(message id, "identity i"), so that a handler that runs again yields
    the same entries, and another user's message with the same id doesn't. `repeatable` says that the
    handler may run again: then each entry is looked up before it is appended.
    """

    message_id: str
    identity: str = ""
    clock: int = 0
    repeatable: bool = False
    published: int = 0
    last: dict[str, Entry] = field(default_factory=dict)
    lost: bool = False  # an append after COMMIT failed: this is no time for an ack

    def next_id(self) -> str:
        self.published += 1
        return str(uuid.uuid5(uuid.UUID(self.message_id), f"{self.identity} {self.published}"))


authoring: ContextVar[Authoring | None] = ContextVar("reconnect_channels_authoring", default=None)


def publish(
    stream: str, payload: Any, *, using: str | None = None, author: str | None = None
) -> Entry | Pending:
    """Appends one entry to a stream, in the caller's transaction, and announces it on commit.

    Takes the stream's row and holds it to the outer COMMIT: call it last. Where the log is not in the
    database, an entry that is published in a transaction is appended after COMMIT (`Pending`).

    :param stream: `[A-Za-z0-9._:-]{1,100}`.
    :param payload: anything JSON can hold, up to 64 KiB encoded.
    :param using: the database alias of the caller's transaction; default: where streams are written.
    :param author: the identity of who wrote it (`user:7`), for `reconnect_erase`; it isn't sent to clients.
        Default: who sent the message whose handler runs, else nobody.
    :raises ValueError: a bad stream name; `CodecError` (a ValueError) for a payload that can't travel.
    """
    return publish_many([(stream, payload)], using=using, author=author)[0]


def publish_many(
    items: Iterable[tuple[str, Any]], *, using: str | None = None, author: str | None = None
) -> list[Entry | Pending]:
    """Appends many (stream, payload) pairs at once; order within a stream is kept.

    Streams are taken in sorted order, so that two callers can't deadlock each other; those whose log is
    not in the database come last, after COMMIT. Parameters and errors as for `publish`; returns the
    entries in the order of the items.
    """
    message = authoring.get()
    wrote = (message.identity if message and author is None else author or "")[:200]
    drafts: dict[str, list[tuple[int, Draft]]] = {}
    count = 0
    for count, (stream, payload) in enumerate(items, 1):
        if not STREAM_NAME.match(stream):
            raise ValueError(f"not a stream name: {stream[:120]!r}")
        entry_id = message.next_id() if message else str(uuid.uuid4())
        draft = Draft(entry_id, message.message_id if message else None, encode_payload(payload), wrote)
        drafts.setdefault(stream, []).append((count - 1, draft))
    if message is not None:
        node_clock.observe(message.clock)
    with tracing.within(tracing.start("publish", entries=count)) as span:
        placed = _place(drafts, message, using, span)
    return [placed[i] for i in range(count)]


def _place(
    drafts: dict[str, list[tuple[int, Draft]]],
    message: Authoring | None,
    using: str | None,
    span: tracing.Span | None,
) -> dict[int, Entry | Pending]:
    """Appends numbered drafts to their streams; returns what became of each number."""
    placed: dict[int, Entry | Pending] = {}
    joining = [stream for stream in sorted(drafts) if log_for(stream).transactional]
    with ExitStack() as transactions:
        for alias in sorted({using or log_for(stream).using for stream in joining}):
            transactions.enter_context(transaction.atomic(using=alias, savepoint=False))
        for stream in joining:
            numbered = drafts[stream]
            entries = _append(stream, [draft for _, draft in numbered], message, using, span)
            placed.update((i, entry) for (i, _), entry in zip(numbered, entries, strict=True))
            if message is not None:
                message.last[stream] = entries[-1]
    for stream in sorted(drafts.keys() - set(joining)):
        numbered = drafts[stream]
        made = _append_after(stream, [draft for _, draft in numbered], message, using, span)
        placed.update((i, entry) for (i, _), entry in zip(numbered, made, strict=True))
    return placed


def _append(
    stream: str,
    drafts: list[Draft],
    author: Authoring | None,
    using: str | None,
    span: tracing.Span | None,
) -> list[Entry]:
    log = log_for(stream)
    alias = using or log.using
    taken = time.monotonic()
    known: dict[str, Entry] = {}
    if author is not None and author.repeatable:
        known = log.existing(stream, [draft.id for draft in drafts], using=alias)
    fresh = [draft for draft in drafts if draft.id not in known]
    made = _traced_append(log, stream, fresh, alias, span) if fresh else []
    if made:
        node_clock.observe(made[-1].clock)
        for capture in captures:
            capture.extend(made)
        # No partial: Django, when it logs that a hook failed, asks for its __qualname__.
        transaction.on_commit(lambda: _committed(made, taken), using=alias, robust=True)
    by_id = known | {entry.id: entry for entry in made}
    return [by_id[draft.id] for draft in drafts]


def _append_after(
    stream: str,
    drafts: list[Draft],
    author: Authoring | None,
    using: str | None,
    span: tracing.Span | None,
) -> Sequence[Entry | Pending]:
    """Appends to a log that can't take it back: at once, or after the caller's COMMIT."""
    log = log_for(stream)
    alias = using or log.using

    def append() -> list[Entry]:
        entries = _traced_append(log, stream, drafts, None, span)
        node_clock.observe(max(entry.clock for entry in entries))
        if author is not None:
            author.last[stream] = entries[-1]
        events.emit(events.Published(stream, len(entries), 0.0))
        return entries

    if not transaction.get_connection(alias).in_atomic_block:
        entries = append()
        for capture in captures:
            capture.extend(entries)
        announce(entries)
        return entries
    pending = [Pending(stream, draft.id, draft.key, draft.text) for draft in drafts]
    for capture in captures:
        capture.extend(pending)

    def committed() -> None:
        try:
            entries = append()
        except Exception:  # the transaction stands, and its other hooks shall run
            logger.exception("%d entries of %s couldn't be appended after COMMIT", len(pending), stream)
            if author is not None:
                author.lost = True
            return
        for waiting, entry in zip(pending, entries, strict=True):
            waiting.entry = entry
        announce(entries)

    transaction.on_commit(committed, using=alias, robust=True)
    return pending


def _traced_append(
    log: SequenceLog, stream: str, drafts: Sequence[Draft], using: str | None, span: tracing.Span | None
) -> list[Entry]:
    """Appends; where the publication's trace is recorded, the entries carry it on."""
    with tracing.within(span and span.child("append", stream, entries=len(drafts))) as appending:
        entries = log.append(stream, drafts, node_clock.now, using=using)
    if appending is None:
        return entries
    return [entry._replace(trace=str(appending.context)) for entry in entries]


def _committed(entries: list[Entry], taken: float) -> None:
    held = time.monotonic() - taken
    events.emit(events.Published(entries[0].stream, len(entries), held))
    if held > LONG_HOLD:
        logger.warning("Stream %s was held for %.0f ms: publish last", entries[0].stream, held * 1000)
    announce(entries)


async def apublish(
    stream: str, payload: Any, *, using: str | None = None, author: str | None = None
) -> Entry | Pending:
    """`publish` for async code; parameters and errors are the same."""
    return await _publish(stream, payload, using=using, author=author)


_publish = sync_to_async(publish)

"""Erasure: what somebody wrote is blanked in the logs, and what is known of them goes.

Entries stay, with their ids, seqs and checksums: positions of clients hold, and nobody resyncs. Who has read
a payload has it; hubs forget theirs within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Model, QuerySet

from . import folding
from .log import all_logs, log_for
from .log.base import SequenceLog
from .log.database import DatabaseLog
from .models import ClientSession, DriftReport, ProcessedMessage, Producer, StoredSnapshot
from .registry import consumer_for
from .revocation import Cause, record
from .sessions import alias

MARK = '{"erased":true}'
"""The payload of an erased entry, as JSON. An object, so that what looks for its `type` finds none."""

States = QuerySet[StoredSnapshot]

NOBODY = "-"  # no session's digest: nodes of a version that doesn't know the cause end nothing


@dataclass
class Erased:
    """What was erased, or would be."""

    entries: int = 0
    streams: int = 0
    states: int = 0  # stored ones, folded anew
    answers: int = 0  # to messages: results, and details of refusals
    producers: int = 0
    sessions: int = 0
    reports: int = 0  # of drift
    unfolded: list[str] = field(default_factory=list)
    """Streams whose stored state may still hold it: it can't be folded anew, since earlier entries are gone,
    or this process has no consumer of it."""
    failed: dict[str, Exception] = field(default_factory=dict)
    """Streams that are as they were, since their consumer's `reduce` can't fold erased entries; and why."""


def erase(
    identity: str, *, dry_run: bool = False, progress: Callable[[int, int], object] | None = None
) -> Erased:
    """Blanks every payload that this identity wrote, and forgets its sessions, producers and drift reports.

    May be run again, and should be after a failure. Works in many transactions, so that no writer waits
    long: call it outside of one. Who is connected stays so, and gets a session again: `revoke` them first.

    :param identity: what `get_identity` returns; by default `user:<pk>`.
    :param dry_run: only counts.
    :param progress: called with the streams that are done, and how many there are.
    :raises ValueError: no identity.
    """
    if not identity:
        raise ValueError("erase() needs an identity")
    identity, result = identity[:200], Erased()  # as much of it as is stored
    databases = {log.using: DatabaseLog(log.using) for log in all_logs()}
    fast = [log for log in all_logs() if not log.transactional]
    found: dict[str, list[tuple[SequenceLog, int, int]]] = {}  # the log, an archive of it, or both
    for log in [*fast, *databases.values()]:
        for stream, count, first in log.written_by(identity):
            found.setdefault(stream, []).append((log, count, first))
    for done, (stream, places) in enumerate(found.items()):
        if progress is not None:
            progress(done, len(found))
        if not dry_run:
            try:
                _blank(stream, identity, places, result)
            except Exception as error:  # of the application's `reduce`, or of a database: the others go on
                result.failed[stream] = error
                continue
        result.streams += 1
        result.entries += max(count for _, count, _ in places)
    for using in databases:
        result.answers += _blank_answers(using, identity, dry_run)
        result.producers += _forget(Producer, using, identity, dry_run)
        result.reports += _forget(DriftReport, using, identity, dry_run)
    result.sessions = _forget(ClientSession, alias(), identity, dry_run)
    if not dry_run:  # also where nothing was found: an earlier run may have been killed before it
        record(Cause.ERASED, session=NOBODY)
    return result


def _blank(
    stream: str, identity: str, places: Iterable[tuple[SequenceLog, int, int]], result: Erased
) -> None:
    using = log_for(stream).using
    states = StoredSnapshot.objects.using(using).filter(stream=stream)
    stale = states.filter(seq__gte=min(first for _, _, first in places))
    # Without a state to fold anew there are many short transactions.
    with transaction.atomic(using=using) if stale.exists() else nullcontext():
        for log, _, _ in places:
            log.blank(stream, identity, MARK)
        if stale.exists():
            result.states += _fold_anew(stream, states, stale, result)


def _fold_anew(stream: str, states: States, stale: States, result: Erased) -> int:
    """Replaces stored states that hold what is blanked now; returns how many went."""
    consumer_class = consumer_for(stream)
    if consumer_class is None:  # others may fold on from them
        result.unfolded.append(stream)
        return 0
    if not folding.folds(consumer_class):
        return stale.delete()[0]
    try:
        with transaction.atomic(using=states.db):
            gone, _ = stale.delete()
            folding.fold(consumer_class, stream, every=1)
    except folding.Unfoldable:
        result.unfolded.append(stream)
        newest = folding.fold(consumer_class, stream, every=1)
        gone, _ = states.exclude(seq=newest.stored or 0).delete()
    return gone


def _blank_answers(using: str, identity: str, dry_run: bool) -> int:
    """The rows stay while retries may come: none may run again."""
    answers = ProcessedMessage.objects.using(using).filter(identity=identity).exclude(result="null")
    return answers.count() if dry_run else answers.update(result="null")


def _forget(model: type[Model], using: str, identity: str, dry_run: bool) -> int:
    rows = model._default_manager.using(using).filter(identity=identity)
    return rows.count() if dry_run else rows.delete()[1].get(model._meta.label, 0)

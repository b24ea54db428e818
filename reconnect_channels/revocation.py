"""Rights that end while sockets live on them: rows, and the news of them (design 10.5, P8).

The rows are the truth: every hub looks for new ones each second. The news make it faster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, router, transaction
from django.db.models import Min, Model, Q
from django.utils import timezone

from . import news
from .identity import session_digest
from .models import Revocation
from .protocol.frames import STREAM_NAME

logger = logging.getLogger(__name__)

NEWS = "revoked"
Cause = Revocation.Cause
ORDERS = frozenset({Cause.DISCONNECT, Cause.DISMISS, Cause.RESYNC, Cause.ERASED})  # no right ends by them
BATCH = 1_000
KEEP = timedelta(days=1)  # hubs look back a few minutes; people may look back longer


class Cut(NamedTuple):
    """A revocation as hubs take it. `created` is in seconds since 1970; `pk` is None of one without a row."""

    pk: int | None
    identity: str
    session: str
    auth: str
    stream: str
    cause: str
    created: float

    @classmethod
    def of(cls, row: Revocation) -> Self:
        created = row.created.timestamp()
        return cls(row.pk, row.identity, row.session, row.auth, row.stream, row.cause, created)

    @classmethod
    def told(cls, fields: Mapping[str, Any]) -> Self:
        """From news. Raises KeyError or TypeError for those of another version."""
        return cls(**{name: fields[name] for name in cls._fields})


def revoke(
    user: Any = None, session: str | None = None, stream: str | None = None, *, using: str | None = None
) -> None:
    """Ends what sockets may still do, on every node, once the caller's transaction is committed.

    Take the right away first: who is cut may come back at once, and is judged by what holds then.

    :param user: an instance, its primary key, or what `get_identity` returns: whose sockets. They are closed
        for good (4503), or with `stream` lose that stream alone.
    :param session: the key of a Django session: its sockets are closed for good (4501).
    :param stream: the exact name of a stream. Alone: everybody loses it, and may ask for it again.
    :param using: the alias of the database whose transaction takes the right away; default: where
        revocations are written.
    :raises ValueError: nothing is given, or what isn't a stream name.
    """
    if user is None and session is None and stream is None:
        raise ValueError("revoke() needs a user, a session or a stream")
    if stream is not None and not STREAM_NAME.match(stream):
        raise ValueError(f"not a stream name: {stream[:120]!r}")
    identity = "" if user is None else _identity(user)
    if user is not None and not identity:
        raise ValueError("revoke() of a user that isn't anybody")
    digest = "" if session is None else session_digest(session)
    cause = Cause.LOGOUT if session is not None and user is None and stream is None else Cause.REVOKED
    record(cause, identity=identity, session=digest, stream=stream or "", using=using)


async def arevoke(
    user: Any = None, session: str | None = None, stream: str | None = None, *, using: str | None = None
) -> None:
    """`revoke` for async code; parameters and errors are the same."""
    await sync_to_async(revoke)(user, session, stream, using=using)


def _identity(user: Any) -> str:
    if isinstance(user, str):
        return user[:200]
    pk = user.pk if isinstance(user, Model) or hasattr(user, "pk") else user
    return "" if pk is None else f"user:{pk}"[:200]


def record(
    cause: Revocation.Cause,
    *,
    identity: str = "",
    session: str = "",
    auth: str = "",
    stream: str = "",
    using: str | None = None,
) -> None:
    """Writes a revocation in the caller's transaction, and tells the hubs on commit.

    :param session: a `session_digest`.
    :param auth: an `auth_digest`: sockets of sessions with this one are left alone.
    :param using: as for `revoke`.
    """
    alias = router.db_for_write(Revocation)
    fields = {"identity": identity, "session": session, "auth": auth, "stream": stream, "cause": cause}
    if using is not None and using != alias and connections[using].in_atomic_block:
        # Two transactions: whoever is cut must not be judged by what isn't committed yet.
        transaction.on_commit(lambda: _write(fields, alias), using=using)
    else:
        _write(fields, alias)


def _write(fields: dict[str, Any], alias: str) -> None:
    row = Revocation(**fields)
    with transaction.atomic(using=alias):  # a failure leaves the caller's transaction usable
        row.save(using=alias, force_insert=True)
    cut = Cut.of(row)
    transaction.on_commit(lambda: news.tell(NEWS, **cut._asdict()), using=alias, robust=True)


def record_anyway(cause: Revocation.Cause, **fields: Any) -> None:
    """`record` for what must not fail: nobody stays logged in because a revocation couldn't be written."""
    try:
        record(cause, **fields)
    except DatabaseError:
        logger.exception("A revocation (%s) couldn't be written; the hubs hear of it by news alone", cause)
        fields.pop("using", None)
        given = {"identity": "", "session": "", "auth": "", "stream": "", **fields}
        news.tell(NEWS, **Cut(None, cause=cause.value, created=time.time(), **given)._asdict())


FIELDS = ("pk", "identity", "session", "auth", "stream", "cause", "created")


def _read(condition: Q, newest_first: bool = False) -> list[Cut]:
    rows = Revocation.objects.using(router.db_for_write(Revocation)).filter(condition)
    rows = rows.order_by("-pk" if newest_first else "pk")
    return [
        Cut(pk, identity, session, auth, stream, cause, created.timestamp())
        for pk, identity, session, auth, stream, cause, created in rows.values_list(*FIELDS)[:BATCH]
    ]


def read_after(pk: int, missed: Sequence[int]) -> list[Cut]:
    """At most `BATCH` revocations that came after a pk, or are among those missed before it; by pk."""
    return _read(Q(pk__gt=pk) | Q(pk__in=missed) if missed else Q(pk__gt=pk))


def read_recent(age: timedelta) -> list[Cut]:
    """The last revocations up to this age, by pk; the newest one however old it is."""
    rows = _read(Q(created__gt=timezone.now() - age), newest_first=True)
    return rows[::-1] or _read(Q(), newest_first=True)[:1]


def forget_revocations() -> Iterator[int]:
    """Forgets what every hub has long seen, in batches; yields how many went."""
    rows = Revocation.objects.using(router.db_for_write(Revocation)).filter(created__lt=timezone.now() - KEEP)
    while first := rows.aggregate(pk=Min("pk"))["pk"]:
        gone, _ = rows.filter(pk__lt=first + BATCH).delete()
        yield gone

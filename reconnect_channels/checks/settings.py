"""Checks of RECONNECT_CHANNELS itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from ..conf import Settings, problems, settings
from ..dedup.answers import answers
from ..log import all_logs, log_for

OUTBOX_AGE = 23 * 3600  # seconds that persistOutbox() keeps a message, by default
ORDER = (  # the first is the shorter one, and what happens otherwise
    ("HEARTBEAT", "DEAD_AFTER", "sockets are taken for dead before they are asked again"),
    ("DEDUP_SECONDS", "PRODUCER_SECONDS", "a late retry is taken for a new message, and runs twice"),
    ("SESSION_REFRESH", "SESSION_SECONDS", "sessions are forgotten while they live"),
)


def current() -> Settings | None:
    """The settings, or None where they can't be read: that is E001, said once."""
    try:
        return settings()
    except ImproperlyConfigured:
        return None


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """RECONNECT_CHANNELS can be read and its logs exist."""
    wrong = list(problems(getattr(django_settings, "RECONNECT_CHANNELS", {})))
    if not wrong:
        try:
            log_for("check")
            answers()
        except (ImproperlyConfigured, ImportError, TypeError) as error:
            wrong = [str(error)]
    return [Error(text, id="reconnect_channels.E001") for text in wrong]


@register()
def check_times(**_: Any) -> Iterator[CheckMessage]:
    """Times fit together, and answers are known for as long as retries come."""
    now = current()
    if now is None:
        return
    for shorter, longer, otherwise in ORDER:
        less, more = getattr(now, shorter), getattr(now, longer)
        if less >= more:
            yield Error(
                f"{shorter} ({less:g} s) must be less than {longer} ({more:g} s): else {otherwise}.",
                id="reconnect_channels.E005",
            )
    if now.DEDUP_SECONDS < OUTBOX_AGE:
        yield Warning(
            f"Answers are known for {now.DEDUP_SECONDS:g} s, less than an outbox is kept in a browser "
            f"({OUTBOX_AGE} s): one that comes back later is told `expired` for what had taken effect.",
            hint="Raise DEDUP_SECONDS, or silence this where pages give persistOutbox a shorter maxAgeMs.",
            id="reconnect_channels.W008",
        )


@register(deploy=True)
def check_fast_logs(**_: Any) -> list[CheckMessage]:
    """The Redis of a log evicts nothing, and writes what it was told. It is asked, so only for `--deploy`."""
    try:
        fast: list[Any] = [log for log in all_logs() if not log.transactional]
    except (ImproperlyConfigured, ImportError, TypeError):
        return []  # E001
    if not fast:
        return []
    from ..log.durability import check  # needs redis-py

    return [message for log in fast for message in check(log)]

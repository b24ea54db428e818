"""News: what the hubs of all nodes tell each other beside entries, over one group of the channel layer.

A wake-up, never the truth: what it says stands in rows too, and who missed it finds it there.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from . import announcement

logger = logging.getLogger(__name__)

GROUP = "reconnect.nodes"  # every hub's channel is a member
MESSAGE_TYPE = "reconnect.news"
BATCH = 200  # news a layer message
BACKLOG = 10_000  # news kept while the layer takes none

Fields = Mapping[str, Any]
Listener = Callable[[Any, Fields], None]

listeners: defaultdict[str, set[Listener]] = defaultdict(set)
"""By kind: called as `listener(hub, fields)` in the loop of every hub that runs, also of the process that
told; must not block. News may come twice, late, or not at all."""

receivers: set[Callable[[list[tuple[str, Fields]]], None]] = set()
"""The hubs of this process; called in the thread that tells."""

_process = secrets.token_hex(8)
_untold: deque[tuple[str, Fields]] = deque(maxlen=BACKLOG)


def tell(kind: str, **fields: Any) -> None:
    """Tells every hub, of this process at once and of the others through the layer.

    From any thread; never raises and never blocks. While one layer message is on its way, more news
    pile up and share the next.

    :param kind: which listeners are called.
    :param fields: what can be packed by the layer: text, numbers, booleans, None, and lists of them.
    """
    told: list[tuple[str, Fields]] = [(kind, fields)]
    for receiver in tuple(receivers):
        try:
            receiver(told)
        except Exception:
            logger.exception("A hub took no news; the others are told all the same")
    if announcement.leaves_process():
        _untold.extend(told)
        announcement.put(GROUP, _message)


def _message() -> dict[str, Any] | None:
    """The next layer message; None when an earlier one took it all."""
    news: list[list[Any]] = []
    while _untold and len(news) < BATCH:
        kind, fields = _untold.popleft()
        news.append([kind, dict(fields)])
    return {"type": MESSAGE_TYPE, "from": _process, "news": news} if news else None


def read_message(message: Mapping[str, Any]) -> list[tuple[str, Fields]]:
    """The news of a layer message; none where it is this process's own, which was told already."""
    if message["from"] == _process:
        return []
    return [(kind, fields) for kind, fields in message["news"]]


def hear(hub: Any, news: list[tuple[str, Fields]]) -> None:
    """Calls the listeners; in the hub's loop."""
    for kind, fields in news:
        for listener in tuple(listeners.get(kind, ())):
            try:
                listener(hub, fields)
            except Exception:  # of another version, during a deploy: the rows tell it too
                logger.warning("News of the kind %r couldn't be taken", kind, exc_info=True)


def _after_fork() -> None:
    """A child is another process, and runs none of its parent's hubs."""
    global _process
    _process = secrets.token_hex(8)
    receivers.clear()
    _untold.clear()


os.register_at_fork(after_in_child=_after_fork)

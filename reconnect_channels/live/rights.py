"""Rights of open sockets: what is revoked ends at once, everything else within a minute (design 10.5, P8).

Revocations come as news, and as rows: one query a second for all sockets of the node. Whether a socket was
judged before or after a revocation can't always be told, since the row is written before its transaction
ends, and the session is read before the socket is ours. Who certainly was judged before is cut for good; in
doubt the client is sent to come back, and is judged afresh.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import news, workers
from ..access import Access
from ..protocol.codes import Close
from ..revocation import BATCH, NEWS, ORDERS, Cause, Cut, read_after, read_recent
from .judge import COME_BACK, Held, Judge
from .tail import KEEP, Tail

if TYPE_CHECKING:
    from .breaker import Spawn

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks for new rows
DOUBT = 3.0  # seconds that a handshake may take from reading its session to being ours
RECENT = 60.0  # seconds that a revocation is kept for sockets on their way
SPREAD = 5.0  # seconds within which nodes begin, where everybody is to be looked at

UNAUTHENTICATED = (Cause.LOGOUT, Cause.DEACTIVATED, Cause.DELETED)


class _Recent(NamedTuple):
    cut: Cut
    learned: float


class Rights:
    """The sockets of one hub, found by identity and session.

    :param spawn: makes a task that ends with the hub.
    :param obey: called with orders, which are told in the same way.
    """

    def __init__(self, spawn: Spawn, obey: Callable[[Cut], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._spawn = spawn
        self._obey = obey
        self._judge = Judge(spawn)
        self._by_identity: defaultdict[str, set[Held]] = defaultdict(set)
        self._by_session: defaultdict[str, set[Held]] = defaultdict(set)
        self._recent: deque[_Recent] = deque()
        self._recent_of: defaultdict[str, list[_Recent]] = defaultdict(list)
        self._known: dict[tuple[int, float], float] = {}
        self._checking: asyncio.TimerHandle | None = None
        self._services: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._judge.sockets)

    # -- sockets -----------------------------------------------------------------------------------

    def enter(self, socket: Held) -> bool:
        """Watches a socket from now on, before its streams are asked for; False when it may not stay."""
        access = socket.access
        if not access.login.active:
            socket.end(Close.UNAUTHENTICATED, Cause.DEACTIVATED, (0, 0))
            return False
        if not self._services:
            self._services = [self._spawn(self._watch()), self._spawn(self._judge.watch())]
            news.receivers.add(self._listen)
        self._judge.enter(socket)
        for name in _names(access):
            self._by_identity[name].add(socket)
        if access.login.session:
            self._by_session[access.login.session].add(socket)
        for cut in self._recent_for(access):
            if cut.cause == Cause.CHECK or cut.stream:
                access.lose()  # what is asked from now on is asked with a fresh user
            elif not _spared(access, cut):
                wait = int(DOUBT * 1000)
                socket.end(Close.RESYNC, cut.cause, (wait, wait + 1_000))
                return False
        return True

    def leave(self, socket: Held) -> None:
        """Forgets a socket that ends. Synchronous; may be called again."""
        if not self._judge.leave(socket):
            return
        for name in _names(socket.access):
            _discard(self._by_identity, name, socket)
        _discard(self._by_session, socket.access.login.session, socket)
        if not self._judge.sockets:
            news.receivers.discard(self._listen)
            if self._checking is not None:
                self._checking.cancel()
                self._checking = None
            services, self._services = self._services, []
            for service in services:
                service.cancel()

    # -- revocations -------------------------------------------------------------------------------

    def hear(self, fields: Mapping[str, Any]) -> None:
        """Takes news of a revocation."""
        self.apply([Cut.told(fields)])

    def _listen(self, told: list[tuple[str, news.Fields]]) -> None:
        """Called in the thread that tells; the hub listens to news only once there are streams."""
        for kind, fields in told:
            if kind == NEWS:
                try:
                    self._loop.call_soon_threadsafe(self.hear, fields)
                except RuntimeError:  # the loop was closed under us
                    news.receivers.discard(self._listen)

    def apply(self, cuts: Iterable[Cut]) -> None:
        """Ends what these revocations end on this node; each counts once, however often it is told."""
        now = time.time()
        for cut in cuts:
            if cut.pk is not None:
                key = cut.pk, cut.created
                if key in self._known:
                    continue
                self._known[key] = now
            if cut.cause in ORDERS:
                self._obey(cut)
                continue
            self._remember(_Recent(cut, now))
            if cut.cause == Cause.CHECK and not cut.identity and not cut.session:
                self._check_everybody()
                continue
            for socket in self._matching(cut):
                self._apply(cut, socket)

    def _remember(self, recent: _Recent) -> None:
        self._recent.append(recent)
        self._recent_of[recent.cut.identity or recent.cut.session].append(recent)
        while self._recent[0].learned < recent.learned - RECENT:
            old = self._recent.popleft()
            key = old.cut.identity or old.cut.session
            self._recent_of[key].remove(old)
            if not self._recent_of[key]:
                del self._recent_of[key]
        while self._known:
            oldest = next(iter(self._known))
            if self._known[oldest] > recent.learned - 2 * KEEP:
                break
            del self._known[oldest]

    def _recent_for(self, access: Access) -> list[Cut]:
        """Revocations that this node learned when the handshake may have read what they changed."""
        if not self._recent:
            return []
        names = {*_names(access), *(name.removeprefix("user:") for name in _names(access))}
        keys = ["", *names, access.login.session]
        return [
            recent.cut
            for key in dict.fromkeys(keys)
            for recent in self._recent_of.get(key, ())
            if recent.learned > access.opened - DOUBT and recent.cut.session in ("", access.login.session)
        ]

    def _matching(self, cut: Cut) -> list[Held]:
        found: set[Held] | None = None
        if cut.identity:
            found = self._by_identity.get(cut.identity, set()) | self._by_identity.get(
                f"user:{cut.identity}", set()
            )
        if cut.session:
            of_session = self._by_session.get(cut.session, set())
            found = set(of_session) if found is None else found & of_session
        return list(self._judge.sockets if found is None else found)

    def _apply(self, cut: Cut, socket: Held) -> None:
        access = socket.access
        certain = access.opened < cut.created
        if cut.cause == Cause.CHECK:
            access.lose()
            self._judge.ask([socket])
        elif cut.stream:
            access.lose([cut.stream])
            socket.withdraw([cut.stream], again=not certain)
        elif not _spared(access, cut):
            access.void = True
            if cut.cause == Cause.PASSWORD or (cut.cause == Cause.LOGOUT and not cut.session):
                socket.end(Close.RESYNC, cut.cause, COME_BACK)  # which of its sessions live on, cookies tell
            elif not certain:
                wait = int(DOUBT * 1000)
                socket.end(Close.RESYNC, cut.cause, (wait, wait + 1_000))
            else:
                code = Close.UNAUTHENTICATED if cut.cause in UNAUTHENTICATED else Close.FORBIDDEN
                socket.end(code, cut.cause, (0, 0))

    def _check_everybody(self) -> None:
        """Soon, and once for all who say so meanwhile; not on all nodes at the same time."""
        if self._checking is None:
            wait = random.uniform(SPREAD / 2, SPREAD)
            self._checking = self._loop.call_later(wait, self._everybody)

    def _everybody(self) -> None:
        self._checking = None
        for socket in self._judge.sockets:
            socket.access.lose()
        self._judge.ask(self._judge.sockets)

    # -- rows --------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Finds the rows that no news told of."""
        tail: Tail | None = None
        failing = False
        surveyed = -math.inf
        while True:
            began = time.monotonic()
            try:
                if tail is None or began - surveyed > RECENT:
                    surveyed = began
                    cuts: Sequence[Cut] = await workers.read(read_recent, timedelta(seconds=KEEP))
                    if tail is None or (cuts and _pk(cuts[-1]) < tail.high):  # or the table was restored
                        tail = Tail(_pk(cuts[0]) - 1 if cuts else 0)
                        tail.take(map(_pk, cuts), began)
                    young = [cut for cut in cuts if cut.created > time.time() - RECENT]
                else:
                    cuts = young = await workers.read(read_after, tail.high, tail.missed)
                    tail.take(map(_pk, cuts), began)
                failing = False
            except Exception:
                if not failing:
                    logger.warning("Revocations couldn't be read; trying on", exc_info=True)
                failing = True
            else:
                self.apply(young)
                if len(cuts) >= BATCH:
                    continue
            await asyncio.sleep(max(0.05, LOOK - (time.monotonic() - began)))


def _names(access: Access) -> set[str]:
    """How revocations may name the owner of a socket."""
    return {name for name in (access.identity, access.login.user) if name}


def _spared(access: Access, cut: Cut) -> bool:
    """Whether the socket is of a session that lives on."""
    return bool(cut.auth) and access.login.auth == cut.auth


def _discard(index: defaultdict[str, set[Held]], key: str, socket: Held) -> None:
    index[key].discard(socket)
    if not index[key]:
        del index[key]


def _pk(cut: Cut) -> int:
    assert cut.pk is not None
    return cut.pk


def _told(hub: Any, fields: news.Fields) -> None:
    hub.rights.hear(fields)


news.listeners[NEWS].add(_told)

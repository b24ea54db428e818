"""Looks at the rights of open sockets again: at everybody's within `RECHECK`, at once where that is asked."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Iterable, KeysView, Sequence
from typing import TYPE_CHECKING, Protocol

from django.db import InterfaceError, OperationalError

from .. import workers
from ..access import Access
from ..accounts import standings
from ..conf import settings
from ..protocol.codes import Close

if TYPE_CHECKING:
    from .breaker import Spawn

logger = logging.getLogger(__name__)

ROUNDS = 4  # looks at sockets' rights while one socket is looked at once
CHUNK = 500  # sockets whose users and sessions are one query each
ASKING = 4  # hooks asked at once, so that threads are left for others
HOOK = 5.0  # seconds that hooks of one socket may take in a round
COME_BACK = (1_000, 3_000)  # ms: by then a view has answered with the new cookie


class Held(Protocol):
    """A socket whose rights are watched."""

    access: Access

    def end(self, code: Close, reason: str, retry_after_ms: tuple[int, int]) -> None:
        """Nothing more is sent, except why. Synchronous."""

    def granted(self) -> list[str]:
        """The streams that it may read now."""

    def withdraw(self, names: Iterable[str], *, again: bool = False) -> None:
        """Ends streams, also those whose right is still asked for; `again`: may be asked for again."""


class Judge:
    """Judges the sockets of one hub afresh.

    :param spawn: makes a task that ends with the hub.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._judged: dict[Held, float] = {}  # when its rights were last looked at
        self._failures: dict[Held, int] = {}  # of its hooks, in a row
        self._asked: set[Held] = set()
        self._asking: asyncio.Task[None] | None = None
        self._judging = asyncio.Lock()

    @property
    def sockets(self) -> KeysView[Held]:
        """Those that are watched."""
        return self._judged.keys()

    def enter(self, socket: Held) -> None:
        """Watches a socket, which was judged just now."""
        self._judged[socket] = time.monotonic()

    def leave(self, socket: Held) -> bool:
        """Forgets a socket; False where it wasn't watched."""
        self._failures.pop(socket, None)
        self._asked.discard(socket)
        return self._judged.pop(socket, None) is not None

    def ask(self, sockets: Iterable[Held]) -> None:
        """Has the rights of these sockets looked at now; while that is done, more pile up."""
        self._asked.update(sockets)
        if self._asking is None:
            self._asking = self._spawn(self._answer())

    async def _answer(self) -> None:
        try:
            while self._asked:
                asked, self._asked = list(self._asked), set()
                await self._judge(asked)
        finally:
            self._asking = None

    async def watch(self) -> None:
        """Every socket within `RECHECK`, a part of them each round."""
        while True:
            every = settings().RECHECK
            await asyncio.sleep(every / ROUNDS * random.uniform(0.8, 1.0))
            due = time.monotonic() - every * (1 - 1 / ROUNDS)
            await self._judge([socket for socket, judged in self._judged.items() if judged <= due])

    async def _judge(self, sockets: Sequence[Held]) -> None:
        """Users and sessions in one query each, then the hooks; who can't be judged now is so next time."""
        limit = asyncio.Semaphore(ASKING)
        for start in range(0, len(sockets), CHUNK):
            async with self._judging:
                chunk = [socket for socket in sockets[start : start + CHUNK] if socket in self._judged]
                await self._judge_chunk(chunk, limit)

    async def _judge_chunk(self, sockets: list[Held], limit: asyncio.Semaphore) -> None:
        logins = [(socket.access.scope.get("user"), socket.access.login) for socket in sockets]
        began = time.monotonic()
        try:
            found = await workers.read(standings, logins)
        except Exception:
            logger.warning("Rights of %d sockets couldn't be looked at", len(sockets), exc_info=True)
            return
        left = []
        for socket, standing in zip(sockets, found, strict=True):
            if socket not in self._judged:
                continue
            if standing.problem:
                socket.access.void = True
                if standing.final:
                    socket.end(Close.UNAUTHENTICATED, standing.problem, (0, 0))
                else:
                    socket.end(Close.RESYNC, standing.problem, COME_BACK)
            else:
                socket.access.renew(standing.user)
                left.append(socket)
        asked = await asyncio.gather(*(self._ask_hooks(socket, began, limit) for socket in left))
        if errors := [error for error in asked if error is not None]:
            logger.warning("The rights of %d sockets are unknown", len(errors), exc_info=errors[0])

    async def _ask_hooks(self, socket: Held, began: float, limit: asyncio.Semaphore) -> Exception | None:
        async with limit:
            names = socket.granted()
            try:
                async with asyncio.timeout(HOOK):
                    allowed = await socket.access.again(names)
            except Exception as error:
                self._unknown(socket, names, error)
                return error
        if socket in self._judged:
            self._judged[socket] = began
            self._failures.pop(socket, None)
            self._withdraw(socket, [name for name in names if name not in allowed])
        return None

    def _unknown(self, socket: Held, names: list[str], error: Exception) -> None:
        """The hooks failed. A database that is down or slow takes no right away; a defect does, at the second
        time, since a hook may fail just because the right is gone."""
        if socket not in self._judged or isinstance(error, (OperationalError, InterfaceError, TimeoutError)):
            return
        failures = self._failures[socket] = self._failures.get(socket, 0) + 1
        if failures > 1:
            self._withdraw(socket, names, again=True)

    @staticmethod
    def _withdraw(socket: Held, names: Collection[str], *, again: bool = False) -> None:
        gone = set(socket.granted()).intersection(names)  # others are being asked for again just now
        if gone:
            socket.access.lost |= gone
            socket.withdraw(sorted(gone), again=again)

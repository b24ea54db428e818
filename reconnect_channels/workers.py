"""The database threads of this process.

Channels runs all database work of all sockets on one thread; a reconnect herd would queue there. Ours
have bounded pools of their own, and keep their connections between jobs. The log is read on a pool
apart, so that handlers and hooks that take long delay no resume.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from . import deadline
from .conf import settings

on_callers_thread: ContextVar[bool] = ContextVar("reconnect_channels_on_callers_thread", default=False)
"""Set where blocking code must run on the caller's thread, which holds its transaction."""

READERS = 4  # threads that read the log, beside THREADS for all other work
GRACE = 0.25  # seconds that a database has to end a late statement itself
TURNS = 4  # READ_TIMEOUTs that a read may wait for its turn

_lock = threading.Lock()
_pools: dict[str, ThreadPoolExecutor] = {}
_opened: set[BaseDatabaseWrapper] = set()


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    with _lock:
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return _pools[name]


def _job(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    finally:
        for connection in connections.all(initialized_only=True):
            _settle(connection)


def _settle(connection: BaseDatabaseWrapper) -> None:
    """Keeps a healthy connection for the next job, and gives back what a pool or an error wants back."""
    if connection.in_atomic_block:
        return
    if connection.errors_occurred or connection.settings_dict["OPTIONS"].get("pool"):
        connection.close()
    elif connection.connection is not None:
        _opened.add(connection)


async def run(function: Callable[..., Any], *args: Any) -> Any:
    """Runs blocking code in a database thread and returns its result."""
    return await _run(_pool("reconnect", settings().THREADS), function, *args)


class _Read:
    """One job of a reader thread, which another thread may give up."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> None:
        self._function, self._args, self._seconds = function, args, seconds
        self._latest = time.monotonic() + TURNS * seconds
        self._lock = threading.Lock()
        self._connections: list[BaseDatabaseWrapper] = []  # while it runs

    @property
    def overdue(self) -> bool:
        return time.monotonic() >= self._latest

    @property
    def patience(self) -> float:
        """Seconds until it is worth looking whether it is overdue."""
        return min(self._seconds + GRACE, max(0.0, self._latest - time.monotonic()) + 0.001)

    def run(self) -> Any:
        deadline.bind(self._seconds)
        with self._lock:
            self._connections = list(connections.all())
            self._latest = time.monotonic() + self._seconds + GRACE
        try:
            return self._function(*self._args)
        finally:
            with self._lock:
                self._connections = []
            for connection in connections.all(initialized_only=True):
                _settle(connection)

    def sever(self) -> None:
        with self._lock:
            for connection in self._connections:
                deadline.sever(connection)


async def read(function: Callable[..., Any], *args: Any) -> Any:
    """`run` for short reads of the log, which wait for no user's code; bounded by READ_TIMEOUT.

    :raises TimeoutError: the database didn't answer, and didn't end the read itself either.
    """
    if on_callers_thread.get():
        return await SyncToAsync(function, thread_sensitive=True)(*args)
    job = _Read(function, args, settings().READ_TIMEOUT)
    pool = _pool("reconnect-read", READERS)
    future = asyncio.get_running_loop().run_in_executor(pool, copy_context().run, job.run)
    try:
        while not (await asyncio.wait([future], timeout=job.patience))[0]:
            if job.overdue:
                job.sever()
                raise TimeoutError("the log didn't answer in time")
        return future.result()
    finally:
        future.cancel()


async def write(alias: str, function: Callable[..., Any], *args: Any) -> Any:
    """`run` for what writes to this database.

    SQLite has one writer at a time, and lets the others poll for their turn, asleep for up to 100 ms: on a
    thread of its own they queue, and none is asleep when its turn comes.
    """
    if connections[alias].vendor == "sqlite":
        return await _run(_pool(f"reconnect-write-{alias}", 1), function, *args)
    return await run(function, *args)


async def _run(pool: ThreadPoolExecutor, function: Callable[..., Any], *args: Any) -> Any:
    if on_callers_thread.get():
        return await SyncToAsync(function, thread_sensitive=True)(*args)
    return await SyncToAsync(_job, thread_sensitive=False, executor=pool)(function, *args)


async def call(hook: Callable[..., Any], *args: Any) -> Any:
    """Calls a user's hook: `async def` here, `def` in a database thread."""
    if inspect.iscoroutinefunction(hook):
        return await hook(*args)
    return await run(hook, *args)


def stop() -> None:
    """Ends the threads and closes their connections; the next job starts others."""
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.shutdown(wait=True)
    for connection in _opened:
        connection.inc_thread_sharing()
        connection.close()
    _opened.clear()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _pools.clear()
    _opened.clear()


os.register_at_fork(after_in_child=_after_fork)

"""The database threads of this process.

Channels runs all database work of all sockets on one thread; a reconnect herd would queue there. Ours
have bounded pools of their own, and keep their connections between jobs. The log is read on a pool
apart, so that handlers and hooks that take long delay no resume.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import settings

on_callers_thread: ContextVar[bool] = ContextVar("reconnect_channels_on_callers_thread", default=False)
"""Set where blocking code must run on the caller's thread, which holds its transaction."""

READERS = 4  # threads that read the log, beside THREADS for all other work

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


async def read(function: Callable[..., Any], *args: Any) -> Any:
    """`run` for short reads of the log, which wait for no user's code."""
    return await _run(_pool("reconnect-read", READERS), function, *args)


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

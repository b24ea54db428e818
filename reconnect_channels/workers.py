"""The database threads of this process.

Channels runs all database work of all sockets on one thread; a reconnect herd would queue there. Ours
have a bounded pool of their own, and keep their connections between jobs.
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

in_test_thread: ContextVar[bool] = ContextVar("reconnect_channels_in_test_thread", default=False)
"""Set by `testing`: run on the thread that holds the test's transaction."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_opened: set[BaseDatabaseWrapper] = set()


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(settings().THREADS, thread_name_prefix="reconnect")
        return _pool


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
    if in_test_thread.get():
        return await SyncToAsync(function, thread_sensitive=True)(*args)
    return await SyncToAsync(_job, thread_sensitive=False, executor=_executor())(function, *args)


async def call(hook: Callable[..., Any], *args: Any) -> Any:
    """Calls a user's hook: `async def` here, `def` in a database thread."""
    if inspect.iscoroutinefunction(hook):
        return await hook(*args)
    return await run(hook, *args)


def stop() -> None:
    """Ends the threads and closes their connections; the next job starts others."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.shutdown(wait=True)
    for connection in _opened:
        connection.inc_thread_sharing()
        connection.close()
    _opened.clear()


def _after_fork() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
    _opened.clear()


os.register_at_fork(after_in_child=_after_fork)

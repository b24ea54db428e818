"""Threads and other processes of the tests; every thread has connections of its own and closes them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from django.db import connection, connections

from tests.servers import ROOT, django_environment

PATIENCE = 30.0


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """Starts all functions at the same moment; returns what they returned, raises what one of them raised."""
    barrier = threading.Barrier(len(functions))

    def job(function: Callable[[], Any]) -> Any:
        barrier.wait(PATIENCE)
        return closing(function)()

    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(job, function) for function in functions]
        done, rest = wait(futures, PATIENCE, FIRST_EXCEPTION)
        for future in done:
            future.result()
        assert not rest, f"{len(rest)} didn't end"
        return [future.result() for future in futures]


def closing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for a thread that ends with it: its connections are closed."""

    def closed(*args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return closed


class Aside(threading.Thread):
    """Runs a function in another thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = closing(function)
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def end(self) -> Any:
        """Waits for the end; returns what the function returned, raises what it raised."""
        self.join(PATIENCE)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._result


def someone_waits() -> bool:
    """Whether another transaction waits for a lock. SQLite doesn't tell; there the order is left open."""
    if connection.vendor == "sqlite":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the activity of its first look
        cursor.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE NOT l.granted AND a.datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


def until(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Waits for a condition that another thread or process brings about; returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return value


def python(script: str, *arguments: str, setup: bool = True, **options: Any) -> "subprocess.Popen[str]":
    """Another Python process on the database of this test; `setup`: with Django's apps ready."""
    prologue = "import django; django.setup()\n" if setup else ""
    return subprocess.Popen(
        [sys.executable, "-c", prologue + script, *arguments],
        cwd=ROOT,
        env={**_environment(), **options.pop("env", {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, **django_environment()}


def output(process: "subprocess.Popen[str]") -> str:
    """What a process that ended well has printed."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out

"""Threads and other processes of the tests; every thread has connections of its own and closes them."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connections

from tests.servers import ROOT, django_environment

PATIENCE = 30.0


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """Starts all functions at the same moment; returns what they returned, raises what one of them raised."""
    barrier = threading.Barrier(len(functions))

    def job(function: Callable[[], Any]) -> Any:
        barrier.wait(PATIENCE)
        return closing(function)()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(job, f) for f in functions]]


def closing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for a thread that ends with it: its connections are closed."""

    def closed(*args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return closed


@contextmanager
def aside(function: Callable[[], Any]) -> Iterator["Aside"]:
    """Runs a function in another thread during the block, which waits for its end."""
    thread = Aside(function)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if thread.error is not None:
        raise thread.error


class Aside(threading.Thread):
    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.function = closing(function)
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error


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
    import os

    return {**os.environ, **django_environment()}


def output(process: "subprocess.Popen[str]") -> str:
    """What a process that ended well has printed."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out

"""Runs probes one after the other; none takes longer than its time, and none stops the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple

from django.db import Error, connections

from .finding import Finding, Plan, failure, told, warning

LOOK = 0.2  # seconds between two reports of a probe that still runs


class Probe(NamedTuple):
    """:param seconds: after so long, and the plan's patience if it is `patient`, it is left behind."""

    name: str
    run: Callable[[Plan], Iterator[Finding]]
    seconds: float
    patient: bool = False


def _module(name: str) -> Callable[[Plan], Iterator[Finding]]:
    """A probe that is imported when it runs: it may need an extra that isn't installed."""

    def run(plan: Plan) -> Iterator[Finding]:
        yield from import_module(f".{name}", __package__).probe(plan)

    return run


PROBES = (
    Probe("checks", _module("checks"), 30),
    Probe("database", _module("database"), 30),
    Probe("redis", _module("redis"), 20),
    Probe("layer", _module("layer"), 30),
    Probe("nodes", _module("nodes"), 15),
    Probe("proxy", _module("proxy"), 60, patient=True),
    Probe("trip", _module("trip"), 90),
)
"""In the order in which they build on each other."""


def examine(probe: Probe, plan: Plan, waiting: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """What a probe finds, as it is found; what it raises, or doesn't finish, is a failure.

    It runs in a thread of its own: a driver that waits for a dead host can't be stopped in another way.

    :param waiting: called a few times a second while there is nothing new.
    """
    findings: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            for finding in probe.run(plan):
                findings.put(finding)
        except ImportError as error:
            text = f"left out: {told(error)}"
            findings.put(warning("probe", text, "pip install 'reconnect-channels[servers,redis]'"))
        except Error as error:
            findings.put(failure("probe", f"needs the database: {told(error)}", "Mend that first."))
        except Exception as error:
            findings.put(
                failure("probe", f"can't be looked at: {told(error)}", "Mend it, and run this again.")
            )
        finally:
            connections.close_all()  # those of this thread
            findings.put(None)

    threading.Thread(target=run, name=f"doctor {probe.name}", daemon=True).start()
    seconds = probe.seconds + (plan.patience if probe.patient else 0)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            finding = findings.get(timeout=min(left, LOOK))
        except queue.Empty:
            waiting()
            continue
        if finding is None:
            return
        yield finding
    yield failure(
        "time", f"no answer within {seconds:.0f} s.", "Is it reachable from here, and not overloaded?"
    )

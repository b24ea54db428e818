"""What the library tells the application."""

from django.dispatch import Signal

telemetry = Signal()
"""A client reported its own measurements (at most every 10 s a socket).

Receivers are called in the event loop of the socket: they must be `def` and must not block (no query,
no request; add to a counter, or hand on to a queue). What they raise is logged.

:param sender: the class of the consumer.
:param metrics: `{name: float}` of the names in `protocol.telemetry.RANGES`, within their ranges.
:param environment: `chromium`, `firefox`, `safari`, `python`, `other`, or None: the client didn't say.
"""

returned = Signal()
"""A client came back after its socket had ended, on whichever node; known about a second later.

Receivers are called as those of `telemetry` are.

:param outage_ms: from the end of its socket to the WELCOME of the next.
:param moved: it came back to another node.
"""

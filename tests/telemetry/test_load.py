"""A node says how busy it is: rates since its last heartbeat, and which breakers are open."""

from reconnect_channels.telemetry import events
from reconnect_channels.telemetry.load import IDLE, Meter


def test_rates_are_those_since_the_last_reading():
    meter = Meter(100.0)
    events.emit(events.Published("s", 30, 0.0))
    events.emit(events.FannedOut("s", 3, 200))
    load = meter.read(110.0)
    assert (load.published, load.delivered) == (3.0, 60.0)
    assert meter.read(115.0)[:2] == IDLE[:2]


def test_breakers_are_named_while_they_are_open():
    meter = Meter(0.0)
    events.emit(events.BreakerMoved("snapshots", True))
    events.emit(events.BreakerMoved("log", True))
    assert meter.read(1.0).breakers == "log,snapshots"
    events.emit(events.BreakerMoved("snapshots", False))
    assert meter.read(2.0).breakers == "log"
    events.emit(events.BreakerMoved("log", False))
    assert meter.read(3.0).breakers == ""

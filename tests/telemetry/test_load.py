"""A node says how busy it is: rates since its last heartbeat, and which breakers are open."""

from reconnect_channels.telemetry import events
from reconnect_channels.telemetry.load import IDLE, Meter


def test_rates_are_those_since_the_last_reading():
    meter = Meter(100.0)
    events.emit(events.Published("s", 30, 0.0))
    events.emit(events.FannedOut("s", 3, 200))
    load = meter.read(110.0)
    assert (load.published, load.delivered) == (3.0, 60.0)
    assert meter.read(115.0)._replace(live=0) == IDLE


def test_who_came_back_is_counted_with_the_longest_outage():
    meter = Meter(0.0)
    meter.read(1.0)
    for outage_ms in (400, 7_000, 20):
        events.emit(events.Returned(outage_ms, moved=False))
    load = meter.read(3.0)
    assert (load.returned, load.outage) == (1.5, 7.0)
    assert meter.read(4.0).outage == 0.0


def test_live_sessions_are_those_of_the_last_sample():
    events.emit(events.Sampled(7, 0, 0, 0))
    assert Meter(0.0).read(1.0).live == 7
    events.emit(events.Sampled(0, 0, 0, 0))
    assert Meter(0.0).read(1.0).live == 0


def test_breakers_are_named_while_they_are_open():
    meter = Meter(0.0)
    events.emit(events.BreakerMoved("snapshots", True))
    events.emit(events.BreakerMoved("log", True))
    assert meter.read(1.0).breakers == "log,snapshots"
    events.emit(events.BreakerMoved("snapshots", False))
    assert meter.read(2.0).breakers == "log"
    events.emit(events.BreakerMoved("log", False))
    assert meter.read(3.0).breakers == ""

"""Fills the metrics: a listener over events.

An event costs a few microseconds: children of metrics are looked up once for each set of labels.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..protocol.codes import Close, Resync
from ..protocol.telemetry import ENVIRONMENTS, observations
from . import events, metrics

OTHER = "other"
STREAMS = 10_000  # whose prefix is remembered
CODES = frozenset({*map(int, Close), 1000, 1001, 1005, 1006, 1011, 1012})

OUTCOMES = ACKED, REJECTED, RETRIED, DUPLICATE = "acked", "rejected", "retried", "duplicate"

Handler = Callable[[Any], None]

_handlers: dict[type[NamedTuple], Handler] = {}
_prefixes: dict[str, str] = {}
_find: Callable[[str], str]
_open: Tally[str] = Tally()
_flushed: dict[str, tuple[float, float]] = {}  # attempted and succeeded by environment, for the rate


def connect(prefix_of: Callable[[str], str]) -> None:
    """Counts what happens from now on.

    :param prefix_of: the prefix of the consumer class that serves a stream; "" where none does.
    """
    global _find
    _find = prefix_of
    _prefixes.clear()
    _begin()
    events.listen(listen)


def _begin() -> None:
    """Where labels are known, series begin with 0: the step from none to 1 is no increase for Prometheus."""
    for environment in ENVIRONMENTS:
        for counter in metrics.REPORTED_COUNTERS.values():
            _child(counter, environment)
    for outcome in ("taken", "ignored"):
        _child(metrics.CLIENT_REPORTS, outcome)
    for moved in ("yes", "no"):
        _child(metrics.RETURNS, moved)
    for reason in Resync:
        _child(metrics.RESYNCS, reason)
    for reason in (Resync.EPOCH, Resync.REWOUND):
        _child(metrics.HISTORY_REPLACED, reason)
    for name in ("log", "snapshots"):
        _child(metrics.BREAKER_OPEN, name)
    for code in CODES:
        _child(metrics.SOCKETS_CLOSED, str(code))


@cache
def _begin_prefix(prefix: str) -> None:
    """The same, once it is known that the prefix is in use."""
    for counter in (
        metrics.FELL_BEHIND,
        metrics.SNAPSHOT_FAILURES,
        metrics.LAYER_HOLES,
        metrics.DRIFT_REPORTS,
        metrics.DUPLICATES,
    ):
        _child(counter, prefix)
    for outcome in OUTCOMES:
        _child(metrics.MESSAGES, outcome, prefix)


def listen(event: NamedTuple) -> None:
    """Takes an event."""
    handler = _handlers.get(type(event))
    if handler is not None:
        handler(event)


def _on(kind: type[NamedTuple]) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return register


def _prefix(stream: str) -> str:
    known = _prefixes.get(stream)
    if known is None:
        known = _find(stream)
        if not known:  # not remembered: its consumer may yet be imported
            return OTHER
        if len(_prefixes) >= STREAMS:
            _prefixes.clear()
        _begin_prefix(known)
        _prefixes[stream] = known
    return known


@cache
def _child(metric: Any, *labels: str) -> Any:
    return metric.labels(*labels)


# -- what clients report of themselves -------------------------------------------------------------


@_on(events.Reported)
def _reported(event: events.Reported) -> None:
    told, environment = event.metrics, event.environment or OTHER
    _child(metrics.CLIENT_REPORTS, "taken").inc()
    for name, counter in metrics.REPORTED_COUNTERS.items():
        if added := told.get(name):
            _child(counter, environment).inc(added)
    for name, (histogram, *labels) in metrics.REPORTED_HISTOGRAMS.items():
        for value in observations(told, name):
            _child(histogram, *labels, environment).observe(value)
    _transitions(event, told.get("reconnect_fsm_transitions_total", 0), environment)
    _flush_rate(told, environment)


def _transitions(event: events.Reported, counted: float, environment: str) -> None:
    for _, left, entered in event.transitions:
        _child(metrics.FSM_TRANSITIONS, left, entered, environment).inc()
    if counted > len(event.transitions):
        _child(metrics.FSM_TRANSITIONS, "", "", environment).inc(counted - len(event.transitions))


def _flush_rate(told: Mapping[str, float], environment: str) -> None:
    attempted, succeeded = _flushed.get(environment, (0.0, 0.0))
    attempted += told.get("reconnect_flush_attempted_total", 0)
    succeeded += told.get("reconnect_flush_succeeded_total", 0)
    _flushed[environment] = attempted, succeeded
    if attempted:
        _child(metrics.FLUSH_SUCCESS_RATE, environment).set(min(1, succeeded / attempted))


# -- recovery --------------------------------------------------------------------------------------


@_on(events.Resumed)
def _resumed(event: events.Resumed) -> None:
    _child(metrics.RECOVERIES, event.answer, event.reason).inc()
    if event.answer in ("delta", "snapshot"):
        answer = event.reason or event.answer
        _child(metrics.GAP_SIZE, answer).observe(event.gap, _exemplar(event.trace))


@_on(events.CaughtUp)
def _caught_up(event: events.CaughtUp) -> None:
    histogram = _child(metrics.CAUGHT_UP_SECONDS, _prefix(event.stream))
    histogram.observe(event.seconds, _exemplar(event.trace))


def _exemplar(trace: str) -> dict[str, str] | None:
    return {"trace_id": trace} if trace else None


@_on(events.Built)
def _built(event: events.Built) -> None:
    prefix = _prefix(event.stream)
    if event.size < 0:
        _child(metrics.SNAPSHOT_FAILURES, prefix).inc()
    else:
        _child(metrics.SNAPSHOT_SIZE, prefix).observe(event.size)
        _child(metrics.SNAPSHOT_BUILD, prefix).observe(event.seconds)


# -- live traffic ----------------------------------------------------------------------------------


@_on(events.Published)
def _published(event: events.Published) -> None:
    prefix = _prefix(event.stream)
    _child(metrics.PUBLISHED_ENTRIES, prefix).inc(event.entries)
    if event.held:
        _child(metrics.ROW_HOLD, prefix).observe(event.held)


@_on(events.FannedOut)
def _fanned_out(event: events.FannedOut) -> None:
    _, entries, sockets = event
    prefix = _prefix(event.stream)
    _child(metrics.FAN_OUT_ENTRIES, prefix).observe(entries)
    _child(metrics.FAN_OUT_SOCKETS, prefix).observe(sockets)
    _child(metrics.DELIVERIES, prefix).inc(entries * sockets)


@_on(events.Answered)
def _answered(event: events.Answered) -> None:
    prefix = _prefix(event.stream)
    if event.duplicate:
        outcome = DUPLICATE
        _child(metrics.DUPLICATES, prefix).inc()
    else:
        outcome = ACKED if event.code == 0 else RETRIED if event.retry else REJECTED
    _child(metrics.MESSAGES, outcome, prefix).inc()
    if event.seconds:
        _child(metrics.MESSAGE_SECONDS, prefix).observe(event.seconds)


# -- health ----------------------------------------------------------------------------------------


@_on(events.Sampled)
def _sampled(event: events.Sampled) -> None:
    metrics.LIVE.set(event.live)
    metrics.DIVERGED.set(event.diverged)
    metrics.LAGGING.set(event.lagging)
    metrics.DRIFTED.set(event.drifted)
    metrics.DRIFT_PERCENTAGE.set(events.drift_percentage(event.drifted, event.live))


@_on(events.BreakerMoved)
def _breaker_moved(event: events.BreakerMoved) -> None:
    _open[event.name] += 1 if event.is_open else -1  # each log has one
    _child(metrics.BREAKER_OPEN, event.name).set(_open[event.name] > 0)


@_on(events.Ended)
def _ended(event: events.Ended) -> None:
    code = "none" if event.code is None else str(int(event.code)) if event.code in CODES else OTHER
    _child(metrics.SOCKETS_CLOSED, code).inc()


# -- what is told in a line ------------------------------------------------------------------------

_handlers.update(
    {
        events.ReportIgnored: lambda event: _child(metrics.CLIENT_REPORTS, "ignored").inc(),
        events.Welcomed: lambda event: metrics.WELCOME_SECONDS.observe(event.seconds),
        events.HandedOver: lambda event: metrics.HANDOFF_LATENCY.observe(event.ms),
        events.Returned: lambda event: _child(metrics.RETURNS, "yes" if event.moved else "no").inc(),
        events.FellBehind: lambda event: _child(metrics.FELL_BEHIND, _prefix(event.stream)).inc(),
        events.Resynced: lambda event: _child(metrics.RESYNCS, event.reason).inc(),
        events.HistoryReplaced: lambda event: _child(metrics.HISTORY_REPLACED, event.reason).inc(),
        events.PageRead: lambda event: _child(metrics.PAGE_READ, _prefix(event.stream)).observe(
            event.seconds
        ),
        events.HoleHealed: lambda event: _child(metrics.LAYER_HOLES, _prefix(event.stream)).inc(),
        events.LayerFailed: lambda event: metrics.LAYER_FAILURES.inc(),
        events.Drifted: lambda event: _child(metrics.DRIFT_REPORTS, _prefix(event.stream)).inc(),
        events.CleanupFailed: lambda event: metrics.CLEANUP_ERRORS.inc(),
        events.Reaped: lambda event: metrics.NODES_REAPED.inc(),
        events.Draining: lambda event: metrics.DRAINS.inc(),
    }
)

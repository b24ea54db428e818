"""The metrics as text, for Prometheus: of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

OPENMETRICS = "application/openmetrics-text"
_LIVE_FILE = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


def exposition(accept: str) -> tuple[bytes, str]:
    """The page and its content type.

    :param accept: the scraper's Accept header: OpenMetrics, which has exemplars, or else plain text.
    """
    encode, content_type = choose_encoder(f"{OPENMETRICS}; version=1.0.0" if OPENMETRICS in accept else "")
    return encode(_registry()), content_type


def _registry() -> CollectorRegistry:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return REGISTRY
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return registry


def _forget_dead(folder: Path) -> None:
    """Gauges of processes that are gone count no more: no server but gunicorn tells of an end."""
    for pid in {int(found[1]) for file in folder.iterdir() if (found := _LIVE_FILE.fullmatch(file.name))}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it lives, as another user

"""What PostgreSQL does for a page of the log: the same work whatever the log's size (design 7.2)."""

import os
import subprocess
import sys

import pytest

from tests.servers import ROOT, Server
from tests.services import postgres_url

pytestmark = pytest.mark.servers


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_page_costs_the_same_in_a_log_10_times_as_large(postgres_server: Server):
    """Before statistics are gathered, with those of a much smaller log, and with fresh ones."""
    done = subprocess.run(
        [sys.executable, "benchmarks/log_size.py", "--rows", "10000", "100000"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": postgres_url(postgres_server)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, *measured = rows(done.stdout)
    assert head[:3] == ["rows", "statistics", "read at"]
    assert len(measured) == 12
    buffers = [float(row[4]) for row in measured]
    assert max(buffers) <= 1.1 * min(buffers)
    [plan] = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert plan == (
        "1. Nested Loop Left(Index Scan reconnect_channels_stream_name_985dd4d2_like, "
        "Limit(Index Scan reconnect_entry_seq))"
    )

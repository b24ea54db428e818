"""What the tests of faults share.

FAULT_SECONDS says how long each storm lasts: 60 by default, a few in `make test`. FAULT_CLIENTS is for
machines that can't carry 200, FAULT_RESULTS a file to which each storm's figures are added.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests import services
from tests.servers import HOST, Server

from .cluster import migrate
from .stage import FULL, Stage, postgres_url

SECONDS = float(os.environ.get("FAULT_SECONDS") or FULL)
CLIENTS = int(os.environ.get("FAULT_CLIENTS") or (200 if SECONDS >= FULL else 40))

results: list[dict[str, Any]] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.timeout(SECONDS + 180))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    if not results:
        return
    terminalreporter.section("storms")
    columns = list(results[0])
    rows = [columns, *([str(result[column]) for column in columns] for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        terminalreporter.write_line(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        )


@pytest.fixture(scope="session")
def fault_postgres() -> Iterator[Server]:
    """A PostgreSQL that tests may kill, if they start it again."""
    with services.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def fault_redis() -> Iterator[Server]:
    """A Valkey that tests may kill, if they start it again."""
    with services.redis() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(fault_postgres: Server) -> str:
    """A database with our tables, to be copied."""
    url = postgres_url(fault_postgres, "migrated")
    with psycopg.connect(postgres_url(fault_postgres, "postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    migrate(url)
    return "migrated"


@pytest.fixture
def make_stage(
    request: pytest.FixtureRequest,
    fault_postgres: Server,
    fault_redis: Server,
    migrated: str,
    tmp_path: Path,
) -> Iterator[Callable[[str], Stage]]:
    before = len(results)

    def make(profile: str) -> Stage:
        name = f"storm_{secrets.token_hex(4)}"
        with psycopg.connect(postgres_url(fault_postgres, "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated}")
        with Redis(host=HOST, port=fault_redis.port) as client:
            client.flushall()
        return Stage(
            profile,
            SECONDS,
            CLIENTS,
            fault_postgres,
            postgres_url(fault_postgres, name),
            fault_redis,
            tmp_path,
            request.node.name.removeprefix("test_"),
            results,
        )

    yield make
    if path := os.environ.get("FAULT_RESULTS"):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(result) + "\n" for result in results[before:])


@pytest.fixture(params=["durable", pytest.param("redis", marks=pytest.mark.slow)])
def stage(request: pytest.FixtureRequest, make_stage: Callable[[str], Stage]) -> Stage:
    """Each profile in turn: neither may lose anything."""
    return make_stage(request.param)


@pytest.fixture
def durable(make_stage: Callable[[str], Stage]) -> Stage:
    """The log is in PostgreSQL."""
    return make_stage("durable")


@pytest.fixture
def redis_only(make_stage: Callable[[str], Stage]) -> Stage:
    """The log is in Redis."""
    return make_stage("redis")

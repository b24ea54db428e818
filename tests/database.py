"""pytest plugin: `--db=postgres` runs the tests on PostgreSQL, started before Django reads its settings.

And a test with transactions costs half: see `empty`.
"""

import os
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import TransactionTestCase

server = ExitStack()

# What `migrate` fills, and no test changes.
KEPT = {"django_content_type", "auth_permission"}


def empty(test: "TransactionTestCase") -> None:
    """Empties the tables after a test, as Django does, but for KEPT: it would make those anew each time."""
    from django.core.management.color import no_style
    from django.db import connections

    for alias in test._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        connection = connections[alias]
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        emptied = [table for table in tables if table not in KEPT]
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), emptied))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--db", choices=["sqlite", "postgres"], default="sqlite", help="database of the tests")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    # A wrapper, since pytest-django's own hook, which loads the settings, asks to be the first.
    if early_config.known_args_namespace.db == "postgres" and "DATABASE_URL" not in os.environ:
        from tests import services

        # The workers of xdist inherit the variable, so that all share one server.
        os.environ["DATABASE_URL"] = services.postgres_url(server.enter_context(services.postgres()))
    return (yield)


def pytest_sessionstart() -> None:
    from django.test import TransactionTestCase

    TransactionTestCase._fixture_teardown = empty  # type: ignore[attr-defined]


def pytest_unconfigure() -> None:
    server.close()


def pytest_report_header() -> str:
    from django.db import connection

    return f"database: {connection.vendor}"

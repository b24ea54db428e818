"""pytest plugin: `--db=postgres` runs the tests on PostgreSQL, started before Django reads its settings."""

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

server = ExitStack()


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


def pytest_unconfigure() -> None:
    server.close()


def pytest_report_header() -> str:
    from django.db import connection

    return f"database: {connection.vendor}"

import os
import shutil
import sys
from collections.abc import Iterator

import pytest
import pytest_django
from django.db import connection
from hypothesis import HealthCheck, settings

from tests import services
from tests.servers import Server

# The same examples on every run, and a blob for each failure. HYPOTHESIS_PROFILE says how many: a quarter
# ("few") where a stage repeats what another does, or new ones and many more of them ("search").
for name, examples in {"repeatable": 100, "few": 25, "search": 2_000}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=name != "search",
        deadline=None,
        print_blob=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """The last test's threads may still hold a connection: it is told which, and PostgreSQL ends it."""
    yield
    if connection.vendor != "postgresql":
        return
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid), state, query FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _, state, query in cursor.fetchall():
            print(f"left {state}: {query[:300]}", file=sys.stderr)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server, whatever the database of the tests is: DATABASE_URL, or one of our own."""
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith("postgres"):
        yield url
    else:
        with services.postgres() as server:
            yield services.postgres_url(server)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """REDIS_URL, or a server of our own. Session-wide: use keys of your own, or flush."""
    if url := os.environ.get("REDIS_URL"):
        yield url
    else:
        with services.redis() as server:
            yield services.redis_url(server)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[list[Server]]:
    """A cluster of three masters. Session-wide: use keys of your own; who kills a node restarts it."""
    with services.redis_cluster() as nodes:
        yield nodes


@pytest.fixture(scope="session")
def redis_cluster_urls(redis_cluster: list[Server]) -> list[str]:
    return [services.redis_url(node) for node in redis_cluster]


@pytest.fixture
def redis_server() -> Iterator[Server]:
    """A Redis of this test alone, to kill and restart."""
    with services.redis() as server:
        yield server


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL of this test alone, to kill and restart."""
    with services.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, for Playwright's `executable_path`."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        if os.geteuid() == 0:
            pytest.fail("No Chromium found: run scripts/chromium, which installs one for root")
        pytest.skip("no Chromium found: install it, or set CHROMIUM")
    return found

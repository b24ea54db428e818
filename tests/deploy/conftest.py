import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from reconnect_channels.client import Client, connect
from tests import services
from tests.servers import HOST, ROOT, Server, free_port

from .fronts import FRONTS, Front

BOARDS = ("board:launch", "board:garden", "board:reading")


@dataclass
class Site:
    """The example on two uvicorn nodes behind a load balancer."""

    nodes: list[Server]
    front: Front
    environment: dict[str, str]
    board: str  # a stream of this test's load balancer alone: boards have room for 200 cards

    def connect(self) -> Client:
        return connect(f"ws://{HOST}:{self.front.port}/ws/board/", base=0.05, maximum=1.0)

    def manage(self, *arguments: str) -> str:
        return manage(self.environment, *arguments)


def manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def example() -> Iterator[dict[str, str]]:
    """The environment of nodes of the example on PostgreSQL and Valkey, with its boards."""
    with services.postgres() as postgres, services.redis() as redis:
        environment = {
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "DATABASE_URL": services.postgres_url(postgres),
            "REDIS_URL": services.redis_url(redis),
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "DEBUG": "0",
            "SERVE_STATIC": "1",
            "SECRET_KEY": "only for tests, and long enough for every signer",
            "PYTHONUNBUFFERED": "1",
        }
        manage(environment, "migrate", "--verbosity", "0")
        manage(environment, "load_boards")
        yield environment


@pytest.fixture(params=list(FRONTS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def nodes(example: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two nodes that tests may kill and drain."""
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        made = []
        for number in range(2):
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", str(port)]
            command += ["--ws-max-size", "131072", "--ws-per-message-deflate", "false"]
            command += ["example_project.asgi:application"]
            node = Server(command, port, folder / f"{number}.log", env=example, ready=partial(ready, port))
            stack.callback(node.kill)
            made.append(node)
        yield made


def ready(port: int) -> None:
    """Raises where the node isn't there, or drains."""
    urllib.request.urlopen(f"http://{HOST}:{port}/reconnect/ready", timeout=5).close()


@pytest.fixture
def site(kind: str, nodes: list[Server], example: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    for node in nodes:
        if not node.answers():
            node.kill()
            node.start()
    front = FRONTS[kind](tmp_path, [node.port for node in nodes])
    try:
        front.server.start()
        yield Site(nodes, front, example, dict(zip(FRONTS, BOARDS, strict=True))[kind])
    finally:
        front.stop()

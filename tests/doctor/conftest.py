import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deploy.fronts import program
from tests.servers import HOST, ROOT, Server, asgi_server, django_environment, free_port


class Report(NamedTuple):
    code: int
    findings: list[dict[str, str]]

    def of(self, probe: str, name: str) -> list[dict[str, str]]:
        return [each for each in self.findings if (each["probe"], each["name"]) == (probe, name)]

    def level(self, probe: str, name: str) -> str:
        (finding,) = self.of(probe, name)
        return finding["level"]

    def bad(self) -> set[tuple[str, str]]:
        return {(each["probe"], each["name"]) for each in self.findings if each["level"] != "ok"}


Doctor = Callable[..., Report]


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, as operators do."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def examine(environment: dict[str, str], *arguments: str) -> Report:
    """What the doctor finds in an environment."""
    done = manage(environment, "reconnect_doctor", "--json", *arguments)
    assert done.stdout.startswith("{"), done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["ok"] is (done.returncode == 0)
    return Report(done.returncode, said["findings"])


@pytest.fixture
def doctor() -> Doctor:
    """Examines the database of this test, unless the environment names another."""

    def run(*arguments: str, **environment: str) -> Report:
        return examine({**django_environment(), **environment}, *arguments)

    return run


@pytest.fixture
def site(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    """A server of the doctor's consumer, and of another one, on the database of this test."""
    with asgi_server("tests.doctor.app:application", tmp_path / "site.log") as server:
        yield server


NGINX = """
pid {folder}/nginx.pid;
daemon off;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temporary}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://{host}:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            {lines}
        }}
    }}
}}
"""


@pytest.fixture
def nginx(site: Server, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Makes an nginx before the site; returns its port."""
    made: list[Server] = []

    def make(*lines: str, listen: str = "", without: str = "") -> int:
        port = free_port()
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        text = NGINX.format(
            folder=tmp_path,
            temporary="\n".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds),
            listen=f"{HOST}:{port} {listen}".rstrip(),
            host=HOST,
            upstream=site.port,
            lines="\n".join(lines),
        )
        config = tmp_path / "nginx.conf"
        config.write_text("\n".join(line for line in text.splitlines() if not without or without not in line))
        command = [program("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", str(config)]
        made.append(Server(command, port, tmp_path / "nginx.log").start())
        return port

    yield make
    for server in made:
        server.kill()

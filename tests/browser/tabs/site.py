"""The server of these tests with a database of its own, and a person's browser with the pages in it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from tests.servers import ROOT, asgi_server, free_port

APPLICATION = "tests.browser.tabs.app:application"
SETTINGS = "tests.browser.tabs.settings"
PREPARE = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
"""


class Site:
    """One server process; `sockets` is what it saw."""

    def __init__(self, folder: Path, server: str = "uvicorn") -> None:
        env = {"DJANGO_SETTINGS_MODULE": SETTINGS, "DATABASE_URL": f"sqlite:///{folder / 'tabs.sqlite3'}"}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        log = folder / "server.log"
        self.server = asgi_server(APPLICATION, log, server=server, port=self.port, env=env)

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", PREPARE]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **self.server.env}, check=True)
        self.server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        with urlopen(self.url + path, body, timeout=10) as response:
            return json.load(response)

    def sockets(self, user: str) -> list[dict[str, Any]]:
        """Every socket of a user since the start, oldest first."""
        return [socket for socket in self._ask("/sockets/") if socket["user"] == user]

    def open_sockets(self, user: str) -> list[dict[str, Any]]:
        return [socket for socket in self.sockets(user) if socket["closed"] is None]

    def entries(self, stream: str) -> list[dict[str, Any]]:
        return self._ask(f"/entries/{stream}/")

    def texts(self, stream: str) -> list[str]:
        return [entry["text"] for entry in self.entries(stream)]

    def publish(self, stream: str, text: str) -> None:
        self._ask(f"/entries/{stream}/", text.encode())

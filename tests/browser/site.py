"""The example on a real server with a database of its own, and other people who use it."""

import json
import os
import re
import shutil
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Self
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.servers import HOST, ROOT, Server, asgi_server, free_port

SLUG = "launch"
STREAM = f"board:{SLUG}"


def environment(database: Path, **more: str) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "DATABASE_URL": f"sqlite:///{database}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DEBUG": "1",
        **more,
    }


PREPARE = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
call_command("load_boards", verbosity=0)
"""


def prepare(database: Path) -> None:
    """Makes a database with the sample boards."""
    command = [sys.executable, "-c", PREPARE]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment(database)}, check=True, capture_output=True
    )


class Site:
    """One example site. `http` talks to the server directly, past any proxy."""

    def __init__(self, folder: Path, sample: Path, server: str, env: dict[str, str] | None = None) -> None:
        self.database = folder / "board.sqlite3"
        shutil.copy(sample, self.database)
        self.env = environment(self.database, **(env or {}))
        self.log = folder / "server.log"
        port = free_port()
        if server == "runserver":
            command = [sys.executable, str(ROOT / "manage.py"), "runserver", f"{HOST}:{port}"]
            self.server = Server(command, port, self.log, env=self.env)
        else:
            application = "example_project.asgi:application"
            self.server = asgi_server(application, self.log, server=server, port=port, env=self.env)
        self._http = build_opener(HTTPCookieProcessor(CookieJar()))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server.port}"

    def state(self, slug: str = SLUG) -> dict[str, Any]:
        """What /api/boards/<slug>/ says."""
        with self._http.open(f"{self.url}/api/boards/{slug}/", timeout=10) as response:
            return json.load(response)

    def somebody_else(self, slug: str = SLUG) -> None:
        """Three changes in one HTTP request."""
        with self._http.open(f"{self.url}/boards/{slug}/", timeout=10) as response:
            found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', response.read().decode())
        assert found, "the page has no CSRF token"
        url = f"{self.url}/boards/{slug}/somebody-else/"
        self._http.open(Request(url, b"", {"X-CSRFToken": found[1]}, method="POST"), timeout=10).close()

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)


class Writer:
    """Another process that changes the board with the ORM (writer.py)."""

    def __init__(self, site: Site) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.writer"],
            cwd=ROOT,
            env={**os.environ, **site.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, do: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([do, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the writer has died"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Its end of the pipe closes; it ends by itself, also when we are killed.
        self._process.communicate()

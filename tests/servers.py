"""Real server processes, killed and restarted at will."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psutil

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One process that answers on one port of this machine; the port outlives its restarts."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        ready: Callable[[], object] | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self.env = {**os.environ, **(env or {})}
        self.user = user
        self.ready = ready
        self.stop = stop
        self.process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def start(self, timeout: float = 30) -> Self:
        """Return when the server answers; raise with the end of its log when it won't."""
        assert self.process is None, "already running"
        owner: dict[str, Any] = {"user": self.user, "extra_groups": []} if self.user else {}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT if self.user is None else "/",
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C in the terminal is pytest's, which then stops us
                **owner,
            )
        # When we are killed, our end of the pipe closes, and the guard takes the server along.
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read _; kill -9 {self.process.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + timeout
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command[0]} does not answer on port {self.port}:\n{self.tail()}")
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            if self.ready is None:
                socket.create_connection(self.address, timeout=1).close()
            else:
                self.ready()
        except Exception:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, to the children too: nothing gets to say goodbye."""
        if self.process is None:
            return
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._dismiss_guard()
        self.process.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=5)
        self.process = None

    def terminate(self, timeout: float = 15) -> int:
        """Ask it to stop, and return its exit code; SIGKILL for one that won't go."""
        if self.process is None:
            return 0
        self.process.send_signal(self.stop)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._dismiss_guard()
        self.process = None
        return code

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open, and nobody answers on them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def restart(self) -> Self:
        self.kill()
        return self.start()

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.terminate()


def django_environment() -> dict[str, str]:
    """What a process needs to open the test database of this one."""
    from django.db import connection

    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{settings['NAME']}"
    else:
        account = f"{quote(settings['USER'])}:{quote(settings['PASSWORD'])}"
        url = f"postgresql://{account}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    return {"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": url, "PYTHONUNBUFFERED": "1"}


def asgi_server(
    application: str,
    log: Path,
    *,
    server: str = "uvicorn",
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Server:
    """A Daphne or uvicorn process for `module:application` on the database of this test, not started yet."""
    port = port or free_port()
    match server:
        case "daphne":
            arguments = ["-b", HOST, "-p", str(port)]
        case "uvicorn":
            arguments = ["--host", HOST, "--port", str(port)]
            arguments += ["--ws-max-size", "131072", "--ws-per-message-deflate", "false"]
        case _:
            raise ValueError(server)
    command = [sys.executable, "-m", server, *arguments, *options, application]
    return Server(command, port, log, env={**django_environment(), **(env or {})})

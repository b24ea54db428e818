"""A progress bar on a terminal; silent elsewhere."""

from __future__ import annotations

import time
from typing import Any

WIDTH = 24
PAUSE = 0.1  # seconds between two looks


class Progress:
    """:param stream: a command's `stderr`.
    :param total: how many steps there are.
    """

    def __init__(self, stream: Any, total: int) -> None:
        self._stream = stream
        self._silent = not stream.isatty()
        self._total = total
        self._shown = 0.0

    def show(self, done: int, text: str) -> None:
        """:param done: steps that are done.
        :param text: what else there is to say.
        """
        now = time.monotonic()
        if self._silent or (now - self._shown < PAUSE and done < self._total):
            return
        self._shown = now
        filled = WIDTH * done // max(self._total, 1)
        self._write(f"|{'█' * filled:{WIDTH}}| {done:,}/{self._total:,}  {text}")

    def clear(self) -> None:
        """Leaves an empty line."""
        if not self._silent:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\033[K{text}", ending="")
        self._stream.flush()

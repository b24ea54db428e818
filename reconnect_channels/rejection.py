"""A handler's final "no"."""

from __future__ import annotations

from typing import Any


class Reject(Exception):
    """Raised by `receive_message` to refuse a message for good.

    The refusal is stored and replayed: a retry gets the same answer, and the handler doesn't run again.

    :param reason: a short text or constant that the client shows or compares.
    :param code: 400-499, as in HTTP; 422 by default.
    :param detail: anything JSON can hold, e.g. errors by field.
    """

    def __init__(self, reason: str, code: int = 422, detail: Any = None) -> None:
        if not 400 <= code <= 499:
            raise ValueError("a refusal's code lies between 400 and 499")
        super().__init__(reason)
        self.reason, self.code, self.detail = reason, code, detail

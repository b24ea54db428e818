"""What can go wrong for the user of a client."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Everything that this client raises or reports, except programming errors (ValueError)."""


class Rejected(ClientError):
    """The server's final no to a message (`id`): it took no effect."""

    def __init__(self, code: int, reason: str, detail: Any = None, id: str | None = None) -> None:
        super().__init__(f"{code} {reason}" + (f": {detail}" if detail else ""))
        self.code, self.reason, self.detail, self.id = code, reason, detail, id


class QueueOverflow(ClientError):
    """The outbox is full; this message was never sent."""


class OutcomeUnknown(ClientError):
    """The message was sent and the client ended before the answer: it took effect once or not at all."""


class Closed(ClientError):
    """The client is closed, or gave up (`code` is the close code that made it, if one did)."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Refused(ClientError):
    """The server refuses a stream (403, 413)."""

    def __init__(self, stream: str, code: int, reason: str, detail: str = "") -> None:
        super().__init__(f"{stream}: {code} {reason}" + (f": {detail}" if detail else ""))
        self.stream, self.code, self.reason, self.detail = stream, code, reason, detail


class ServerError(ClientError):
    """An ERROR that names no stream: something this client sent was not understood."""

    def __init__(self, code: int, reason: str, detail: str = "") -> None:
        super().__init__(f"{code} {reason}" + (f": {detail}" if detail else ""))
        self.code, self.reason, self.detail = code, reason, detail


class HandshakeError(ClientError):
    """The other end doesn't speak `reconnect.v1`, or never says WELCOME."""


class HandlerError(ClientError):
    """An application handler raised (the cause); the stream asks for a snapshot to mend its state."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"a handler of {stream} raised")
        self.stream = stream

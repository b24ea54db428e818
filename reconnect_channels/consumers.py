"""The two mixins: put them left of any Channels WebSocket consumer."""

from __future__ import annotations

from typing import Any, ClassVar

from .identity import default_identity
from .live.connection import serve
from .live.plain import PlainSocket
from .protocol.entry import Entry
from .protocol.frames import SUBPROTOCOL, Message
from .publication import publish
from .registry import consumers

__all__ = ["DedupMixin", "DeltaSyncMixin"]


def _default(hook: Any) -> Any:
    """Marks a hook that the application may replace, so that we can tell whether it did."""
    hook._reconnect_default = True
    return hook


class _Reconnecting:
    """What both mixins share: one connection between the server and the consumer."""

    stream_prefix: ClassVar[str]
    scope: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "stream_prefix" in cls.__dict__:
            consumers.append(cls)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call = super().__call__  # type: ignore[misc]
        self.scope = scope  # hooks may be asked before the consumer sets it
        if SUBPROTOCOL in (scope.get("subprotocols") or ()):
            await serve(self, call, scope, receive, send)
        elif hasattr(type(self), "entry_published"):
            socket = PlainSocket(self, scope, send)
            try:
                await call(scope, receive, socket.send)
            finally:
                socket.detach()
        else:
            await call(scope, receive, send)

    def get_identity(self) -> str | None:
        """Whose messages these are: the scope of idempotency keys. None = a guest, who gets a signed id.

        May be `async def`. Default: the user's primary key, else the session.
        """
        return default_identity(self.scope)


class DeltaSyncMixin(_Reconnecting):
    """Down: streams that a client resumes from the position it holds.

    Set `stream_prefix`, and override what applies; every hook may be `def` (runs in a database thread)
    or `async def`. An ordinary client, which doesn't offer `reconnect.v1`, is served as before; define
    `entry_published(self, entry)` to let it see entries too.
    """

    snapshot_version: ClassVar[int] = 1
    """Raise it when the shape of the state changes: of `get_snapshot`, or of `reduce`."""

    def get_streams(self) -> list[str]:
        """The streams that every client of this consumer gets by itself, like Channels' `groups`."""
        return []

    def can_subscribe(self, stream: str) -> bool:
        """Whether this client may read the stream, with its whole retained log. Default: no.

        Not asked for `get_streams()`. Define `allowed_streams(self, names)` to answer many at once.
        """
        return False

    @classmethod
    @_default
    def get_snapshot(cls, stream: str) -> Any:
        """The state of the stream, as JSON can hold it. Knows no user: it is shared by all readers.

        As `def` it runs in one read transaction with the stream's position. Without it, newcomers get
        the entries themselves. Or let `reduce` make the state out of the entries.
        """
        return None

    @classmethod
    def initial_state(cls, stream: str) -> Any:
        """What `reduce` begins with: the state of a stream without entries."""
        return {}

    @classmethod
    @_default
    def reduce(cls, state: Any, entry: Entry) -> Any:
        """The state after one more entry, in place of `get_snapshot`. Pure: no clock, no database.

        The result is stored now and then as JSON, and the fold goes on from there: use dicts with string
        keys, lists, strings, numbers. Old entries can then be forgotten, up to the newest stored state.
        Define `upgrade_state(cls, state, version)` before you raise `snapshot_version` of streams whose
        entries were forgotten: it is given what an older version stored.

        :param state: `initial_state`, or what was returned for the entry before; may be changed.
        :param entry: `seq`, `id`, `clock`, `key`, and the decoded `payload`.
        """
        return state


class DedupMixin(_Reconnecting):
    """Up: messages that take effect once per key, in the order of their producer."""

    @_default
    def can_send(self, stream: str, message: Message) -> bool:
        """Whether this client may send the message to the stream. Default: whoever may read may send."""
        return True

    def receive_message(self, message: Message) -> Any:
        """Handles a message (`id`, `stream`, `payload`, `producer`, `n`); default: publishes its payload.

        As `def` it runs in one transaction with its dedup row, once per key. As `async def` it runs
        under a renewed claim: its entries come once, other effects at least once. What it returns is the
        ack's `result`. Raise `Reject`, `ValidationError` or `PermissionDenied` for a final no; anything
        else is rolled back and tried again.
        """
        publish(message.stream, message.payload)

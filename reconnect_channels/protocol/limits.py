"""The bounds of one exchange (design 13)."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import MAX_FRAME, MAX_MESSAGE
from .subscription import ACK_BYTES, ACK_ENTRIES, WINDOW_BYTES, WINDOW_ENTRIES


@dataclass(frozen=True)
class Limits:
    """What a client may do, and how long it may take; said in WELCOME."""

    max_streams: int = 100
    rate: float = 50
    burst: int = 1_000
    max_message: int = MAX_MESSAGE
    in_flight: int = 16
    hello_timeout: float = 10.0
    heartbeat: float = 15.0
    dead_after: float = 25.0
    ack_timeout: float = 25.0
    lag_grace: float = 15.0

    def wire(self) -> dict[str, int]:
        """The `limits` of WELCOME: what a client must keep to, and how it paces itself."""
        return {
            "message_bytes": self.max_message,
            "frame_bytes": MAX_FRAME,
            "streams": self.max_streams,
            "rate": int(self.rate),
            "burst": self.burst,
            "in_flight": self.in_flight,
            "ack_entries": ACK_ENTRIES,
            "ack_bytes": ACK_BYTES,
            "window_entries": WINDOW_ENTRIES,
            "window_bytes": WINDOW_BYTES,
        }

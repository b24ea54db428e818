"""Consumers that the tests talk to."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from reconnect_channels import Reject, publish
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin


class NotesConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Publishes what it is sent; its streams have no snapshots. `secret` is refused."""

    stream_prefix = "notes:"

    def can_subscribe(self, stream: str) -> bool:
        return stream.startswith("notes:") and "secret" not in stream

    def receive_message(self, message: Any) -> Any:
        match message.payload:
            case {"reject": reason}:
                publish(message.stream, {"rolled": "back"})
                raise Reject(reason, detail={"why": "because"})
            case {"fail": _}:
                publish(message.stream, {"rolled": "back"})
                raise RuntimeError("the handler's defect")
        entry = publish(message.stream, message.payload)
        return {"entry": entry.id}


class SyncNotesConsumer(DeltaSyncMixin, DedupMixin, JsonWebsocketConsumer):
    """The same on a sync Channels base, with hooks of its own for the streams."""

    stream_prefix = "sync:"

    def get_streams(self) -> list[str]:
        return ["sync:own"]

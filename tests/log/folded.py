"""A consumer whose state is folded from its entries."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from reconnect_channels.consumers import DeltaSyncMixin
from reconnect_channels.protocol.entry import Entry


class TallyConsumer(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """The state is the list of what was published, and says at which entry it stands."""

    stream_prefix = "tally:"
    channel_layer_alias = None
    reduced: list[int] = []  # what the tests count

    def can_subscribe(self, stream: str) -> bool:
        return True

    @classmethod
    def initial_state(cls, stream: str) -> Any:
        return {"of": stream, "at": 0, "all": []}

    @classmethod
    def reduce(cls, state: Any, entry: Entry) -> Any:
        cls.reduced.append(entry.seq)
        assert entry.seq == state["at"] + 1, "never a gap"
        state["at"] = entry.seq
        state["all"].append(entry.payload)
        return state

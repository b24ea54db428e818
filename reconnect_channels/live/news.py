"""The hubs' side of `reconnect_channels.news`, by the name that modules of this package use."""

from ..news import Fields, listeners, tell

__all__ = ["Fields", "listeners", "tell"]

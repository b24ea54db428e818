"""What operators see and do: lists that read by index, and orders that are confirmed and remembered."""

from . import drift, messages, nodes, sessions, streams

__all__ = ["drift", "messages", "nodes", "sessions", "streams"]

"""Settings of the two nodes: rows in PostgreSQL, answers in Redis, streams named `….fast` in Redis alone."""

import os
from typing import Any

from tests.settings import *  # noqa: F403

CHANNEL_LAYERS: dict[str, Any] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
RECONNECT_CHANNELS: dict[str, Any] = {
    "STREAM_LOGS": {
        "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
        "fast": {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": os.environ["REDIS_URL"],
            "PREFIXES": ["def:fast", "async:fast"],
        },
    },
    "DEDUP": {"LOCATION": os.environ["REDIS_URL"]} if os.environ.get("ANSWERS") else {},
    "CLAIM_SECONDS": float(os.environ.get("CLAIM_SECONDS", "10")),
    "RATE": 1e6,
    "BURST": 1_000_000,
}

"""Settings of a server whose `notes:fast:` streams are kept in Redis."""

import os

from tests.settings import *  # noqa: F403

RECONNECT_CHANNELS = {
    "STREAM_LOGS": {
        "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
        "fast": {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": os.environ["FAST_URL"],
            "KEY_PREFIX": os.environ["FAST_PREFIX"],
            "PREFIXES": ["notes:fast:"],
        },
    },
}

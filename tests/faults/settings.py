"""Settings of the nodes: what the environment says about database, layer and log."""

import os
from typing import Any

from tests.settings import *  # noqa: F403

CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": {
            "core": "channels_redis.core.RedisChannelLayer",
            "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
        }[os.environ["LAYER"]],
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    }
}
RECONNECT_CHANNELS: dict[str, Any] = {
    "STREAM_LOGS": {
        "default": {"BACKEND": "reconnect_channels.log.database.DatabaseLog"},
        "fast": {
            "BACKEND": "reconnect_channels.log.redis.RedisLog",
            "LOCATION": os.environ["REDIS_URL"],
            "PREFIXES": ["fast:"],
        },
    },
    "CLAIM_SECONDS": float(os.environ["CLAIM_SECONDS"]),
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"timed": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "timed"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

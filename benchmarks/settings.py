"""Django settings of the benchmarked servers; the environment says which layer and which database file."""

import os
from typing import Any

LAYERS: dict[str, str] = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}

layer = os.environ.get("BENCH_LAYER", "memory")
CHANNEL_LAYERS: dict[str, Any] = {"default": {"BACKEND": LAYERS[layer]}}
if layer != "memory":
    CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": [os.environ["BENCH_REDIS"]]}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_DATABASE", ":memory:"),
        "OPTIONS": {
            "timeout": 5,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "reconnect_channels",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for benchmarks"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True

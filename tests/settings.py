"""Django settings of the tests: SQLite in a file of this process, or what DATABASE_URL names.

CHANNELS_REDIS_URL puts the channel layer on Redis: several server processes need a common one.
RECONNECT_CHANNELS holds that setting as JSON.
"""

import atexit
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def database(url: str) -> dict[str, Any]:
    """`sqlite:////folder/file` or `postgresql://user:password@host:port/name`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        name = parts.path[1:]
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            "OPTIONS": {
                "timeout": 5,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
            # A file: other threads and the server processes of the tests open it too.
            "TEST": {"NAME": f"{name}.test"},
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }


def new_file() -> Path:
    """A name nobody else has; nothing is made on disk, since mypy reads these settings too."""
    file = Path(tempfile.gettempdir(), f"reconnect-channels-{secrets.token_hex(8)}.sqlite3")

    @atexit.register
    def remove() -> None:
        for left in file.parent.glob(f"{file.name}*"):
            left.unlink(missing_ok=True)

    return file


DATABASES = {"default": database(os.environ.get("DATABASE_URL") or f"sqlite:///{new_file()}")}

if redis_url := os.environ.get("CHANNELS_REDIS_URL"):
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

RECONNECT_CHANNELS = json.loads(os.environ.get("RECONNECT_CHANNELS", "{}"))

SECRET_KEY = "only for tests, long enough for every signer"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "channels",
    "reconnect_channels",
    "tests.app",
    "example_project.board",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "tests.asgi.application"
STATIC_URL = "static/"

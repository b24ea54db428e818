"""Settings of server processes whose layer and times a test chooses."""

import json
import os

from tests.settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": os.environ["LAYER"],
        "CONFIG": {"hosts": [os.environ["LAYER_URL"]], "prefix": "live"},
    }
}
RECONNECT_CHANNELS = json.loads(os.environ["RECONNECT_CHANNELS"])
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

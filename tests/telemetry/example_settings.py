"""The example, with short times."""

from example_project.settings import *  # noqa: F403

DEBUG = False
RECONNECT_CHANNELS = {"NODE_TIMEOUT": 1.0, "SESSION_FLUSH": 0.1, "HEAD_CHECK": 0.5}

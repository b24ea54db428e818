"""Settings of the nodes in tests of rights."""

import os

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.live.rights_app"
RECONNECT_CHANNELS = {"RECHECK": float(os.environ.get("RECHECK", "45"))}

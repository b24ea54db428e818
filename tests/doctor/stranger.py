"""Settings of somebody who doesn't know the site's secret."""

from tests.settings import *  # noqa: F403

SECRET_KEY = "another one, long enough for every signer"

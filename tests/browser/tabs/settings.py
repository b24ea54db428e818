"""The settings of the tests with the pages of this folder, and a host name that is no secure context."""

from pathlib import Path

from tests.settings import *  # noqa: F403 - settings are extended so
from tests.settings import ALLOWED_HOSTS, TEMPLATES

INSECURE = "name.test"
ROOT_URLCONF = "tests.browser.tabs.app"
ALLOWED_HOSTS = [*ALLOWED_HOSTS, INSECURE]
TEMPLATES = [{**TEMPLATES[0], "DIRS": [Path(__file__).parent]}]

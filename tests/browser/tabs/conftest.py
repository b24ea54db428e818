from collections.abc import Iterator
from itertools import count

import pytest

from tests.browser.tabs.cdp import Browser, Profile
from tests.browser.tabs.page import Person
from tests.browser.tabs.settings import INSECURE
from tests.browser.tabs.site import Site

numbers = count(1)


@pytest.fixture(scope="session")
def tabs_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("tabs")) as site:
        yield site


@pytest.fixture(scope="package")
def chromium_process(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    rules = f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1"
    with Browser(chromium, tmp_path_factory.mktemp("chromium"), rules) as browser:
        yield browser


@pytest.fixture
def profile(chromium_process: Browser) -> Iterator[Profile]:
    with chromium_process.profile() as profile:
        yield profile


@pytest.fixture
def person(tabs_site: Site, profile: Profile) -> Person:
    """Somebody who is logged in, with a stream that nobody else uses."""
    number = next(numbers)
    person = Person(tabs_site, profile, f"ada{number}", f"tabs:{number}")
    person.enter()
    return person


@pytest.fixture
def insecure_person(tabs_site: Site, profile: Profile) -> Person:
    """The same on a plain http origin: no Web Locks there."""
    number = next(numbers)
    url = f"http://{INSECURE}:{tabs_site.port}"
    person = Person(tabs_site, profile, f"ida{number}", f"tabs:{number}", url)
    person.enter()
    return person

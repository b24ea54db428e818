from tests.browser.fixtures import browser  # noqa: F401

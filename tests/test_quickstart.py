"""A wheel in a new Django project that follows the README's quickstart to the letter, in a real browser."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.servers import ROOT, Server, free_port
from tests.test_packaging import build_wheel

README = (ROOT / "README.md").read_text()

ASGI = """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
http = get_asgi_application()
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from mysite.consumers import RoomConsumer
application = ProtocolTypeRouter({{
    "http": http,
    "websocket": AuthMiddlewareStack(URLRouter([
        {route}
    ])),
}})
"""
URLS = """
from django.urls import path
from django.views.generic import TemplateView
urlpatterns = [path("", TemplateView.as_view(template_name="room.html"))]
"""
LOGIN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
user = get_user_model().objects.create_user("ann")
session = SessionStore()
session.update({SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
                HASH_SESSION_KEY: user.get_session_auth_hash()})
session.save()
print(session.session_key)
"""


def block(after: str, language: str) -> str:
    """The first code block of a language below a line of the README."""
    found = re.search(rf"```{language}\n(.*?)```", README[README.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose reconnect_channels is the built wheel's."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "site")]
    subprocess.run([*command, str(build_wheel(folder))], check=True)
    paths = {"PYTHONPATH": str(folder / "site"), "DJANGO_SETTINGS_MODULE": "mysite.settings"}
    return {**os.environ, **paths, "PYTHONUNBUFFERED": "1"}


@pytest.mark.browser
def test_the_quickstart_works_as_written(environment: dict[str, str], tmp_path: Path, chromium: str) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    where = run("-c", "import reconnect_channels; print(reconnect_channels.__file__)")
    assert where.startswith(environment["PYTHONPATH"]), "the wheel is what is tested"
    subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", "."], cwd=tmp_path, check=True)
    site = tmp_path / "mysite"
    settings = (site / "settings.py").read_text()
    settings += '\nINSTALLED_APPS.insert(0, "daphne")\nASGI_APPLICATION = "mysite.asgi.application"\n'
    settings += 'TEMPLATES[0]["DIRS"] = [BASE_DIR]\n' + block("## Quickstart", "python")
    (site / "settings.py").write_text(settings)
    (site / "consumers.py").write_text(block("# settings.py", "python"))
    (site / "asgi.py").write_text(ASGI.format(route=block("can_subscribe(self, stream)", "python").strip()))
    (site / "urls.py").write_text(URLS)
    (tmp_path / "room.html").write_text("<!doctype html><title>room</title>" + block("## Quickstart", "html"))
    run("manage.py", "migrate", "-v0")
    session = run("manage.py", "shell", "-v0", "-c", LOGIN).split()[-1]

    port = free_port()
    command = [sys.executable, str(tmp_path / "manage.py"), "runserver", "--noreload", f"127.0.0.1:{port}"]
    with Server(command, port, tmp_path / "log", env=environment), sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        context = browser.new_context()
        origin = f"http://127.0.0.1:{port}"
        context.add_cookies([{"name": "sessionid", "value": session, "url": origin}])
        page = context.new_page()
        with page.expect_console_message(lambda said: "hello" in said.text, timeout=15_000):
            page.goto(origin)
        browser.close()

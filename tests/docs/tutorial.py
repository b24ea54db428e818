"""The rest of the tutorial's project, which migrate.md doesn't touch; written to a folder and run there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs import guide
from tests.servers import ROOT, Server, asgi_server

FILES = {
    "manage.py": """
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
execute_from_command_line(sys.argv)
""",
    "mysite/settings.py": """
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only for a test, and long enough for it"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "daphne",
    "chat",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
""",
    "mysite/asgi.py": """
import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
http = get_asgi_application()

from chat.routing import websocket_urlpatterns

application = ProtocolTypeRouter({
    "http": ASGIStaticFilesHandler(http),
    "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
})
""",
    "mysite/urls.py": """
from django.urls import include, path

urlpatterns = [path("chat/", include("chat.urls"))]
""",
    "chat/routing.py": r"""
from django.urls import re_path

from . import consumers

websocket_urlpatterns = [re_path(r"ws/chat/(?P<room_name>\w+)/$", consumers.ChatConsumer.as_asgi())]
""",
    # The second view is the test's: a page as it was before step 3.
    "chat/urls.py": """
from django.shortcuts import render
from django.urls import path


def room(request, room_name, page="room"):
    return render(request, f"chat/{page}.html", {"room_name": room_name})


urlpatterns = [path("<str:room_name>/", room), path("<str:room_name>/<str:page>/", room)]
""",
    "chat/migrations/__init__.py": "",
    "chat/__init__.py": "",
    "mysite/__init__.py": "",
}
ROOM = "chat/templates/chat/room.html"


class Tutorial:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path, text in {**FILES, **guide.files(guide.section("Where we start"))}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.lstrip("\n"))
        shutil.copy(folder / ROOM, (folder / ROOM).with_name("unmoved.html"))
        self.server: Server | None = None

    def step(self, heading: str, back: bool = False) -> None:
        """Apply the diffs of a section, or take them back in reverse order."""
        steps = guide.diffs(guide.section(heading))
        for diff in reversed(steps) if back else steps:
            diff.apply(self.folder, back)

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder}{os.pathsep}{ROOT}"
        # No bytecode: files change within the second that tells old bytecode from new source.
        more = {"DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, "PYTHONPATH": path, **more}

    def deploy(self) -> None:
        """Migrate, with the system checks, and restart the server on its port."""
        self.manage("migrate", "--verbosity", "0")
        if self.server is None:
            log = self.folder / "server.log"
            self.server = asgi_server("mysite.asgi:application", log, env=self.environment)
        self.server.restart()

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}"

    def sources(self) -> dict[str, str]:
        """What the steps change."""
        paths = ["mysite/settings.py", "chat/consumers.py", ROOM]
        return {path: (self.folder / path).read_text() for path in paths}

"""The consumers of the tests as an application for real servers."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from tests.app.consumers import NotesConsumer  # noqa: E402 - after the apps are ready

application = ProtocolTypeRouter(
    {"http": http, "websocket": URLRouter([path("ws/", NotesConsumer.as_asgi())])}  # type: ignore[arg-type]
)

"""Sites that the doctor looks at through proxies: with its route, and without."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from reconnect_channels.doctor.consumer import PATH, DoctorConsumer  # noqa: E402 - after the apps are ready
from tests.app.consumers import NotesConsumer  # noqa: E402

notes = path("ws/notes/", NotesConsumer.as_asgi())
application = ProtocolTypeRouter(
    {"http": http, "websocket": URLRouter([notes, path(PATH, DoctorConsumer.as_asgi())])}  # type: ignore[arg-type]
)
without_route = ProtocolTypeRouter({"http": http, "websocket": URLRouter([notes])})  # type: ignore[arg-type]

"""HTTP and WebSocket in one application, for `runserver`, daphne and uvicorn alike."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
http = get_asgi_application()  # before the imports below: it loads the apps and their models

from example_project.board.urls import websocket_urlpatterns  # noqa: E402
from reconnect_channels import overview  # noqa: E402

application = ProtocolTypeRouter(
    {
        # Static files too, so that the demo needs no second server; a web server serves them better.
        "http": ASGIStaticFilesHandler(http) if settings.DEBUG or "SERVE_STATIC" in os.environ else http,
        "websocket": AuthMiddlewareStack(
            URLRouter([*overview.websocket_urlpatterns, *websocket_urlpatterns])
        ),
    }
)

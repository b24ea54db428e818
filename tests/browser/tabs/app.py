"""Pages with a client and a consumer behind them, on a server that knows what reached it."""

import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.browser.tabs.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

http = get_asgi_application()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402 - after the apps are ready
from django.contrib.auth import get_user_model, login  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.shortcuts import redirect, render  # noqa: E402
from django.urls import include, path  # noqa: E402

from reconnect_channels import publish  # noqa: E402
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin  # noqa: E402
from reconnect_channels.models import StreamEntry  # noqa: E402

Event = dict[str, Any]


class TabsConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Publishes what it is sent, with the name of the user whose socket it came by."""

    stream_prefix = "tabs:"

    def can_subscribe(self, stream: str) -> bool:
        return True

    def receive_message(self, message: Any) -> None:
        publish(message.stream, {"by": self.scope["user"].get_username(), "text": message.payload["text"]})


HELLO = ("client_id", "term", "attempt", "key")


class Witness:
    """Notes the sockets that reach an application: whose they are, what their HELLO says, how they end."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.sockets: list[dict[str, Any]] = []

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
    ) -> None:
        note = {
            "user": scope["user"].get_username(),
            "hello": None,
            "messages": 0,
            "code": None,
            "opened": time.time(),
            "closed": None,
        }
        self.sockets.append(note)

        async def heard() -> Event:
            event = await receive()
            if event["type"] == "websocket.receive":
                frame = json.loads(event["text"])
                if frame["type"] == "HELLO":
                    note["hello"] = {name: frame.get(name) for name in HELLO}
                elif frame["type"] == "MESSAGE":
                    note["messages"] += 1
            elif event["type"] == "websocket.disconnect":
                note["closed"] = note["closed"] or time.time()
            return event

        async def said(event: Event) -> None:
            if event["type"] == "websocket.close":
                note["code"] = event.get("code")
                note["closed"] = note["closed"] or time.time()
            await send(event)

        try:
            await self.application(scope, heard, said)
        finally:
            note["closed"] = note["closed"] or time.time()


witness = Witness(URLRouter([path("ws/", TabsConsumer.as_asgi())]))  # type: ignore[arg-type]


def enter(request: HttpRequest, name: str) -> HttpResponse:
    """Logs in without a password, and goes on to the page."""
    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect(request.GET.get("next", "/page/"))


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html")


def elsewhere(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>elsewhere</title>")


def sockets(request: HttpRequest) -> HttpResponse:
    """Every socket since the start, oldest first."""
    return JsonResponse(witness.sockets, safe=False)


def entries(request: HttpRequest, stream: str) -> HttpResponse:
    """The payloads of a stream, as they are stored; a POST appends its body as the server's own."""
    if request.method == "POST":
        publish(stream, {"by": "server", "text": request.body.decode()})
    rows = StreamEntry.objects.filter(stream__name=stream).order_by("seq")
    return HttpResponse(f"[{','.join(row.text for row in rows)}]", content_type="application/json")


from django.views.decorators.csrf import csrf_exempt  # noqa: E402

urlpatterns = [
    path("reconnect/", include("reconnect_channels.urls")),
    path("enter/<str:name>/", enter),
    path("page/", page),
    path("elsewhere/", elsewhere),
    path("sockets/", sockets),
    path("entries/<str:stream>/", csrf_exempt(entries)),
]

application = ProtocolTypeRouter(
    {"http": ASGIStaticFilesHandler(http), "websocket": AuthMiddlewareStack(witness)}
)

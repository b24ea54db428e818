"""A node for tests of rights: logins over HTTP, sockets behind them, and a publisher that never rests."""

import os
import threading
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.live.rights_settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - after the apps are ready
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from django.contrib.auth import (  # noqa: E402
    get_user_model,
    login,
    logout,
    update_session_auth_hash,
)
from django.http import HttpRequest, HttpResponse  # noqa: E402

from reconnect_channels import publish, revoke  # noqa: E402
from reconnect_channels.consumers import DeltaSyncMixin  # noqa: E402

TICKS = "ticks:all"
PAUSE = 0.02


class Ticks(DeltaSyncMixin, AsyncJsonWebsocketConsumer):
    """For members of the group `readers`."""

    channel_layer_alias = None
    stream_prefix = "ticks:"

    def can_subscribe(self, stream: str) -> bool:
        return any(group.name == "readers" for group in self.scope["user"].groups.all())


class OldTicks(Ticks):
    """The same for ordinary pages."""

    stream_prefix = "old-ticks:"

    def get_streams(self) -> list[str]:
        return [TICKS] if super().can_subscribe(TICKS) else []

    async def entry_published(self, entry: Any) -> None:
        await self.send_json({"type": "SYNC_DELTA", "to": entry.seq})


def act(request: HttpRequest) -> HttpResponse:
    user: Any = get_user_model().objects.filter(username=request.GET.get("user", "")).first()
    match request.GET["do"]:
        case "login":
            login(request, user)
        case "logout":
            logout(request)
        case "password":
            user.set_password("another")
            user.save()
            update_session_auth_hash(request, user)
        case "deactivate":
            user.is_active = False
            user.save()
        case "delete":
            user.delete()
        case "revoke":
            revoke(user)
        case "revoke session":
            revoke(session=request.session.session_key)
        case "revoke stream":
            revoke(user, stream=TICKS)
        case "group":
            user.groups.clear()
        case "update":
            get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        case "delete session":
            request.session.flush()
        case "publish":
            threading.Thread(target=_publish, daemon=True).start()
    return HttpResponse("done")


def _publish() -> None:
    while True:
        publish(TICKS, time.time())
        time.sleep(PAUSE)


urlpatterns = [path("act/", act)]
application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": AuthMiddlewareStack(
            URLRouter([path("ws/", Ticks.as_asgi()), path("old/", OldTicks.as_asgi())])  # type: ignore[arg-type]
        ),
    }
)

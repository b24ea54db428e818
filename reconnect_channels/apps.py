from __future__ import annotations

from django.apps import AppConfig


class ReconnectChannelsConfig(AppConfig):
    name = "reconnect_channels"
    verbose_name = "Reconnect Channels"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # checks register themselves

        assert checks
        receivers.connect()

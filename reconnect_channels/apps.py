from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig


class ReconnectChannelsConfig(AppConfig):
    name = "reconnect_channels"
    verbose_name = "Reconnect Channels"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # checks register themselves
        from .registry import prefix_of
        from .telemetry import events, logs, tracing

        assert checks
        receivers.connect()
        events.listen(logs.write)
        tracing.connect(prefix_of)
        if find_spec("prometheus_client"):
            from .telemetry import measuring

            measuring.connect(prefix_of)

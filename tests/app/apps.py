from django.apps import AppConfig


class TestAppConfig(AppConfig):
    """A user's app, as the tests need one."""

    name = "tests.app"
    label = "app"
    default_auto_field = "django.db.models.BigAutoField"

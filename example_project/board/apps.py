from django.apps import AppConfig


class BoardConfig(AppConfig):
    name = "example_project.board"
    default_auto_field = "django.db.models.BigAutoField"

"""The admin's pages, and who may open them."""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.urls import reverse

MODELS = {model.__name__: model for model in apps.get_app_config("reconnect_channels").get_models()}


def list_of(name: str) -> str:
    return reverse(f"admin:reconnect_channels_{name.lower()}_changelist")


def page_of(row: Any, kind: str = "change") -> str:
    return reverse(f"admin:reconnect_channels_{row._meta.model_name}_{kind}", args=[row.pk])


def allow(user: Any, *codenames: str) -> None:
    """Gives a user permissions of ours."""
    found = Permission.objects.filter(codename__in=codenames, content_type__app_label="reconnect_channels")
    assert found.count() == len(set(codenames))
    user.user_permissions.add(*found)

"""Make the user `operator`, who may do everything in the admin, with a new password; prints it."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("Only while DEBUG is on: a real site has people of its own.")
        users = get_user_model().objects
        operator, _ = users.update_or_create(
            username="operator", defaults={"is_staff": True, "is_superuser": True}
        )
        password = secrets.token_urlsafe(6)
        operator.set_password(password)
        operator.save()
        self.stdout.write(password)

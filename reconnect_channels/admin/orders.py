"""Actions that an operator confirms, and that the admin's log remembers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

logger = logging.getLogger(__name__)

MOST = 500  # rows at once; Django takes 1000 fields of a form


@dataclass(frozen=True)
class Order:
    """One action on rows of a list, as ModelAdmin.actions takes it.

    :param name: of the action.
    :param permission: whoever the ModelAdmin's `has_<permission>_permission` lets may order it.
    :param title: what it does, as the action's name, and the confirmation's heading and button.
    :param effect: what happens then, to whom.
    :param carry_out: does it to one row. What it raises is logged, and the others go on.
    :param done: how the log of the admin and the message say that it was done.
    """

    do_not_call_in_templates = True  # an action is callable, and a template calls what is

    name: str
    permission: str
    title: str
    effect: str
    carry_out: Callable[[Any], None]
    done: str

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def short_description(self) -> str:
        return self.title

    @property
    def allowed_permissions(self) -> list[str]:
        return [self.permission]

    def __call__(self, admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """The page that asks; or does it, once that page was answered."""
        rows = list(queryset[: MOST + 1])
        if len(rows) > MOST:
            admin.message_user(request, f"At most {MOST} at once: nothing was done.", messages.ERROR)
            return None
        if "confirmed" in request.POST:
            self._obey(admin, request, rows)
            return None
        context = {
            **admin.admin_site.each_context(request),
            "title": self.title,
            "order": self,
            "rows": rows,
            "opts": admin.opts,
            "media": admin.media,
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/reconnect_channels/order.html", context)

    def _obey(self, admin: Any, request: HttpRequest, rows: list[Any]) -> None:
        done: list[Any] = []
        for row in rows:
            try:
                self.carry_out(row)
            except Exception:
                logger.exception("%s failed", self.title)
            else:
                done.append(row)
        if done:
            user: Any = request.user
            LogEntry.objects.log_actions(user.pk, done, CHANGE, change_message=f"{self.done}.")
            admin.message_user(request, f"{self.done}: {len(done)}.", messages.SUCCESS)
        if failed := len(rows) - len(done):
            admin.message_user(request, f"It failed for {failed}: see the server's log.", messages.ERROR)

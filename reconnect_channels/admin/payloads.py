"""What users wrote is shown only to who may see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet, TextField
from django.http import HttpRequest


class HidesPayloads:
    """A ModelAdmin whose `payloads`, columns and fields, need the permission `view_payload`.

    They aren't even read for lists: a page of stored states can be 200 MB.
    """

    payloads: Sequence[str]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        return queryset.defer(*(f.name for f in queryset.model._meta.fields if isinstance(f, TextField)))

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self._shown(request, super().get_list_display(request))  # type: ignore[misc]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return self._shown(request, super().get_fields(request, obj))  # type: ignore[misc]

    def _shown(self, request: HttpRequest, names: Sequence[Any]) -> list[Any]:
        may_see = request.user.has_perm("reconnect_channels.view_payload")
        return [name for name in names if may_see or name not in self.payloads]

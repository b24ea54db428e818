"""Read-only lists of tables with millions of rows: every list, filter and search is borne by an index.

Django's own change list counts the whole table, sorts by any column and filters by any lookup in the
address; each of these reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.contrib.messages import WARNING
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Max, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import cached_property

from .orders import Order

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

REACH = 10_000  # rows that a list pages through, and that are looked at where no index helps
FOUND = 1_000  # rows that a search finds at most


class NearPages(Paginator):
    """Counts up to `REACH`; what lies further is for a search to find."""

    object_list: QuerySet[Any]

    @cached_property
    def _reached(self) -> int:
        return self.object_list.values("pk")[: REACH + 1].count()

    @property
    def count(self) -> int:
        return min(self._reached, REACH)

    @property
    def is_cut(self) -> bool:
        """Whether there is more than can be paged to."""
        return self._reached > REACH


class Rows(ChangeList):
    """A list in the order of an index, whatever the address says."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.model_admin.look_up(self.result_list)  # type: ignore[attr-defined]


class Recent(admin.SimpleListFilter):
    """Rows by a column that no index knows, among the newest of the table."""

    column: str
    values: Sequence[tuple[str, str]]

    def __init_subclass__(cls) -> None:
        cls.parameter_name = cls.column
        cls.title = f"{cls.column.replace('_', ' ')}, of the newest {REACH}"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return self.values

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else newest(queryset).filter(**{self.column: value})


class Since(admin.SimpleListFilter):
    """Rows by the age of an indexed time."""

    column: str
    by_time: str

    AGES: ClassVar = {"10m": ("10 minutes", 10), "1h": ("1 hour", 60), "1d": ("1 day", 24 * 60)}

    def __init_subclass__(cls) -> None:
        cls.parameter_name = cls.by_time = cls.column
        cls.title = f"{cls.column.replace('_', ' ')} within"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, name) for key, (name, _) in self.AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        age = self.AGES.get(self.value() or "")
        if age is None:
            return queryset
        return queryset.filter(**{f"{self.column}__gte": timezone.now() - timedelta(minutes=age[1])})


def newest(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Those of a table's newest `REACH` rows, however many there are."""
    last = queryset.model._default_manager.using(queryset.db).aggregate(last=Max("pk"))["last"] or 0
    return queryset.filter(pk__gt=last - REACH)


def along(term: str, *columns: str) -> Q:
    """Rows that equal the words of a term in the first columns of an index, as many as there are words."""
    return Q(**dict(zip(columns, term.split(maxsplit=len(columns) - 1), strict=False)))


class ReadOnly(ModelAdmin):
    """What the live code wrote is looked at, never edited by hand."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each is a count of its own
    sortable_by = ()
    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    actions: Sequence[Order] = ()
    list_per_page = 50
    list_max_show_all = 0
    paginator = NearPages

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """By the time in the index of a filter that is used: else a database may read on by primary key."""
        if not request.GET.get("q"):
            for each in self._filters():
                if request.GET.get(each.parameter_name) and hasattr(each, "by_time"):
                    return (f"-{each.by_time}", "-pk")
        return self.ordering

    def _filters(self) -> Sequence[Any]:
        return self.list_filter

    def look_up(self, rows: list[Any]) -> None:
        """Finds out what a page of the list shows beside its rows, in few queries for all of them."""

    def search(self, term: str) -> Q:
        """Rows that a search finds by index."""
        return Q(pk__in=[])

    def search_newest(self, term: str) -> Q | None:
        """Rows that a search finds among the newest of the table."""
        return None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        # Without the list's filters and order: to serve these, a database may read the whole table.
        rows = queryset.model._default_manager.using(queryset.db).values_list("pk", flat=True)
        found = set(rows.filter(self.search(term))[:FOUND])
        if not found and (condition := self.search_newest(term)) is not None:
            found.update(newest(rows).filter(condition)[:FOUND])
        if len(found) >= FOUND:
            self.message_user(request, f"The search found more than {FOUND}: some are left out.", WARNING)
        return queryset.filter(pk__in=found), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what the list's own filters ask for: others scan the table, or guess at payloads."""
        return lookup in {each.parameter_name for each in self._filters()}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Rows

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        forbidden = {order.name for order in self.actions} - self.get_actions(request).keys()
        if forbidden.intersection(request.POST.getlist("action")):
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        actions: dict[str, Any] = self.get_actions(request)
        orders = {order.name: order.title for order in self.actions if order.name in actions}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "orders": orders})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

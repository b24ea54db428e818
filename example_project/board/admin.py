"""Boards and cards in Django's admin. What is changed here is published too, so open pages follow."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from . import cards
from .models import Board, Card


@admin.register(Board)
class BoardAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "about"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}

    def get_readonly_fields(self, request: HttpRequest, obj: Board | None = None) -> list[str]:
        return ["slug"] if obj else []  # it names the stream

    def get_prepopulated_fields(self, request: HttpRequest, obj: Board | None = None) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    def has_delete_permission(self, request: HttpRequest, obj: Board | None = None) -> bool:
        return False  # its cards would vanish unpublished


@admin.register(Card)
class CardAdmin(admin.ModelAdmin):
    list_display = ["title", "board", "column", "rank", "by"]
    list_filter = ["board", "column"]
    list_select_related = ["board"]
    search_fields = ["title"]
    fields = ["board", "title", "column", "rank"]
    readonly_fields = ["board", "rank"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # the board's page does that better

    def save_model(self, request: HttpRequest, obj: Card, form: Any, change: bool) -> None:
        slug = obj.board.slug
        if "title" in form.changed_data:
            cards.edit(slug, obj.pk, obj.title, by=request.user.get_username())
        if "column" in form.changed_data:
            cards.move(slug, obj.pk, obj.column, by=request.user.get_username())

    def delete_model(self, request: HttpRequest, obj: Card) -> None:
        cards.delete(obj.board.slug, obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Card]) -> None:
        with transaction.atomic():
            for card in queryset.select_related("board"):
                self.delete_model(request, card)

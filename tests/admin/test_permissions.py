"""Strangers are sent to the login, and staff sees and does only what it may."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, reverse

from tests.admin.pages import MODELS, allow, list_of
from tests.admin.rows import make

pytestmark = [pytest.mark.django_db, pytest.mark.database]

NEEDED = {
    "disconnect": "disconnect_clientsession",
    "dismiss": "disconnect_clientsession",
    "resync": "resync_clientsession",
    "erase": "erase_payload",
    "new_epoch": "new_epoch_stream",
}
ACTIONS = [
    (name, order.name) for name, model in MODELS.items() for order in admin.site._registry[model].actions
]


def pages(rows: dict[str, Any]) -> Iterator[str]:
    """Every address of every model's admin."""
    for name, model in MODELS.items():
        for pattern in admin.site._registry[model].get_urls():
            assert isinstance(pattern, URLPattern)
            if pattern.name is not None:
                takes_row = "pk" in pattern.pattern.converters or "object_id" in pattern.pattern.converters
                yield reverse(f"admin:{pattern.name}", args=[rows[name].pk] if takes_row else [])


@pytest.fixture
def rows() -> dict[str, Any]:
    return make()


@pytest.fixture
def staff(client: Client) -> Any:
    user = get_user_model().objects.create_user("staff", is_staff=True)
    client.force_login(user)
    return user


def test_strangers_are_sent_to_the_login(client: Client, rows: dict[str, Any]):
    found = list(pages(rows))
    assert len(found) == 5 * len(MODELS) + 2
    login = reverse("admin:login")
    for page in found:
        for response in (client.get(page), client.post(page, {"action": "disconnect"})):
            assert response.status_code == 302, page
            assert response["Location"].startswith(login)


def test_users_who_arent_staff_are_strangers(client: Client, rows: dict[str, Any]):
    client.force_login(get_user_model().objects.create_user("ann"))
    for page in pages(rows):
        assert client.get(page).status_code == 302, page


def test_staff_without_permissions_is_refused(client: Client, staff: Any, rows: dict[str, Any]):
    for page in pages(rows):
        assert client.get(page).status_code == 403, page
        assert client.post(page, {"action": "disconnect"}).status_code == 403, page


@pytest.mark.parametrize("name", MODELS)
def test_who_may_view_a_model_sees_it_alone(client: Client, staff: Any, rows: dict[str, Any], name: str):
    allow(staff, f"view_{name.lower()}")
    for other in MODELS:
        assert client.get(list_of(other)).status_code == (200 if other == name else 403)


@pytest.mark.parametrize(("name", "action"), ACTIONS)
def test_an_action_needs_its_permission(
    client: Client, staff: Any, rows: dict[str, Any], name: str, action: str
):
    allow(staff, f"view_{name.lower()}")
    order = {"action": action, "_selected_action": [rows[name].pk]}
    for answer in ({}, {"confirmed": "yes"}, {"index": "0"}):
        assert client.post(list_of(name), {**order, **answer}).status_code == 403
    others = set(NEEDED.values()) - {NEEDED[action]}
    allow(staff, *others)
    assert client.post(list_of(name), order).status_code == 403
    allow(staff, NEEDED[action])
    assert client.post(list_of(name), order).status_code == 200

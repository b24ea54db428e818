"""What `django.contrib.auth` says of logins, accounts and permissions becomes revocations (design 10.5).

`QuerySet.update()` and raw SQL send no signals: what they change is found when rights are looked at
again. So are deleted session rows: a receiver of theirs would have `clearsessions` load every row that it
deletes now with one statement.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from .identity import auth_digest, login_of
from .revocation import Cause, record_anyway

WATCHED = frozenset({"is_active", "password", "is_staff", "is_superuser"})
MANY = 100  # users whose groups changed at once; above it, everybody's rights are looked at
BEFORE = "_reconnect_channels_before"


def connect() -> None:
    """Listens to the project's user model, to those that inherit from it, and to groups, where they exist."""
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:
        return
    user_logged_out.connect(_logged_out, dispatch_uid="reconnect_channels")
    for model in apps.get_models():  # proxies and children send signals of their own
        if issubclass(model, user_model):
            pre_save.connect(_before_save, sender=model, dispatch_uid="reconnect_channels")
            post_save.connect(_saved, sender=model, dispatch_uid="reconnect_channels")
            post_delete.connect(_deleted, sender=model, dispatch_uid="reconnect_channels")
    fields = {field.name: field for field in user_model._meta.many_to_many}
    for name in {"groups", "user_permissions"} & fields.keys():
        through = fields[name].remote_field.through
        m2m_changed.connect(_user_relation_changed, sender=through, dispatch_uid="reconnect_channels")
    if apps.is_installed("django.contrib.auth"):
        from django.contrib.auth.models import Group

        through = Group.permissions.through
        m2m_changed.connect(_group_permissions_changed, sender=through, dispatch_uid="reconnect_channels")
        post_delete.connect(_group_deleted, sender=Group, dispatch_uid="reconnect_channels")


def _logged_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Called before the session is flushed: its sockets, or those of the user where there is none to name."""
    session = getattr(request, "session", None)
    digest = login_of(None, session).session if session is not None else ""
    if digest:
        record_anyway(Cause.LOGOUT, session=digest)
    elif user is not None and user.pk is not None:
        record_anyway(Cause.LOGOUT, identity=f"user:{user.pk}")


def _state(user: Any) -> tuple[bool, str, tuple[Any, ...]]:
    auth = user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else ""
    rights = (getattr(user, "is_staff", None), getattr(user, "is_superuser", None))
    return bool(getattr(user, "is_active", True)), auth, rights


def _before_save(sender: Any, instance: Any, raw: bool, using: str, update_fields: Any, **_: Any) -> None:
    """Reads what the row was. Not for `update_fields` of others, as at every login (`last_login`)."""
    setattr(instance, BEFORE, None)
    if raw or instance._state.adding or (update_fields is not None and not WATCHED & set(update_fields)):
        return
    before = sender._base_manager.using(using).filter(pk=instance.pk).first()
    if before is not None:
        setattr(instance, BEFORE, _state(before))


def _saved(sender: Any, instance: Any, using: str, **_: Any) -> None:
    before = instance.__dict__.pop(BEFORE, None)
    if before is None:
        return
    was_active, auth_before, rights_before = before
    active, auth, rights = _state(instance)
    identity = f"user:{instance.pk}"
    if was_active and not active:
        record_anyway(Cause.DEACTIVATED, identity=identity, using=using)
    elif auth != auth_before:
        record_anyway(Cause.PASSWORD, identity=identity, auth=auth_digest(auth), using=using)
    if rights != rights_before:
        record_anyway(Cause.CHECK, identity=identity, using=using)


def _deleted(sender: Any, instance: Any, using: str, **_: Any) -> None:
    record_anyway(Cause.DELETED, identity=f"user:{instance.pk}", using=using)


def _user_relation_changed(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any
) -> None:
    """Groups or permissions of users: whether that takes a right away only hooks know."""
    if action not in ("post_add", "post_remove", "post_clear"):
        return
    if not reverse:
        users = {instance.pk}
    elif pk_set is None or len(pk_set) > MANY:
        record_anyway(Cause.CHECK, using=using)
        return
    else:
        users = pk_set
    for pk in users:
        record_anyway(Cause.CHECK, identity=f"user:{pk}", using=using)


def _group_permissions_changed(sender: Any, action: str, using: str, **_: Any) -> None:
    if action in ("post_remove", "post_clear"):
        record_anyway(Cause.CHECK, using=using)


def _group_deleted(sender: Any, using: str, **_: Any) -> None:
    record_anyway(Cause.CHECK, using=using)

"""Projects with user models of their own, and without any (design 10.5)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

MODELS = """
import uuid
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

class Account(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "email"

class Customer(Account):
    class Meta:
        proxy = True

class Employee(Account):
    desk = models.CharField(max_length=9)
"""

SETUP = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", USE_TZ=True, INSTALLED_APPS=["channels", "reconnect_channels", *{apps!r}],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}, **{more!r},
)
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from reconnect_channels import revoke
from reconnect_channels.models import Revocation
def said():
    rows = [(row.identity, row.cause) for row in Revocation.objects.order_by("pk")]
    Revocation.objects.all().delete()
    return rows
"""

CUSTOM = """
from accounts.models import Account, Customer, Employee
for model in (Account, Customer, Employee):
    user = model.objects.create(email=f"{model.__name__}@example.org")
    name = f"user:{user.pk}"
    user.set_password("secret")
    user.save()
    user.is_active = False
    user.save(update_fields=["is_active"])
    user.email = "another@example.org"
    user.save()
    revoke(user)
    revoke(user.pk)
    user.delete()
    found = said()
    causes = ["password changed", "deactivated", "revoked", "revoked"]
    assert found[:4] == [(name, cause) for cause in causes], found
    assert set(found[4:]) == {(name, "deleted")}, found
"""

NONE = """
revoke("token:7")
revoke(session="key")
revoke(stream="board:1")
assert [cause for _, cause in said()] == ["revoked", "logged out", "revoked"]
from reconnect_channels.accounts import load_user, standings
from reconnect_channels.identity import login_of
assert load_user(object()) is None
assert standings([(None, login_of(None, None))])[0].problem == ""
"""


def run(code: str, apps: list[str], folder: Path, **more: str) -> None:
    code = SETUP.format(apps=apps, more=more) + code
    path = f"{ROOT}:{folder}"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        env={"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("auth", [True, False], ids=["with contrib.auth", "without it"])
def test_a_user_model_of_the_project_s_own(auth: bool, tmp_path: Path):
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "__init__.py").touch()
    (tmp_path / "accounts" / "models.py").write_text(MODELS)
    apps = ["django.contrib.contenttypes", "django.contrib.auth", "accounts"] if auth else ["accounts"]
    run(CUSTOM, apps, tmp_path, AUTH_USER_MODEL="accounts.Account")


def test_a_project_without_users_and_sessions(tmp_path: Path):
    run(NONE, [], tmp_path)

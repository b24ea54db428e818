"""The user of `make demo` who sees what operators see."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


def password() -> str:
    output = StringIO()
    call_command("operator", stdout=output)
    return output.getvalue().strip()


def test_the_operator_gets_a_new_password_each_time(client, settings):
    settings.DEBUG = True
    first, second = password(), password()
    assert not client.login(username="operator", password=first)
    assert client.login(username="operator", password=second)


def test_a_real_site_gets_none(settings):
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG"):
        call_command("operator")

"""Migrations are complete and can be taken back."""

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

pytestmark = pytest.mark.database

TABLES = {model._meta.db_table for model in apps.get_app_config("reconnect_channels").get_models()}


def tables():
    with connection.cursor() as cursor:
        return TABLES.intersection(connection.introspection.table_names(cursor))


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "reconnect_channels", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_migrations_can_be_taken_back_and_made_again():
    assert tables() == TABLES
    try:
        call_command("migrate", "reconnect_channels", "zero", verbosity=0)
        assert tables() == set()
    finally:
        call_command("migrate", "reconnect_channels", verbosity=0)
    assert tables() == TABLES

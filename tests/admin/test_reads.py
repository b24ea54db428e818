"""No page of the admin reads a large table: what a list, filter or search touches is bounded."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from reconnect_channels.admin import listing
from tests.admin.pages import MODELS, allow, list_of
from tests.admin.tables import fill

pytestmark = [pytest.mark.django_db, pytest.mark.database]

NEAR = 200  # rows that lists reach, and searches find, in these tests
ROWS = 15_000  # that a statement may touch: of streams' samples, 200 of each of 50
STEPS = 30 * ROWS  # of SQLite's machine, a page
QUERIES = 10

ID = f"{7:032}"
SEARCHES = {
    "Stream": ["board:1", "board:99", "nothing"],
    "StreamEntry": ["board:0", "board:5", "board:0 77", ID, "nothing"],
    "ProcessedMessage": ["user:7", "root", f"user:7 board:7 {ID}", ID, "nothing"],
    "Producer": ["user:7", f"user:7 {ID}", "nothing"],
    "DriftReport": ["board:7", "board:7 user:7", "user:29999", "nothing"],
    "ClientSession": ["user:7", "node3", "key", ID, "s29999", "nothing"],
    "SessionStream": ["board:7", "nothing"],
    "StoredSnapshot": ["board:7", "board:7 1", "nothing"],
    "Revocation": ["user:7", "nothing"],
    "Node": ["node1", "nothing"],
    "NodeStream": ["node1", "nothing"],
}


@contextmanager
def watched(look: Callable[[str, Any], None]) -> Iterator[None]:
    """Calls `look` with every statement that reads our tables, before it runs."""

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "reconnect_channels_" in sql and sql.startswith("SELECT"):
            look(sql, params)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield


def explain(sql: str, params: Any) -> Any:
    postgres = connection.vendor == "postgresql"
    how = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)" if postgres else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{how} {sql}", params)
        rows = cursor.fetchall()
    return rows[0][0] if postgres else [row[3] for row in rows]


def scans(sql: str, params: Any, large: set[str]) -> list[str]:
    """The parts of a statement's plan that read more of a table than they give."""
    plan = explain(sql, params)
    if connection.vendor == "postgresql":
        plan = json.loads(plan) if isinstance(plan, str) else plan
        return list(_touching(plan[0]["Plan"]))
    # What takes every row, in the order of a table or an index, and is cut, ends with its last row.
    sorts = any("TEMP B-TREE FOR ORDER BY" in step for step in plan)
    cut = "LIMIT" in sql and "WHERE" not in sql and not sorts
    tables = [step.split()[1] for step in plan if step.startswith("SCAN reconnect_channels_")]
    return [] if cut else [table for table in tables if table in large]


def _touching(node: dict[str, Any]) -> Iterator[str]:
    given = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    given += node.get("Rows Removed by Index Recheck", 0)
    if "Scan" in node["Node Type"] and given * node["Actual Loops"] > ROWS:
        yield f"{node['Node Type']} {node.get('Relation Name', node.get('Index Name'))}: {given} rows"
    for child in node.get("Plans", ()):
        yield from _touching(child)


class Steps:
    """What SQLite's machine did."""

    def __init__(self) -> None:
        self.thousands = 0
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            connection.connection.set_progress_handler(self._count, 1_000)

    def _count(self) -> int:
        self.thousands += 1
        return 0


def queries_of(name: str) -> Iterator[dict[str, Any]]:
    """Every way to look at a list: its filters, its searches, its last page, a sort that isn't offered."""
    yield {}
    yield {"p": NEAR // 50}
    yield {"o": "2.-1.3"}
    for each in admin.site._registry[MODELS[name]].list_filter:
        for value in _values(each):
            yield {each.parameter_name: value}
            yield {each.parameter_name: value, "q": SEARCHES[name][0]}
    for term in SEARCHES[name]:
        yield {"q": term}


def _values(each: Any) -> list[str]:
    return [value for value, _ in each.lookups(each, None, None)]


@pytest.mark.parametrize(
    ("entries", "others"),
    [
        pytest.param(60_000, 16_000, id="small"),
        pytest.param(1_000_000, 100_000, id="million", marks=[pytest.mark.slow, pytest.mark.timeout(500)]),
    ],
)
def test_no_page_reads_a_large_table(
    entries: int, others: int, client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listing, "REACH", NEAR)
    monkeypatch.setattr(listing, "FOUND", NEAR)
    fill(entries, others)
    client.force_login(get_user_model().objects.create_superuser("root", "", "secret"))
    large = {model._meta.db_table for model in MODELS.values() if model.objects.count() >= others}
    steps, problems, pages = Steps(), [], 0
    for name in MODELS:
        for query in queries_of(name):
            read: list[Any] = []
            page = f"{list_of(name)}?{urlencode(query)}"

            def look(sql: str, params: Any, read: list[Any] = read) -> None:
                read.append((sql, params))

            steps.thousands = 0
            with watched(look):
                response = client.get(page)
            assert response.status_code == 200, page
            number = steps.thousands * 1_000
            pages += 1
            if number > STEPS:
                problems.append(f"{page}: {number} steps")
            problems += [
                f"{page}: {scan}: {sql}" for sql, params in read for scan in scans(sql, params, large)
            ]
    assert pages > 60
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("is_superuser", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_pages_need_few_queries(client: Client, django_assert_max_num_queries: Any, is_superuser: bool):
    fill(2_000, 200)
    user = get_user_model().objects.create_user("root", is_staff=True, is_superuser=is_superuser)
    allow(user, *(f"view_{name.lower()}" for name in MODELS), "view_payload", "disconnect_clientsession")
    client.force_login(user)
    for name in MODELS:
        for query in queries_of(name):
            if is_superuser or "q" not in query:  # whose permissions are two queries more
                with django_assert_max_num_queries(QUERIES, info=f"{name} {query}"):
                    client.get(f"{list_of(name)}?{urlencode(query)}")

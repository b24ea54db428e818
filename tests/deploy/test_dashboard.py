"""The Grafana dashboard: whatever it asks for is there."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from . import promql
from .fronts import DEPLOY, program
from .test_validity import check

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
SECTIONS = ["Health", "Recovery", "Storms", "Clients", "Streams", "Nodes"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    *[(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]],
    *[(note["name"], note["target"]["expr"]) for note in DASHBOARD["annotations"]["list"]],
]


def filled(query: str) -> str:
    """As Grafana fills in its variables."""
    for name, value in {"$__rate_interval": "1m", "$job": ".*", "$prefix": ".*"}.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


def test_every_query_asks_for_what_nodes_export():
    assert all(promql.named(query) for _, query in QUERIES)
    wrong = [(panel, promql.unknown(query)) for panel, query in QUERIES]
    assert [each for each in wrong if each[1]] == []


def test_every_query_is_promql(tmp_path: Path):
    rules = [{"record": f"query:{n}", "expr": filled(query)} for n, (_, query) in enumerate(QUERIES)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(QUERIES)} rules found" in check(program("promtool"), "check", "rules", str(file))


def test_whatever_nodes_export_is_shown():
    shown = set().union(*(promql.named(query) for _, query in QUERIES))
    recorded = {rule["record"]: rule["expr"] for rule in promql.rules("recording.yml")}
    while found := {name for each in shown & set(recorded) for name in promql.named(recorded[each])} - shown:
        shown |= found
    families = {name: name.removesuffix("_bucket") for name in promql.exported()}
    hidden = {
        family
        for name, family in families.items()
        if not name.endswith(("_sum", "_count"))
        and not shown & {name, *(f"{family}_{part}" for part in ("sum", "count"))}
    }
    assert hidden == set()


def test_legends_show_labels_that_are_left():
    for panel in PANELS:
        for target in panel["targets"]:
            labels = {part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
            left = promql.grouped(target["expr"]) or promql.TARGET
            assert labels <= left, panel["title"]


def test_variables_ask_for_labels_that_exist():
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            query, _, label = variable["query"]["query"][len("label_values(") : -1].rpartition(", ")
            assert promql.unknown(query) == set()
            assert label in promql.known()[promql.named(query).pop()]


def test_it_has_its_sections_and_every_panel_says_what_it_shows():
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == SECTIONS
    assert all(panel["description"] and panel["title"] for panel in PANELS)
    assert max(Counter(panel["id"] for panel in DASHBOARD["panels"]).values()) == 1


def test_panels_lie_side_by_side():
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        place = panel["gridPos"]
        columns, lines = (
            range(place["x"], place["x"] + place["w"]),
            range(place["y"], place["y"] + place["h"]),
        )
        assert columns[-1] < 24
        return {(column, line) for column in columns for line in lines}

    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


def test_it_works_with_whatever_data_source_is_chosen():
    used = [each["datasource"] for panel in PANELS for each in (panel, *panel["targets"])]
    used += [note["datasource"] for note in DASHBOARD["annotations"]["list"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in used)


def provisioned(file: str) -> Any:
    return yaml.safe_load((DEPLOY / "grafana" / "provisioning" / file).read_text())


def test_grafana_is_told_where_the_dashboard_and_its_data_are():
    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    (provider,) = provisioned("dashboards/reconnect_channels.yml")["providers"]
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    assert source["type"] == "prometheus"
    assert source["url"].strip("${}") in grafana["environment"]
    mounted = [volume.split(":") for volume in grafana["volumes"]]
    assert all((DEPLOY / source).exists() for source, *_ in mounted)
    assert any(target.startswith(provider["options"]["path"]) for _, target, *_ in mounted)

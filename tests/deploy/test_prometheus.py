"""The rules of deploy/prometheus/, and a real Prometheus that scrapes two nodes of the example."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from reconnect_channels.client import connect
from tests.servers import HOST, ROOT, Server, asgi_server, free_port
from tests.services import until

from . import promql
from .conftest import manage
from .fronts import DEPLOY, program
from .promql import RULES
from .test_dashboard import QUERIES, filled
from .test_validity import check

ALERTS = {rule["alert"]: rule for rule in promql.rules("alerts.yml")}
RECORDED = {rule["record"]: rule for rule in promql.rules("recording.yml")}
STORIES = sorted((RULES / "tests").glob("*.yml"))
BOARD = "board:garden"
RUNBOOK = ROOT / "docs" / "monitoring.md"


# -- the files -------------------------------------------------------------------------------------


def test_prometheus_takes_the_configuration():
    said = check(program("promtool"), "check", "config", str(RULES / "prometheus.yml"))
    assert f"{len(ALERTS)} rules found" in said
    assert f"{len(RECORDED)} rules found" in said


def test_alerts_fire_when_they_must_and_are_silent_when_they_must_not():
    said = check(program("promtool"), "test", "rules", *map(str, STORIES))
    assert said.count("SUCCESS") == len(STORIES)


def test_every_alert_is_expected_to_fire_once_and_to_be_silent_before():
    fired = set()
    for story in (story for file in STORIES for story in yaml.safe_load(file.read_text())["tests"]):
        seen: list[set[str]] = []
        for test in sorted(story["promql_expr_test"], key=lambda test: minutes(test["eval_time"])):
            if test["expr"].startswith("count by (alertname)"):
                seen.append(set(re.findall(r'alertname="(\w+)"', str(test["exp_samples"]))))
                fired |= {name for name in seen[-1] if len(seen) > 1 and name not in seen[0]}
    assert fired == set(ALERTS)


def minutes(duration: str) -> int:
    found = re.match(r"(\d+)m", duration)
    assert found
    return int(found[1])


@pytest.mark.parametrize("name", [*RECORDED, *ALERTS])
def test_every_rule_asks_for_what_nodes_export(name: str):
    expr = {**RECORDED, **ALERTS}[name]["expr"]
    assert promql.named(expr)
    assert promql.unknown(expr) == set()


def test_stories_are_told_with_series_that_nodes_export():
    for story in (story for file in STORIES for story in yaml.safe_load(file.read_text())["tests"]):
        for series in (each["series"] for each in story["input_series"]):
            assert promql.unknown(series) == set(), story["name"]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_it_means_and_where_to_read_on(name: str):
    rule, text = ALERTS[name], RUNBOOK.read_text()
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/monitoring.md#{name.lower()}"
    assert f"\n### {name}\n" in text
    assert f"\n| [{name}](#{name.lower()}) | {rule['labels']['severity']} |" in text


def test_the_runbook_names_no_alert_that_is_gone():
    text = RUNBOOK.read_text()
    assert re.findall(r"^### (Reconnect\w+)$", text, re.MULTILINE) == list(ALERTS)
    assert set(re.findall(r"`(job:[\w:]+)`", text)) == set(RECORDED)


def test_the_compose_files_prometheus_finds_its_nodes(tmp_path: Path):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    script, _, _ = compose["services"]["prometheus"]["command"][0].partition("&& exec")
    check("sh", "-c", script.replace("/tmp", str(tmp_path)).replace("/rules/", f"{RULES}/"))
    made = tmp_path / "prometheus.yml"
    (job,) = yaml.safe_load(made.read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["node1:8000", "node2:8000"]}]
    check(program("promtool"), "check", "config", str(made))


# -- a real one ------------------------------------------------------------------------------------


class Prometheus:
    """A Prometheus with our configuration, but every second, and on these ports."""

    def __init__(self, folder: Path, nodes: tuple[int, int]) -> None:
        self.port = free_port()
        text = (RULES / "prometheus.yml").read_text()
        replaced = {
            "_interval: 15s": "_interval: 1s",
            "[recording.yml, alerts.yml]": f"[{RULES}/recording.yml, {RULES}/alerts.yml]",
        }
        replaced |= {f"{HOST}:{8001 + number}": f"{HOST}:{port}" for number, port in enumerate(nodes)}
        for old, new in replaced.items():
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text)
        command = [program("prometheus"), f"--config.file={folder}/prometheus.yml", "--log.level=warn"]
        command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={HOST}:{self.port}"]
        ready = partial(self._open, "/-/ready")
        self.server = Server(command, self.port, folder / "prometheus.log", ready=ready)

    @contextmanager
    def running(self) -> Iterator[Self]:
        with self.server:
            yield self

    def _open(self, path: str) -> bytes:
        with urlopen(f"http://{HOST}:{self.port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    def get(self, path: str, **parameters: str) -> Any:
        answer = json.loads(self._open(f"/api/v1/{path}?{urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, query: str) -> float | None:
        """Of a query with one sample or none."""
        result = self.get("query", query=query)["result"]
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else None

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def raised(self) -> dict[str, str]:
        """The alerts that aren't inactive, and their states."""
        states = {rule["name"]: rule.get("state", "inactive") for rule in self.rules()}
        return {name: state for name, state in states.items() if state != "inactive"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Server]:
    """A node of the example, on SQLite."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path}/example.sqlite3",
    }
    manage(environment, "migrate", "--verbosity", "0")
    manage(environment, "load_boards")
    log = tmp_path / "node.log"
    with asgi_server("example_project.asgi:application", log, env=environment) as server:
        yield server


@pytest.mark.servers
async def test_a_real_prometheus_scrapes_a_node_and_evaluates_every_rule(node: Server, tmp_path: Path):
    async def becomes(reached: Callable[[], object]) -> None:
        await asyncio.to_thread(until, reached)

    with Prometheus(tmp_path, (node.port, free_port())).running() as prometheus:
        value = prometheus.value
        async with connect(f"ws://{HOST}:{node.port}/ws/board/") as client:
            client.subscribe(BOARD)
            await client.live(BOARD, timeout=20)
            for number in range(3):
                card = {"op": "create", "column": "todo", "title": f"scraped {number}"}
                await asyncio.wait_for(client.send(BOARD, card), 20)
            await becomes(lambda: value('reconnect_messages_total{outcome="acked",prefix="board:"}') == 3)
            await becomes(lambda: value('reconnect_recoveries_total{answer="snapshot",reason="new"}') == 1)
            await becomes(lambda: value("job:reconnect_live_sessions:sum") == 1)

        await becomes(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
        assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
        assert {rule["name"] for rule in prometheus.rules()} == {*ALERTS, *RECORDED}
        for _, query in QUERIES:
            prometheus.get("query", query=filled(query))
        # The node that isn't there, and nothing else.
        await becomes(lambda: prometheus.raised() == {"ReconnectNodeDown": "pending"})

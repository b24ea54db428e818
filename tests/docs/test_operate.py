"""docs/operate.md names what there is, and nothing else."""

import re
from collections.abc import Callable

import pytest
from django.contrib import admin

from reconnect_channels.models import Stream
from tests.deploy.promql import exported
from tests.servers import ROOT

GUIDE = (ROOT / "docs" / "operate.md").read_text()


def section(title: str) -> set[str]:
    """What the first columns of a section's tables name."""
    [text] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE, re.M | re.S)
    return set(re.findall(r"^\| `([^`]+)`", text, re.M))


def metrics() -> set[str]:
    histograms = {name.removesuffix("_bucket") for name in exported() if name.endswith("_bucket")}
    samples = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    return exported().keys() - samples | histograms


def alerts() -> set[str]:
    rules = (ROOT / "deploy" / "prometheus").glob("*.yml")
    return {name for path in rules for name in re.findall(r"^\s*- alert: (\w+)", path.read_text(), re.M)}


def checks() -> set[str]:
    sources = [*(ROOT / "reconnect_channels").rglob("*.py")]
    return {
        found
        for path in sources
        for found in re.findall(r'"reconnect_channels\.([EW]\d{3})"', path.read_text())
    }


def commands() -> set[str]:
    folder = ROOT / "reconnect_channels" / "management" / "commands"
    return {path.stem for path in folder.glob("reconnect_*.py")}


def actions() -> set[str]:
    ours = [
        model_admin
        for model, model_admin in admin.site._registry.items()
        if model._meta.app_label == Stream._meta.app_label
    ]
    return {order.name for one in ours for order in one.actions}


@pytest.mark.parametrize(
    ("title", "there"),
    [
        ("Metrics", metrics),
        ("Alerts", alerts),
        ("Checks", checks),
        ("Commands", commands),
        ("Admin actions", actions),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_guide_names_what_there_is(title: str, there: Callable[[], set[str]]):
    assert section(title) == there()

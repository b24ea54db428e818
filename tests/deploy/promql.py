"""What queries name, and what there is to be named."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from .fronts import DEPLOY

RULES = DEPLOY / "prometheus"
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
SELECTED = re.compile(r"([a-z_:][\w:]*)\s*\{([^}]*)\}", re.IGNORECASE)
GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
RANGE = re.compile(r"\[[^\]]*\]")
NAME = re.compile(r"(?<![\w:$.])([a-z_][\w:]*)(?!\s*\(|[\w:])", re.IGNORECASE)
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}
TARGET = {"job", "instance"}  # labels that a scrape adds


def rules(file: str) -> list[dict[str, Any]]:
    """The rules of a file in deploy/prometheus/, over all its groups."""
    groups = yaml.safe_load((RULES / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def exported() -> dict[str, set[str]]:
    """The names of all samples that nodes export, with their labels."""
    from prometheus_client import Counter, Gauge, Histogram

    from reconnect_channels.telemetry import metrics

    found: dict[str, set[str]] = {}
    for collector in _collectors(vars(metrics)):
        (family,) = collector.describe()
        labels = {*collector._labelnames, *TARGET}
        match collector:
            case Counter():
                found[f"{family.name}_total"] = labels
            case Gauge():
                found[family.name] = labels
            case Histogram():
                found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
                found[f"{family.name}_bucket"] = labels | {"le"}
    return found


def _collectors(value: Any) -> Iterator[Any]:
    from prometheus_client.metrics import MetricWrapperBase

    if isinstance(value, MetricWrapperBase):
        yield value
    elif isinstance(value, (dict, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _collectors(each)


@cache
def known() -> dict[str, set[str]]:
    """What queries may name: exported samples, recorded series and those of Prometheus itself."""
    recorded = {rule["record"]: TARGET | {"prefix"} for rule in rules("recording.yml")}
    return {
        **exported(),
        **recorded,
        "up": TARGET,
        "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
    }


def named(query: str) -> set[str]:
    """The metrics of a query.

    Prometheus' own parser tells whether a query is valid; names it doesn't tell.
    """
    bare = GROUPED.sub(" ", TEXT.sub('""', query))
    bare = RANGE.sub("", re.sub(r"\{[^}]*\}", "", bare))
    return {name for name in NAME.findall(bare) if name not in WORDS}


def labelled(query: str) -> dict[str, set[str]]:
    """The labels that a query selects by, for each of its metrics."""
    found: dict[str, set[str]] = {}
    for name, matchers in SELECTED.findall(TEXT.sub('""', query)):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", matchers))
    return found


def grouped(query: str) -> set[str]:
    """The labels that a query groups or joins by."""
    lists = GROUPED.findall(TEXT.sub('""', query))
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def unknown(query: str) -> set[str]:
    """What a query names and no node exports: metrics, and labels that its metrics don't have."""
    there = known()
    wrong = named(query) - set(there)
    for name, labels in labelled(query).items():
        wrong |= {f"{name}{{{label}}}" for label in labels - there.get(name, set())}
    everywhere = set().union(*(there.get(name, set()) for name in named(query)))
    return wrong | (grouped(query) - everywhere)

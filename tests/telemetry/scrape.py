"""What a scrape of a server says."""

from __future__ import annotations

from urllib.request import Request, urlopen

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from tests.servers import HOST, Server

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """The samples of one page."""

    def __init__(self, text: str, content_type: str = "text/plain") -> None:
        self.content_type = content_type
        parse = open_families if content_type.startswith("application/openmetrics-text") else plain_families
        self.families: list[Metric] = list(parse(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples} | {family.name for family in self.families}

    def series(self, family: str) -> set[tuple[tuple[str, str], ...]]:
        """The series of a metric."""
        found = (sample for each in self.families if each.name == family for sample in each.samples)
        return {(("sample", sample.name), *sorted(sample.labels.items())) for sample in found}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels; 0 without any."""
        fits = (s for s in self.samples if s.name == name and labels.items() <= s.labels.items())
        return sum(sample.value for sample in fits)


def scrape(server: Server, path: str = "/metrics", accept: str = "text/plain") -> Page:
    request = Request(f"http://{HOST}:{server.port}{path}", headers={"Accept": accept})
    with urlopen(request, timeout=10) as response:
        return Page(response.read().decode(), response.headers["Content-Type"])

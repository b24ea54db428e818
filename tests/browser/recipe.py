"""The code of docs/tracing.md, for what runs it: the server of a test, and its pages."""

import re

from tests.servers import ROOT

_MARKED = re.compile(r"<!-- tests/browser/test_tracing\.py .*?-->\n```(\w+)\n(.*?)```", re.S)

recipes: dict[str, str] = dict(_MARKED.findall((ROOT / "docs/tracing.md").read_text()))
"""By language."""

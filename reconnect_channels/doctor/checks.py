"""The system checks of this app, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from django.core import checks
from django.db import connections

from .. import registry
from .finding import Finding, Plan, failure, ok, told, warning

APP = "reconnect_channels."


def probe(plan: Plan) -> Iterator[Finding]:
    try:
        registry.load()
    except Exception as error:  # the project's own code
        yield failure("application", f"ASGI_APPLICATION can't be imported: {told(error)}", "Mend it.")
    found = [each for each in checks.run_checks(databases=list(connections)) if str(each.id).startswith(APP)]
    for message in found:
        say = failure if message.level >= checks.ERROR else warning
        yield say(str(message.id).removeprefix(APP), str(message.msg), str(message.hint or ""))
    if not found:
        yield ok("checks", "The system checks of this app find nothing.")

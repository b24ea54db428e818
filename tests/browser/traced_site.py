"""The example as docs/tracing.md has it traced, with Zipkin's exporter beside that of OTLP."""

from typing import Any

from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.browser.recipe import recipes

names: dict[str, Any] = {}
exec(compile(recipes["python"], "docs/tracing.md", "exec"), names)
names["provider"].add_span_processor(BatchSpanProcessor(ZipkinExporter()))

from example_project.asgi import application  # noqa: E402

assert application

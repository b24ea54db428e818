"""What takes traces: an OTLP/HTTP and a Zipkin endpoint, which understand real payloads and nothing else."""

import base64
import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import HOST


class Span(NamedTuple):
    """What both formats say of a span."""

    trace: str
    id: str
    parent: str | None
    name: str
    service: str


def _hex_to_base64(value: Any) -> Any:
    """OTLP's JSON has ids in hex, protobuf's JSON has bytes in base64."""
    if isinstance(value, list):
        return [_hex_to_base64(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(each)).decode()
        if key in ("traceId", "spanId", "parentSpanId")
        else _hex_to_base64(each)
        for key, each in value.items()
    }


def otlp(body: bytes, kind: str) -> list[Span]:
    """The spans of an OTLP request, in protobuf or JSON."""
    request = ExportTraceServiceRequest()
    if kind == "application/x-protobuf":
        request.ParseFromString(body)
    else:
        json_format.ParseDict(_hex_to_base64(json.loads(body)), request)
    return [
        Span(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex() or None,
            span.name,
            next(
                (a.value.string_value for a in group.resource.attributes if a.key == "service.name"),
                "",
            ),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def zipkin(body: bytes, _: str) -> list[Span]:
    """The spans of a Zipkin v2 request."""
    return [
        Span(
            span["traceId"].rjust(32, "0"),
            span["id"],
            span.get("parentId"),
            span["name"],
            span["localEndpoint"]["serviceName"],
        )
        for span in json.loads(body)
    ]


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent. What it can't read is a fault of the test.

    :param read: takes a request's body and its content type.
    """

    daemon_threads = True

    def __init__(self, path: str, read: Callable[[bytes, str], list[Span]]) -> None:
        super().__init__((HOST, 0), _Taker)
        self.path, self.read = path, read
        self.spans: list[Span] = []
        self.faults: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    def named(self, name: str) -> list[Span]:
        return [span for span in list(self.spans) if span.name == name]

    def below(self, parent: Span, name: str) -> list[Span]:
        """The children of that name."""
        return [span for span in self.named(name) if (span.trace, span.parent) == (parent.trace, parent.id)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Taker(BaseHTTPRequestHandler):
    server: Receiver

    def do_OPTIONS(self) -> None:
        self._answer(204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        try:
            assert self.path == self.server.path
            self.server.spans += self.server.read(body, self.headers["Content-Type"])
        except Exception as error:
            self.server.faults.append(repr(error))
            self._answer(400)
        else:
            self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", self.headers["Origin"] or "*")
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.send_header("Access-Control-Allow-Headers", "content-type")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""

"""An OTLP/HTTP collector on loopback that keeps the spans and metrics it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from patience import PATIENCE_SECONDS


class OtlpSink:
    """The collector at `url`; use it as a context manager. It answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self._status = status
        self._spans: list[Any] = []
        self._metrics: list[Any] = []
        self._services: set[str] = set()
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def of_trace(
        self, trace_id: str, until: Callable[[list[Any]], bool], timeout_seconds: float = PATIENCE_SECONDS
    ) -> list[Any]:
        """Return the spans of a trace once they satisfy `until`, or those that came when the time is over."""
        with self._arrived:
            self._arrived.wait_for(lambda: until(self._of(trace_id)), timeout_seconds)
            return self._of(trace_id)

    def all_spans(self) -> list[Any]:
        """Return the spans that have come so far."""
        with self._arrived:
            return list(self._spans)

    def metrics(self, until: Callable[[list[Any]], bool], timeout_seconds: float = PATIENCE_SECONDS) -> list[Any]:
        """Return the metrics that have come, by process and sending, once they satisfy `until` or the time is over."""
        with self._arrived:
            self._arrived.wait_for(lambda: until(self._metrics), timeout_seconds)
            return list(self._metrics)

    def services(self) -> set[str]:
        """Return the names of the services that have sent anything."""
        with self._arrived:
            return set(self._services)

    def _of(self, trace_id: str) -> list[Any]:
        return [span for span in self._spans if span.trace_id.hex() == trace_id]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            for resource in request.resource_spans:
                said = {item.key: item.value.string_value for item in resource.resource.attributes}
                self._services.add(said["service.name"])
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)
            self._arrived.notify_all()

    def _take_metrics(self, body: bytes) -> None:
        with self._arrived:
            self._metrics.extend(ExportMetricsServiceRequest.FromString(body).resource_metrics)
            self._arrived.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    sink._take(body)
                if self.path == "/v1/metrics":
                    sink._take_metrics(body)
                self.send_response(sink._status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

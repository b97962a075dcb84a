"""A receiver of OTLP over HTTP, in a thread."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Receiver:
    """What has come: spans, by the resource they came with."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list = []
        self.resources: list[dict[str, str]] = []
        self.hang = threading.Event()  # set: answers nothing until it is cleared again
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for group in request.resource_spans:
                pairs = group.resource.attributes
                self.resources.append({pair.key: pair.value.string_value for pair in pairs})
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def wait(self, count: int, seconds: float = 10) -> list:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans) >= count, seconds), self.spans
            return list(self.spans)


def attributes(span) -> dict:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            while receiver.hang.is_set() and not is_over.wait(0.05):
                pass
            receiver.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    is_over = threading.Event()
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""A proxy on loopback in front of a server of S3: it counts requests, and can do with each of them what networks do."""

from __future__ import annotations

import http.client
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

Fault = Callable[[str, str, int], str | None]
"""Method, key and number of a request -> ``503``, ``403``, ``drop`` (it does not arrive) or ``lose`` (its answer)."""
BUCKET = "lab"
CONDITIONS = ("if-none-match", "if-match")


class S3Proxy(ThreadingHTTPServer):
    """Passes requests on, one at a time: the server behind it need not do two of them at once rightly.

    Attributes
    ----------
    fault
        What to do wrong.
    ignored
        Headers that are taken from writes, as services do that ignore conditions.
    asked
        Method and key of each request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.asked, self.ignored = (host, port), list[tuple[str, str]](), tuple[str, ...]()
        self.fault: Fault = lambda method, key, number: None
        self.lock, self.one_at_a_time = threading.Lock(), threading.Lock()

    @property
    def options(self) -> dict[str, Any]:
        """What `push_store` needs for an address ``s3://lab/…``."""
        endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        return {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "known", "secret_access_key": "hush"}

    def forget(self) -> None:
        """Do nothing wrong any more, and count from the beginning."""
        self.fault, self.ignored = lambda method, key, number: None, ()
        self.asked.clear()

    def written(self) -> list[str]:
        """Return the keys of the objects that were written."""
        return [key for method, key in self.asked if method == "PUT"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        server, body = self.server, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")
        with server.lock:
            server.asked.append((self.command, key))
            number = len(server.asked)
        fault = server.fault(self.command, key, number)
        if fault in ("503", "403"):
            self._answer(int(fault), [], b"")
            return
        if fault != "drop":
            answer = self._ask(body)
            if fault != "lose":
                self._answer(*answer)
                return
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        left_out = ("connection", *(self.server.ignored if self.command == "PUT" else ()))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        with self.server.one_at_a_time:
            connection = http.client.HTTPConnection(*self.server.behind)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            found = answer.status, answer.getheaders(), answer.read()
            connection.close()
        return found

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        given = {
            name.lower(): value for name, value in headers if name.lower() not in ("connection", "transfer-encoding")
        }
        size = given.get("content-length", "0") if self.command == "HEAD" else str(len(body))
        self.send_response_only(status)
        for name, value in {**given, "content-length": size}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def s3_proxy() -> Iterator[S3Proxy]:
    """Start moto, with one bucket, and a proxy in front of it."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/{BUCKET}", method="PUT")).close()
    with S3Proxy(host, port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
    server.stop()

"""A server of objects on loopback, as S3 and as plain HTTP, that can be slow and can do everything wrong.

``python -m tests.object_server FOLDER [DELAY [RATE]]`` serves a folder until its standard input is closed.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Fault = Callable[[str, int], str | None]
"""Key of an object and the number of the request for one -> what is done wrong; see `_Handler._answer`."""
BUCKET = "mice"
_BLOCK = 1 << 18


class ObjectServer(ThreadingHTTPServer):
    """Serves the files of a folder as the objects of one bucket.

    Parameters
    ----------
    folder
        Folder of the objects.
    delay
        Seconds before each answer.
    rate
        Bytes a second of each connection.

    Attributes
    ----------
    fault
        What to do wrong.
    asked
        Method, key and range of each request.
    most
        The most requests that waited for the delay at the same time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, delay: float = 0.0, rate: float | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.delay, self.rate = folder, delay, rate
        self.fault: Fault = lambda key, number: None
        self.asked, self.most, self.now, self.lock = list[tuple[str, str, str]](), 0, 0, threading.Lock()
        self.lists = True
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ObjectServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def endpoint(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def options(self) -> dict[str, Any]:
        """What `open_mouse` needs for an address ``s3://mice/…`` on this server."""
        return {"endpoint": self.endpoint, "region": "us-east-1", "access_key_id": "known", "secret_access_key": "hush"}

    def gets(self) -> list[tuple[str, str]]:
        """Return key and range of each object that was asked for."""
        return [(key, part) for method, key, part in self.asked if method == "GET" and key]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server, split = self.server, urlsplit(self.path)
        key = unquote(split.path).removeprefix(f"/{BUCKET}").lstrip("/")
        with server.lock:
            server.asked.append((self.command, key, self.headers.get("Range", "")))
            number, server.now = len(server.gets()) if self.command == "GET" else 0, server.now + 1
            server.most = max(server.most, server.now)
        time.sleep(server.delay)
        with server.lock:
            # A client that has its answer asks again, perhaps before this thread goes on.
            server.now -= 1
        try:
            if "list-type" in split.query:
                self._list(parse_qs(split.query))
            else:
                self._answer(key, server.fault(key, number) if key else None)
        except ConnectionError:
            self.close_connection = True

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, folder = query.get("prefix", [""])[0], self.server.folder
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        keys = {path.relative_to(folder).as_posix(): path for path in paths}
        found = {key: path for key, path in keys.items() if key.startswith(prefix)}
        rows, common = list[str](), dict[str, None]()
        for key, path in found.items():
            below, slash, _ = key.removeprefix(prefix).partition("/")
            if "delimiter" in query and slash:
                common[f"{prefix}{below}/"] = None
                continue
            rows.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(_e_tag(path))}</ETag><Size>{path.stat().st_size}</Size></Contents>"
            )
        rows += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in common]
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _answer(self, key: str, fault: str | None) -> None:
        path, wanted = self.server.folder / key, self.headers.get("If-Match")
        if fault in ("503", "403", "500"):
            self._send(int(fault), b"")
        elif fault == "expired":
            self._send(400, b"<Error><Code>ExpiredToken</Code><Message>The token known has expired.</Message></Error>")
        elif not path.is_file() or fault == "404":
            self._send(404, b"")
        elif wanted is not None and wanted != _e_tag(path):
            self._send(412, b"")
        else:
            self._send_part(path, fault)

    def _send_part(self, path: Path, fault: str | None) -> None:
        size, part = path.stat().st_size, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(part[1]), min(int(part[2]) + 1, size)) if part else (0, size)
        if fault == "whole":
            part, start, stop = None, 0, size
        body = _read(path, start, stop - start)
        if fault == "flip":
            body[len(body) // 2] ^= 0x10
        elif fault == "swap":
            other = (start + max(1, size // 3)) % max(1, size - len(body) + 1)
            body = _read(path, other, len(body)) if len(body) < size else body[::-1]
        elif fault == "short":
            stop -= max(1, len(body) // 3)
            del body[stop - start :]
        elif fault == "zeros":
            body = bytearray(len(body))
        headers = {"ETag": _e_tag(path), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Accept-Ranges": "bytes"}
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._send(206 if part else 200, body, headers, cut=fault == "cut")

    def _send(
        self, code: int, body: bytes | bytearray, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response_only(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        rate, view = self.server.rate, memoryview(body)[: len(body) // 2 if cut else len(body)]
        begun = time.perf_counter()
        for start in range(0, len(view), _BLOCK if rate else len(view) or 1):
            block = view[start : start + (_BLOCK if rate else len(view))]
            self.wfile.flush()
            self.connection.sendall(block)
            if rate:
                time.sleep(max(0.0, begun + (start + len(block)) / rate - time.perf_counter()))
        self.wfile.flush()
        self.close_connection = self.close_connection or cut


def _read(path: Path, start: int, size: int) -> bytearray:
    body = bytearray(size)
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        file.readinto(body)
    return body


def _e_tag(path: Path) -> str:
    status = path.stat()
    return f'"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"'


if __name__ == "__main__":
    with ObjectServer(Path(sys.argv[1]), *map(float, sys.argv[2:])) as served:
        print(served.endpoint, flush=True)
        sys.stdin.read()

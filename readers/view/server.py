"""A web server of the page and of stores: files that manifests list, by ranges of their bytes, and nothing else."""

from __future__ import annotations

import errno
import hashlib
import hmac
import ipaddress
import mimetypes
import os
import re
import secrets
import socket
import socketserver
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...store import Argument, OptionError, Problem, TrialpackError
from ...store.place import StoreFile
from .pages import STORES, ViewedStore, list_stores, page_files

_EVERYWHERE = ("", "0.0.0.0", "::")
_BLOCK = 1 << 20
_SECONDS = 60
"""After so long without a request a connection is closed; browsers make another one."""
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ViewServer(socketserver.ThreadingTCPServer):
    """Serves the page with some stores until it is shut down.

    Parameters
    ----------
    stores
        What the page shows.
    host, port
        Where it listens; 0 is any free port.

    Attributes
    ----------
    url
        The address of the page, with the token without which nothing is served.

    Raises
    ------
    OptionError
        The port is taken or reserved, or the host is none of this machine.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, stores: Sequence[ViewedStore], host: str = "127.0.0.1", port: int = 0) -> None:
        self._stores, self._token, self._opened = stores, secrets.token_urlsafe(24), ExitStack()
        self._page = {**page_files(), STORES: list_stores(stores, [f"stores/{n}/" for n in range(len(stores))])}
        with ExitStack() as stack:
            opened = [stack.enter_context(closing(one.place.open())) if one.files else None for one in stores]
            try:
                self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
                super().__init__((host, port), _Handler)
            except OSError as error:
                raise _refused(error, host, port) from None
            self._versions, self._opened = opened, stack.pop_all()
        name = socket.gethostname() if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self.server_address[1]}/{self._token}/"

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token."""
        return hmac.compare_digest(text.encode(), self._token.encode())

    def find(self, name: str) -> tuple[_File, str] | None:
        """Open what has a name below the token, with its digest; None where there is nothing of this name.

        Raises
        ------
        OSError, TrialpackError
            It cannot be read any more.
        """
        data = self._page.get(name or "index.html")
        if data is not None:
            return _InMemory(data), hashlib.sha256(data).hexdigest()
        top, _, rest = name.partition("/")
        number, _, path = rest.partition("/")
        if top != "stores" or number not in map(str, range(len(self._stores))):
            return None
        store, version = self._stores[int(number)], self._versions[int(number)]
        if version is None or path not in store.files or _has_links(store.place.root, path):
            return None
        return version.open(path), store.files[path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the socket and the stores."""
        super().server_close()
        self._opened.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "trialpack", ""
    timeout = _SECONDS
    disable_nagle_algorithm = True
    server: ViewServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # noqa: N802
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""

    def _answer(self) -> None:
        token, _, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        if refused := self._foreign() or ("" if self.server.is_token(token) else "no token, or another one"):
            return self._say(HTTPStatus.FORBIDDEN, f"{refused}: take the address that trialpack printed")
        try:
            found = self.server.find(unquote(name))
        except FileNotFoundError:
            found = None
        except (OSError, TrialpackError) as error:
            return self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        if found is None:
            return self._say(HTTPStatus.NOT_FOUND, "nothing of this name")
        with closing(found[0]) as file:
            return self._send(file, name, found[1])

    def _foreign(self) -> str:
        """Return what is wrong if another site sent the request, through a name of its own or from its pages."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not _is_own_name(host):
            return "asked for under another name"
        if origin is not None and origin != f"http://{host}":
            return "asked for by another site"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return "asked for by another site"
        return ""

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(_InMemory(f"{text}\n".encode()), ".txt", "", status)

    def _send(self, file: _File, name: str, digest: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        etag, size, span = f'"{digest}"', file.size, None
        if status is HTTPStatus.OK and self.headers.get("If-Range", etag) == etag:
            span = wanted_bytes(self.headers.get("Range"), size)
        headers = {"Content-Type": mimetypes.guess_type(name or "index.html")[0] or "application/octet-stream"}
        if digest:
            headers["ETag"] = etag
        if digest and self.headers.get("If-None-Match") == etag:
            status, span = HTTPStatus.NOT_MODIFIED, range(0)
        elif span is not None:
            status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}" if span else f"bytes */{size}"
        body = range(size) if span is None else span
        if status is not HTTPStatus.NOT_MODIFIED:
            headers["Content-Length"] = str(len(body))
        self.send_response(status)
        for header, value in {**_HEADERS, **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            for block in _blocks(file, body):
                self.wfile.write(block)


def wanted_bytes(text: str | None, size: int) -> range | None:
    """Return which bytes of a file a header ``Range`` asks for; None without one, or of several, for all of them.

    Examples
    --------
    >>> wanted_bytes("bytes=2-3", 10), wanted_bytes("bytes=-4", 10), wanted_bytes("bytes=10-", 10)
    (range(2, 4), range(6, 10), range(10, 10))
    """
    found = _RANGE.fullmatch(text or "")
    if found is None:
        return None
    first, last, from_end = found.groups()
    if from_end:
        return range(max(0, size - int(from_end)), size)
    return range(min(int(first), size), min(int(last) + 1, size) if last else size)


class _InMemory:
    """Bytes as a file of a store."""

    together = 0

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        return len(self._data)

    def fill(self, buffers: Sequence[memoryview], offset: int, /) -> int:
        part = self._data[offset : offset + len(buffers[0])]
        buffers[0][: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close nothing."""


_File = StoreFile | _InMemory


def _blocks(file: _File, span: range) -> Iterator[memoryview]:
    memory, at = memoryview(bytearray(min(len(span), _BLOCK))), span.start
    while at < span.stop:
        count = file.fill([memory[: span.stop - at]], at)
        if not count:
            raise ConnectionError("the file became shorter meanwhile: less is sent than was announced")
        yield memory[:count]
        at += count


def _is_own_name(host: str) -> bool:
    """Return whether a header ``Host`` names this machine: as a number, or by a name that no other site can have."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in ("localhost", socket.gethostname().lower()) or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _has_links(root: object, name: str) -> bool:
    """Return whether a file is found through a link, which may lead out of the store."""
    paths = accumulate(name.split("/"), os.path.join)
    return isinstance(root, Path) and any(os.path.islink(root / path) for path in paths)


def _refused(error: OSError, host: str, port: int) -> OptionError:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return OptionError(
            Problem("", "not an address of this machine", "choose another", argument=Argument("host", host))
        )
    what = "is taken" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
    return OptionError(Problem("", what, "choose another, or 0 for any that is free", argument=Argument("port", port)))

"""Objects of an object store, by obstore: one client a process, what goes wrong said plainly, and tried again.

Whatever is secret stays in the process to which it was given: it is in no object here, and in no message.
"""

from __future__ import annotations

import hmac
import logging
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from .chunk_codecs import ChunkError
from .errors import AccessError, CorruptStoreError, OptionError, Problem, ResourceError
from .paths import Address

_T = TypeVar("_T")
TRIES, _FIRST_PAUSE = 7, 0.1
"""How often a request is made before it fails, and the seconds before the second time; they double each time."""
_PUBLIC = frozenset(
    {
        *("region", "default_region", "endpoint", "endpoint_url", "virtual_hosted_style_request", "skip_signature"),
        *("request_payer", "account_name", "container_name", "bucket", "bucket_name", "use_emulator", "allow_http"),
        *("allow_invalid_certificates", "timeout", "connect_timeout", "read_timeout", "http1_only", "http2_only"),
    }
)
"""Names of options that another process is told; none of them is secret."""
_log = logging.getLogger(__name__)
_BUCKET = re.compile(r"((?:s3|s3a|gs)://[^/]+)/?(.*)")
_PREFIX = re.compile(r"^(aws|google|azure|azure_storage|aws_s3)_")
_REFUSED = re.compile(
    r"status code: 40[13]|ExpiredToken|token has expired|InvalidToken|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|AuthenticationFailed|InvalidAuthenticationInfo|169\.254\.169\.254|MissingCredential"
)
_WHOLE, _SHORT = re.compile(r"non-partial|Range request not supported"), re.compile(r"Requested \d+\.\.\d+, got")
_LASTING = re.compile(r"status code: (4(?!08|29)\d\d [A-Za-z ]*)")
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]*[A-Za-z])")
_secret: dict[str, dict[str, Any]] = {}
"""Token of a connection -> all options that it was made with. It stays in this process, and in its forks."""


@dataclass(frozen=True)
class Connection:
    """How to reach a prefix in an object store. Picklable, and without secrets.

    Attributes
    ----------
    address
        Where it is.
    prefix
        What the names of objects begin with, for the client.
    root
        What the client is for: a bucket, where several stores may be; else the address.
    settings
        The options that are not secret, for other processes, which take the secret ones from their own environment.
    token
        By which this process finds all options again.
    """

    address: Address
    prefix: str
    root: str
    settings: tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    token: str = field(default="", repr=False)

    def below(self, name: str) -> Connection:
        """Return how to reach a prefix below this one."""
        return replace(self, address=Address(f"{self.address}/{name}"), prefix=f"{self.prefix}{name}/")


def connect(address: Address, options: Mapping[str, Any] | None) -> Connection:
    """Return how to reach an address.

    Parameters
    ----------
    options
        As `obstore.store.from_url` takes them.

    Raises
    ------
    OptionError
        obstore is not installed, or has no such address or option.
    """
    bucket = _BUCKET.match(str(address))
    root, prefix = (bucket[1], f"{bucket[2]}/" if bucket[2] else "") if bucket else (str(address), "")
    given = dict(options or {})
    found = Connection(address, prefix, root, _public(given), _token(given))
    _secret[found.token] = given
    _client(found)
    return found


_OF_PROCESS = secrets.token_bytes(32)


def _token(options: Mapping[str, Any]) -> str:
    """Return a token: equal for equal options within this process, from which nobody learns them."""
    return hmac.new(_OF_PROCESS, repr(sorted(options.items())).encode(), "sha256").hexdigest()


def connection_of(store: Any) -> Connection:
    """Return how to reach what a store of obstore reaches: by itself in this process, by its settings in others."""
    config, prefix = dict(getattr(store, "config", None) or {}), str(getattr(store, "prefix", None) or "").strip("/")
    scheme = _SCHEMES.get(type(store).__name__, "object")
    place = config.get("bucket") or config.get("bucket_name") or config.get("container_name") or ""
    url = f"{scheme}://{'/'.join(part for part in (place, prefix) if part)}"
    options = {**config, "client_options": getattr(store, "client_options", None) or {}}
    address = Address(_without_secrets(str(store.url).rstrip("/")) if scheme == "https" else url)
    found = Connection(address, "", str(address), _public(options), secrets.token_hex(8))
    _secret[found.token] = {"store": store}
    return found


_SCHEMES = {
    **{"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az", "HTTPStore": "https"},
    **{"LocalStore": "local", "MemoryStore": "memory"},
}


def _public(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return those options that are not secret; an address with a password in it is."""
    found = list[tuple[str, Any]]()
    for name, value in options.items():
        if name == "client_options":
            found.append((name, _public(value)))
        elif _PREFIX.sub("", name.lower()) in _PUBLIC and not re.search(r"[@?]", str(value)):
            found.append((name, value))
    return tuple(found)


def _without_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


_clients = dict[tuple[str, str], Any]()
"""Root and token of connections -> client of this process."""
_forked = False


def _after_fork() -> None:
    """Note that what obstore keeps of its threads is of no use here: whoever waited for it would do so for ever."""
    global _forked
    _forked = _forked or bool(_clients)
    _clients.clear()


os.register_at_fork(after_in_child=_after_fork)


def _client(connection: Connection) -> Any:
    """Return this process's client."""
    if _forked:
        what = "cannot be read in a process that was forked after its parent had read an object store"
        raise ResourceError(Problem(str(connection.address), what, "start processes by spawn, or fork them first"))
    key = connection.root, connection.token
    if key not in _clients:
        _clients[key] = _make_client(connection)
    return _clients[key]


def _make_client(connection: Connection) -> Any:
    options, url, label = dict(_secret.get(connection.token, connection.settings)), connection.root, connection.address
    if "store" in options:
        return options["store"]
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        what = "reading from an address needs the package obstore"
        raise OptionError(Problem(str(label), what, "pip install obstore")) from None
    own = dict(options.pop("client_options", ()))
    own.setdefault("allow_http", url.startswith("http://") or "http://" in str(_endpoint(options)))
    # Stores in many buckets would keep many connections open.
    own = {"pool_idle_timeout": "10s", **own}
    # Here they are counted, and made as often as is said.
    options |= {"client_options": own, "retry_config": {"max_retries": 0}}
    if url.startswith("s3") and not _has_credentials(options):
        options = {**_profile(), **options}
    try:
        return from_url(url, **options)
    except (BaseError, ValueError, TypeError) as error:
        # The text of the error may have the value of an option in it.
        name = next((name for name in options if f"'{name}'" in str(error) or f'"{name}"' in str(error)), "")
        what = f"storage_options: no {name!r} of such a store" if name else "no address of a store that can be read"
        advice = "give s3://bucket/…, gs://bucket/…, az://account/container/… or https://…, and obstore's options"
        raise OptionError(Problem(str(label), what, advice)) from None


def _endpoint(options: Mapping[str, Any]) -> Any:
    named = {_PREFIX.sub("", name.lower()): value for name, value in options.items()}
    return named.get("endpoint") or named.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL", "")


def _has_credentials(options: Mapping[str, Any]) -> bool:
    given = {_PREFIX.sub("", name.lower()) for name in options} & {"access_key_id", "skip_signature", "token"}
    return bool(given) or "credential_provider" in options or "AWS_ACCESS_KEY_ID" in os.environ


def _profile() -> dict[str, Any]:
    """Return the keys and the region that the files of Amazon's tools have for the present profile."""
    name, found = os.environ.get("AWS_PROFILE", "default"), dict[str, Any]()
    names = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
    for variable, default in names.items():
        files = ConfigParser(interpolation=None, default_section="")
        try:
            files.read(os.environ.get(variable, Path.home() / ".aws" / default), encoding="utf-8")
        except (Error, OSError, UnicodeDecodeError, RuntimeError):
            continue
        for section in (f"profile {name}", name):
            if files.has_section(section):
                found |= dict(files[section])
    known = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
    known |= {"aws_session_token": "session_token", "region": "region"}
    return {option: found[key] for key, option in known.items() if found.get(key)}


@dataclass(frozen=True)
class Pin:
    """What an object was when the store was opened; None of what is not known.

    Attributes
    ----------
    size
        Bytes of it.
    e_tag, modified
        What the store calls this version of it, and when it was made.
    version
        What some stores call it, too; lists do not have it.
    """

    size: int
    e_tag: str | None = None
    modified: datetime | None = None
    version: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, meta: Any) -> Pin:
        """Return the pin that is in metadata of obstore."""
        return cls(meta["size"], meta["e_tag"], None if meta["e_tag"] else meta["last_modified"], meta.get("version"))

    def fits(self, meta: Any) -> bool:
        """Return whether an object with such metadata is still the same."""
        found = Pin.of(meta)
        if self.e_tag and found.e_tag:
            return _bare(found.e_tag) == _bare(self.e_tag)
        return found.size == self.size and (self.modified is None or found.modified in (None, self.modified))

    @property
    def options(self) -> dict[str, Any]:
        """Options of a request that fails if the object is another one; those of weak marks cannot."""
        if not self.e_tag or self.e_tag.startswith("W/"):
            return {}
        return {"if_match": self.e_tag if self.e_tag.startswith('"') else f'"{self.e_tag}"'}


def _bare(e_tag: str | None) -> str:
    return (e_tag or "").removeprefix("W/").strip('"')


@dataclass
class Requests:
    """What requests took.

    Attributes
    ----------
    made, again
        How many were made, and how many of those because one had failed.
    nbytes
        Bytes that came.
    """

    made: int = 0
    again: int = 0
    nbytes: int = 0

    def add(self, other: Requests) -> None:
        """Add what other ones took."""
        self.made, self.again, self.nbytes = (
            self.made + other.made,
            self.again + other.again,
            self.nbytes + other.nbytes,
        )


def read(
    connection: Connection,
    name: str,
    pin: Pin | None,
    span: tuple[int, int] | None = None,
    count: Requests | None = None,
) -> tuple[memoryview, Pin]:
    """Return an object, or a part of it, and what it is.

    Parameters
    ----------
    pin
        What it has to be.
    span
        Offset and size of the part; at least one byte.
    count
        Where to count what it took.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    CorruptStoreError
        It was replaced since the store was opened.
    ChunkError
        What came is not what was asked for.
    AccessError, ResourceError
        Access is refused; or the store cannot be reached, or fails again and again.
    """
    import obstore

    options: Any = dict(pin.options if pin else {})
    if span is not None:
        options["range"] = (span[0], span[0] + span[1])

    def once() -> tuple[memoryview, Pin]:
        result = obstore.get(_client(connection), connection.prefix + name, options=options)
        if pin and not pin.fits(result.meta):
            raise _replaced(connection, name)
        data = memoryview(result.bytes())
        expected = span[1] if span else pin.size if pin else result.meta["size"]
        if data.nbytes != expected:
            raise ChunkError(f"the answer ends early (expected {expected} bytes, found {data.nbytes})")
        return data, Pin.of(result.meta)

    counted = count or Requests()
    data, found = _insist(connection, name, once, counted)
    counted.nbytes += data.nbytes
    return data, found


def look(connection: Connection, name: str) -> Pin:
    """Return what an object is, without its bytes; errors as in `read`."""
    import obstore

    return _insist(
        connection, name, lambda: Pin.of(obstore.head(_client(connection), connection.prefix + name)), Requests()
    )


def names(connection: Connection) -> dict[str, Pin]:
    """Return all objects below an address, by their names; errors as in `read`."""
    import obstore

    def once() -> dict[str, Pin]:
        batches: Iterable[Any] = obstore.list(_client(connection), connection.prefix or None, chunk_size=1000)
        return {meta["path"].removeprefix(connection.prefix): Pin.of(meta) for batch in batches for meta in batch}

    return _insist(connection, "", once, Requests())


def folders(connection: Connection) -> list[str]:
    """Return the names of the folders below an address, in order; errors as in `read`."""
    import obstore

    def once() -> list[str]:
        found: Any = obstore.list_with_delimiter(_client(connection), connection.prefix or None)
        return sorted(one.removeprefix(connection.prefix) for one in found["common_prefixes"])

    return _insist(connection, "", once, Requests())


Condition = Literal["create", "overwrite"] | Pin
"""What has to be there for an object to be written: nothing, whatever there is, or just this."""


def write(
    connection: Connection, name: str, data: bytes, condition: Condition, attributes: Mapping[str, str] | None = None
) -> bool:
    """Write an object, whole or not at all; return whether the condition held, for else nothing is written.

    False may also mean that an answer was lost, and the object is there.

    Parameters
    ----------
    attributes
        Texts that the object has beside its bytes.

    Raises
    ------
    OptionError
        There is no such bucket; or the store has no such conditions, or no attributes.
    AccessError, ResourceError
        As in `read`.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    exact = isinstance(condition, Pin)
    versions = {"e_tag": condition.e_tag, "version": condition.version} if exact else {}
    mode: Any = {key: value for key, value in versions.items() if value} if exact else condition
    texts: Any = dict(attributes or {}) or None

    def once() -> bool | str:
        path = connection.prefix + name
        try:
            obstore.put(_client(connection), path, data, mode=mode, attributes=texts, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except FileNotFoundError:
            return False if exact else "no such bucket or container"
        except NotImplementedError:
            return "writes no objects on conditions and with attributes"
        return True

    done = _insist(connection, name, once, Requests(), "written")
    if isinstance(done, str):
        advice = "give the address of a store in S3 and what speaks its language, Google Cloud Storage or Azure"
        raise OptionError(Problem(str(connection.address), done, advice))
    return done


def attributes(connection: Connection, name: str) -> Mapping[str, Any]:
    """Return the texts that an object has beside its bytes; none of one that is not there. Errors as in `read`."""
    import obstore

    def once() -> Mapping[str, Any]:
        path = connection.prefix + name
        return dict(obstore.get(_client(connection), path, options={"head": True}).attributes)

    try:
        return _insist(connection, name, once, Requests())
    except FileNotFoundError:
        return {}


def remove(connection: Connection, unwanted: Iterable[str]) -> None:
    """Remove objects; what is not there is fine. Errors as in `write`."""
    import obstore

    for name in unwanted:
        try:
            once = partial(obstore.delete, _client(connection), connection.prefix + name)
            _insist(connection, name, once, Requests(), "removed")
        except FileNotFoundError:
            continue


def can_list(connection: Connection) -> bool:
    """Return whether objects can be listed; web servers have no way to say what they have."""
    return type(_client(connection)).__name__ != "HTTPStore"


def _insist(connection: Connection, name: str, once: Callable[[], _T], count: Requests, aim: str = "read") -> _T:
    """Make a request until it succeeds, as long as it may yet."""
    from obstore.exceptions import BaseError

    for attempt in range(TRIES):
        count.made += 1
        count.again += attempt > 0
        try:
            return once()
        except (BaseError, FileNotFoundError, NotImplementedError, ChunkError, ValueError) as error:
            failure = _explained(connection, name, error, aim)
            if not isinstance(failure, _Passing) or attempt == TRIES - 1:
                raise failure.final if isinstance(failure, _Passing) else failure from None
            _log.info("%s; asking again", failure.final)
        time.sleep(_FIRST_PAUSE * 2**attempt * (0.5 + random.random()))
    raise AssertionError


class _Passing(Exception):
    """What may be over when the request is made again; `final` is what to raise otherwise."""

    def __init__(self, final: Exception) -> None:
        super().__init__()
        self.final = final


def _explained(connection: Connection, name: str, error: Exception, aim: str) -> Exception:
    """Return what to raise in place of an error of obstore, whose text may hold more than anybody may see."""
    text, kind, label = str(error), type(error).__name__, str(connection.address)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(2, "no such object", name)
    if isinstance(error, ChunkError):
        return _Passing(error)
    if kind == "PreconditionError":
        return _replaced(connection, name)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or _REFUSED.search(text):
        what = "access is refused: credentials are missing, expired, or not enough"
        advice = "check them, and what they allow; of public buckets give skip_signature"
        return AccessError(Problem(label, what, advice, name or None))
    if _WHOLE.search(text) or kind == "NotImplementedError":
        return ChunkError("the server sends the whole file in place of the part that was asked for")
    if _SHORT.search(text):
        return _Passing(ChunkError("the server sends another part than was asked for"))
    status = _STATUS.search(text)
    why = status[1] if status else "timed out" if "timed out" in text.lower() else "no connection"
    final = ResourceError(Problem(label, f"cannot be {aim} ({why})", "check address and network", name or None))
    return final if _LASTING.search(text) else _Passing(final)


def _replaced(connection: Connection, name: str) -> CorruptStoreError:
    return CorruptStoreError(
        Problem(str(connection.address), "the store was replaced since it was opened", "open it again", name)
    )

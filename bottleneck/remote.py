"""Files behind a URL: listed, read and written through fsspec, patiently and without telling secrets.

Credentials are fsspec's and its file systems' own affair: they come from the environment (``AWS_…``,
``FSSPEC_…``, a profile, the machine's role) and never pass through here. Messages are put together of
a URL that holds none and of what a store calls its faults, never of an exception's text, which may quote
a signed request.
"""

import asyncio
import contextlib
import hashlib
import html
import posixpath
import random
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bottleneck.errors import BottleneckError
from bottleneck.remote_faults import Kind, WrongAnswerError, classify

# How often a request is made before its fault is taken to last, and the seconds after the first try, doubled
# after each: about 6 s in all. A store that restarts or slows its callers down takes that long; a picture
# that cannot be had must not hold up the others for longer.
_TRIES = 5
_FIRST_PAUSE = 0.4

# gcsfs asks six times within half a minute by itself, and cannot be told not to; tries of ours would multiply them.
_TRIES_OF_ITS_OWN = re.compile(r"\bgc?s://")

# Seconds that a web server may take to accept a connection, and to go on with an answer: what s3fs allows a store.
# aiohttp by itself waits 5 minutes for an answer, and begins again with each try.
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 15.0

# Pictures asked for at once: each takes tens of milliseconds in which nobody works.
REQUESTS = 16

# A scheme, or a chain of them as in zip::s3://… One letter would be a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")

# Stores in which an object is there when all of it is, and not before. Elsewhere a file is written under a
# temporary name.
_ATOMIC = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"])
_READ_ONLY = frozenset(["http", "https", "zip", "tar", "github", "libarchive"])

# Where an object's version is told, by how much it tells: content first, and dates last.
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "CRC", "crc32c")
_DATES = ("LastModified", "last_modified", "updated", "mtime", "modified", "Last-Modified")
# Such a version is kept where files have their time of modification. 60 bits are a time long past (before
# 2007, in nanoseconds): what is that old is taken to have come to rest.
_VERSION_BITS = 60

# What an interrupted run was asking for is given up: requests that began under an earlier number.
_generation = 0
_LOOK_SECONDS = 0.1

_Found = TypeVar("_Found")


class RemoteError(BottleneckError):
    """What lies behind a URL could not be had; `reason` says why in a few words, `kind` whether it may pass."""

    def __init__(self, message: str, reason: str, kind: Kind = "other") -> None:
        super().__init__(message)
        self.reason = reason
        self.kind = kind


class GoneError(RemoteError):
    """There is nothing behind the URL."""


class Object(NamedTuple):
    """What a store tells of an object without reading it.

    Attributes
    ----------
    size : int
        In bytes; -1 where it does not tell.
    version : int
        Another one where the content is another; -1 where it cannot be told.
    """

    size: int
    version: int


def abandon_requests() -> None:
    """Give up all requests of this process that are under way; each ends with a `KeyboardInterrupt`."""
    global _generation
    _generation += 1
    asyn = sys.modules.get("fsspec.asyn")
    loop = asyn.loop[0] if asyn else None
    if loop is not None:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])


@contextlib.contextmanager
def request_threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Give threads to make requests with; an interruption does not wait for a store that does not answer."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)  # nothing new is asked for from here on
        abandon_requests()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def is_url(text: object) -> bool:
    """Whether a place is named by a URL rather than by a path.

    Examples
    --------
    >>> is_url("s3://bucket/flowers"), is_url("zip::https://host/x.zip"), is_url("cache/flowers")
    (True, True, False)
    """
    return isinstance(text, str) and _URL.match(text) is not None


def clean_url(url: str) -> str:
    """Check that a URL carries no secret, and give it without a slash at its end.

    Raises
    ------
    BottleneckError
        It holds a user, a password or a query, such as a signature: it would be written down in listings and runs.
        Or it names no bucket or host.

    Examples
    --------
    >>> clean_url("s3://bucket/flowers/")
    's3://bucket/flowers'
    """
    for part in url.split("::"):
        scheme, _, rest = part.rpartition("://")
        host = rest.split("/", 1)[0]
        user = host.rpartition("@")[0]
        # a web server's user may be a token; sftp:// and abfs:// name users and containers
        if ":" in user or (user and scheme.lower() in ("http", "https")):
            raise BottleneckError(
                f"a {scheme}:// URL with a user or password in it would be written down in listings and runs; give it "
                "without, and credentials in the environment (FSSPEC_…, see docs/scale.md)"
            )
        if not host and scheme.lower() in (*_ATOMIC, "http", "https"):
            raise BottleneckError(
                f"{part} names no {'host' if scheme.lower() in ('http', 'https') else 'bucket'}; expected "
                f"{scheme}://NAME/FOLDER"
            )
        if "?" in rest or "#" in rest:
            raise BottleneckError(
                f"a {scheme}:// URL with a query (?…) or fragment (#…), such as a signed one, would be written down in "
                "listings and runs; give it without, and credentials in the environment (see docs/scale.md)"
            )
    return url.rstrip("/") if not url.endswith("://") else url


def join_url(root: str, path: str) -> str:
    """Name what lies below a URL; a URL stands for itself.

    Examples
    --------
    >>> join_url("s3://bucket/flowers", "rose/1.jpg")
    's3://bucket/flowers/rose/1.jpg'
    """
    return path if is_url(path) else f"{root}/{path}"


@dataclass(frozen=True)
class Remote:
    """A folder behind a URL. Several threads may read and write at once.

    Attributes
    ----------
    url : str
        As `clean_url` gives it.

    Raises
    ------
    BottleneckError
        A package is missing, the URL names no known kind of store, or nothing may be read there.
    """

    url: str

    @property
    def scheme(self) -> str:
        """The kind of store: ``s3``, ``https``, ``zip``."""
        return re.split("://|::", self.url, maxsplit=1)[0].lower()

    @property
    def _tries(self) -> int:
        return 1 if _TRIES_OF_ITS_OWN.search(self.url) else _TRIES

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise BottleneckError(
                f"{self.scheme}:// URLs need fsspec, which is not installed; install bottleneck-features[remote]"
            ) from None
        # tries of the file system's own would multiply ours
        config = {"retries": {"total_max_attempts": 1}, **_configured("s3", "config_kwargs")}
        options = {"s3": {"config_kwargs": config}} if re.search(r"\bs3a?://", self.url) else {}

        def connect() -> tuple[Any, str]:
            for scheme in re.findall(r"\b(https?)://", self.url):
                options[scheme] = {"client_kwargs": _http_client(scheme)}
            files, path = url_to_fs(self.url, **options)
            if "s3" in files.protocol:
                files.retries = 1
            return files, path.rstrip("/")

        try:
            return self._patiently(connect)
        except ImportError as error:
            raise BottleneckError(
                f"{self.url} cannot be opened, for a package is not installed: {error}"
            ) from None
        except ValueError as error:
            raise BottleneckError(f"{self.url} cannot be opened: {error}") from None

    def _at(self, path: str) -> str:
        top = self._opened[1]
        return f"{top}/{path}" if top and path else top or path

    def _patiently(self, ask: Callable[[], _Found], path: str = "") -> _Found:
        """Ask again, after pauses that grow, where a fault may pass."""
        generation = _generation
        for attempt in range(1, self._tries + 1):
            try:
                found = ask()
            except (BottleneckError, ImportError):
                raise
            except Exception as error:
                self._refuse_abandoned(generation)
                kind, reason = classify(error)
                if kind == "passing" and attempt < self._tries:
                    # not all at once: those who failed together would fail together again
                    seconds = _FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                    until = time.monotonic() + seconds
                    while (left := until - time.monotonic()) > 0:
                        self._refuse_abandoned(generation)
                        time.sleep(min(left, _LOOK_SECONDS))
                    continue
                where = join_url(self.url, path) if path else self.url
                if kind == "gone":
                    raise GoneError(f"nothing at {where}: {reason}", reason, kind) from None
                if kind in ("denied", "credentials"):
                    raise RemoteError(
                        f"no access to {where}: {reason}; credentials come from the environment (AWS_…, FSSPEC_…, "
                        "see docs/scale.md)",
                        f"no permission to read it: {reason}",
                        kind,
                    ) from None
                if kind == "other":
                    if isinstance(error, (ValueError, AssertionError)):
                        raise
                    raise RemoteError(f"{where} cannot be used: {reason}", reason) from None
                tried = f"{reason}, in each of {self._tries} tries" if self._tries > 1 else reason
                raise RemoteError(f"{where} cannot be reached: {tried}", tried, kind) from None
            else:
                self._refuse_abandoned(generation)  # a request that is cancelled gives nothing
                return found
        raise AssertionError("the last try returns or raises")

    def _refuse_abandoned(self, generation: int) -> None:
        if generation != _generation:
            # no fault of the image that was asked for: the thread must not go on with the next
            raise KeyboardInterrupt from None

    def find(self) -> dict[str, Object]:
        """List everything below, in one request for each 1,000 objects where the store is one of objects.

        Returns
        -------
        dict of str to Object
            By path relative to the URL, sorted; empty where there is nothing.

        Raises
        ------
        RemoteError
            A folder cannot be listed: a listing is complete or it is an error.
        """
        files, top = self._opened

        def ask() -> dict[str, dict[str, Any]]:
            files.invalidate_cache()  # of what was listed before
            found: dict[str, dict[str, Any]] = files.find(top, detail=True)
            return found

        try:
            found = self._patiently(ask) if self.scheme in _ATOMIC else self._walk()
        except GoneError:
            return {}
        start = len(top) + 1 if top else 0
        return {
            name[start:].lstrip("/"): _object(info)
            for name, info in sorted(found.items())
            if len(name) > start and info.get("type") != "directory"
        }

    def _walk(self) -> dict[str, dict[str, Any]]:
        """List folder by folder; fsspec's own walk leaves out the folders that it cannot list."""
        files, top = self._opened
        found: dict[str, dict[str, Any]] = {}
        pending = [top]
        while pending:
            folder = pending.pop()
            below = folder[len(top) :].strip("/")

            def ask(folder: str = folder) -> list[dict[str, Any]]:
                files.invalidate_cache()
                children: list[dict[str, Any]] = files.ls(folder, detail=True)
                return children

            try:
                children = self._patiently(ask, below)
            except GoneError as error:
                if folder == top:
                    raise
                raise RemoteError(
                    f"the folder {join_url(self.url, below)} is listed and cannot be opened: {error.reason}; the "
                    "listing would not be complete. Run the same command again, or remove the folder",
                    error.reason,
                ) from None
            for child in children:
                path = child["name"].rstrip("/")
                if self.scheme in ("http", "https"):
                    path = html.unescape(path)  # as it stands in an index
                name = path.rpartition("/")[2]
                if path == folder.rstrip("/") or name in (".", ".."):
                    continue
                if child["type"] != "directory":
                    found[path] = child
                elif not name.startswith("."):  # nothing in a hidden folder counts
                    pending.append(path)
        return found

    def look(self, path: str = "") -> Object:
        """Tell what the store says of one object."""
        return _object(self._info(path))

    def is_file(self, path: str = "") -> bool:
        """Whether the URL, or a path below it, names an object rather than a folder."""
        try:
            found = self._info(path)
        except GoneError:
            return False
        # web servers redirect from a folder's name to its index
        return bool(found["type"] == "file") and not str(found.get("url", "")).endswith("/")

    def _info(self, path: str) -> dict[str, Any]:
        files = self._opened[0]

        def ask() -> dict[str, Any]:
            files.invalidate_cache()  # who has listed a folder would be told what was in it then
            found: dict[str, Any] = files.info(self._at(path))
            return found

        return self._patiently(ask, path)

    def read(
        self, path: str = "", start: int | None = None, end: int | None = None, *, size: int = -1
    ) -> bytes:
        """Read an object, or the bytes of it from `start` up to `end`.

        Parameters
        ----------
        path : str
        start, end : int, optional
        size : int
            What the object's size was when it was listed; -1 where that is not known.

        Raises
        ------
        RemoteError
            The store answers with fewer bytes than the range has, or another number than the object had.
        """
        files = self._opened[0]
        at = self._at(path)
        part = start is not None and end is not None
        expected = end - start if start is not None and end is not None else size

        def ask() -> bytes:
            data: bytes = files.cat_file(at, start=start, end=end)
            if part and len(data) > expected:
                data = data[start:end]  # some web servers know no ranges, and send all of it
            if expected >= 0 and len(data) != expected:
                # the caller has a buffer of this length: nothing but the object's bytes may be taken for them
                self._refuse_length(path, expected, len(data), start or 0)
            return data

        return self._patiently(ask, path)

    def _refuse_length(self, path: str, expected: int, found: int, start: int) -> None:
        """Tell an object that has changed from an answer that is not the object."""
        files = self._opened[0]
        files.invalidate_cache()
        now = _object(files.info(self._at(path))).size
        if 0 <= now < start + expected or now == found:
            reason = (
                f"changed since it was listed: expected {expected:,} bytes from byte {start:,}, "
                f"found {found:,}"
            )
            raise RemoteError(
                f"{join_url(self.url, path)} {reason}; run the same command again", reason
            )
        raise WrongAnswerError(f"the store sends {found:,} bytes where {expected:,} were expected")

    def refuse_to_write(self) -> None:
        """Refuse stores that only give.

        Raises
        ------
        BottleneckError
            It is one.
        """
        if self.scheme in _READ_ONLY:
            raise BottleneckError(
                f"{self.url} can only be read; give a folder, or an object store such as s3://"
            )

    def upload(self, file: Path, path: str) -> None:
        """Write a file's bytes as an object that is there whole or not at all."""
        self._put(lambda files, at: files.put_file(str(file), at), path)

    def write(self, data: bytes, path: str) -> None:
        """Write bytes as an object that is there whole or not at all."""
        self._put(lambda files, at: files.pipe_file(at, data), path)

    def _put(self, put: Callable[[Any, str], None], path: str) -> None:
        self.refuse_to_write()
        files = self._opened[0]
        at = self._at(path)

        def attempt() -> None:
            if self.scheme in _ATOMIC:
                put(files, at)
                return
            folder = posixpath.dirname(at)
            unfinished = f"{folder}/.unfinished-{secrets.token_hex(4)}"
            files.makedirs(folder, exist_ok=True)
            put(files, unfinished)
            files.mv(unfinished, at)

        self._patiently(attempt, path)

    def remove(self, path: str) -> None:
        """Remove an object, if it is there."""
        files = self._opened[0]
        try:
            self._patiently(lambda: files.rm_file(self._at(path)), path)
        except GoneError:
            return


def _configured(protocol: str, name: str) -> dict[str, Any]:
    from fsspec.config import conf

    found = conf.get(protocol, {}).get(name, {})
    return found if isinstance(found, dict) else {}


def _http_client(scheme: str) -> dict[str, Any]:
    """Configure aiohttp for a web server."""
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
    configured = _configured(scheme, "client_kwargs")
    return {"timeout": timeout, "raise_for_status": _check_range, **configured}


async def _check_range(response: Any) -> None:
    """Refuse a range that is not the one that was asked for, before it is read."""
    asked = re.match(r"bytes=(\d+)-", response.request_info.headers.get("Range", ""))
    if response.status == 206 and asked:
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if found is None or found[1] != asked[1]:
            raise WrongAnswerError("the store sends another range of bytes than was asked for")


def _object(info: dict[str, Any]) -> Object:
    size = info.get("size")
    return Object(-1 if size is None else int(size), _version(info))


def _version(info: dict[str, Any]) -> int:
    for name in (*_VERSIONS, *_DATES):
        told = info.get(name)
        if told is not None:
            digest = hashlib.sha256(f"{name} {told}".encode()).digest()
            return int.from_bytes(digest[:8]) >> (64 - _VERSION_BITS)
    return -1

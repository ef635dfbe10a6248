"""Files behind a URL: listed, read and written through fsspec, patiently and without telling secrets.

Credentials are fsspec's and its file systems' own affair: they come from the environment (``AWS_…``,
``FSSPEC_…``, a profile, the machine's role) and never pass through here. Messages are put together of
a URL that holds none and of what a store calls its faults, never of an exception's text, which may quote
a signed request.
"""

import hashlib
import os
import posixpath
import random
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bottleneck.errors import BottleneckError

# How often a request is made before its fault is taken to last, and the seconds after the first try, doubled
# after each: about 6 s in all. A store that restarts or slows its callers down takes that long; a picture
# that cannot be had must not hold up the others for longer.
_TRIES = 5
_FIRST_PAUSE = 0.4

# gcsfs asks six times within half a minute by itself, and cannot be told not to; tries of ours would multiply them.
_TRIES_OF_ITS_OWN = re.compile(r"\bgc?s://")

# Pictures asked for at once: each takes tens of milliseconds in which nobody works.
REQUESTS = 16

# A scheme, or a chain of them as in zip::s3://… One letter would be a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")

# Stores in which an object is there when all of it is, and not before. Elsewhere a file is written under a
# temporary name.
_ATOMIC = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"])
_READ_ONLY = frozenset(["http", "https", "zip", "tar", "github", "libarchive"])

# Codes of HTTP for faults that may pass, besides those from 500: too slow, too early, too many requests.
_MAY_PASS = frozenset([408, 425, 429])

# Where an object's version is told, by how much it tells: content first, and dates last.
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "CRC", "crc32c")
_DATES = ("LastModified", "last_modified", "updated", "mtime", "modified", "Last-Modified")
# Such a version is kept where files have their time of modification. 60 bits are a time long past (before
# 2007, in nanoseconds): what is that old is taken to have come to rest.
_VERSION_BITS = 60

_Found = TypeVar("_Found")


class RemoteError(BottleneckError):
    """What lies behind a URL could not be had; `reason` says why in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        It holds a password or a query, such as a signature: it would be written down in listings and runs.

    Examples
    --------
    >>> clean_url("s3://bucket/flowers/")
    's3://bucket/flowers'
    """
    for part in url.split("::"):
        scheme, _, rest = part.rpartition("://")
        host = rest.split("/", 1)[0]
        if "@" in host and ":" in host.rpartition("@")[0]:
            raise BottleneckError(
                f"a {scheme}:// URL with a password in it would be written down in listings and runs; give it without, "
                "and the password in the environment (FSSPEC_…, see docs/scale.md)"
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
        for attempt in range(1, self._tries + 1):
            try:
                return ask()
            except (BottleneckError, ImportError):
                raise
            except Exception as error:
                kind, reason = _fault(error)
                if kind == "passing" and attempt < self._tries:
                    # not all at once: those who failed together would fail together again
                    time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
                    continue
                where = join_url(self.url, path) if path else self.url
                if kind == "gone":
                    raise GoneError(f"nothing at {where}: {reason}", reason) from None
                if kind == "denied":
                    raise RemoteError(
                        f"no access to {where}: {reason}; credentials come from the environment (AWS_…, FSSPEC_…, "
                        "see docs/scale.md)",
                        f"no permission to read it: {reason}",
                    ) from None
                if kind == "other":
                    if isinstance(error, (ValueError, AssertionError)):
                        raise
                    raise RemoteError(f"{where} cannot be used: {reason}", reason) from None
                tried = f"{reason}, in each of {self._tries} tries" if self._tries > 1 else reason
                raise RemoteError(f"{where} cannot be reached: {tried}", tried) from None
        raise AssertionError("the last try returns or raises")

    def find(self) -> dict[str, Object]:
        """List everything below, in one request for each 1,000 objects where the store is one of objects.

        Returns
        -------
        dict of str to Object
            By path relative to the URL, sorted; empty where there is nothing.
        """
        files, top = self._opened

        def ask() -> dict[str, dict[str, Any]]:
            files.invalidate_cache()  # of what was listed before
            found: dict[str, dict[str, Any]] = files.find(top, detail=True)
            return found

        try:
            found = self._patiently(ask)
        except GoneError:
            return {}
        start = len(top) + 1 if top else 0
        return {
            name[start:].lstrip("/"): _object(info)
            for name, info in sorted(found.items())
            if len(name) > start and info.get("type") != "directory"
        }

    def look(self, path: str = "") -> Object:
        """Tell what the store says of one object."""
        return _object(self._info(path))

    def is_file(self) -> bool:
        """Whether the URL itself names an object."""
        try:
            return bool(self._info("")["type"] == "file")
        except GoneError:
            return False

    def _info(self, path: str) -> dict[str, Any]:
        files = self._opened[0]

        def ask() -> dict[str, Any]:
            files.invalidate_cache()  # who has listed a folder would be told what was in it then
            found: dict[str, Any] = files.info(self._at(path))
            return found

        return self._patiently(ask, path)

    def read(self, path: str = "", start: int | None = None, end: int | None = None) -> bytes:
        """Read an object, or the bytes of it from `start` up to `end`.

        Raises
        ------
        RemoteError
            The store answers with fewer bytes than the range has.
        """
        files = self._opened[0]
        at = self._at(path)
        data: bytes = self._patiently(lambda: files.cat_file(at, start=start, end=end), path)
        if start is None or end is None:
            return data
        if len(data) > end - start:
            data = data[start:end]  # some web servers know no ranges, and send all of it
        if len(data) != end - start:
            # the caller has a buffer of this length: nothing but the object's bytes may be taken for them
            reason = (
                f"changed since it was listed: expected {end - start:,} bytes from byte {start:,}, "
                f"found {len(data):,}"
            )
            raise RemoteError(
                f"{join_url(self.url, path)} {reason}; run the same command again", reason
            )
        return data

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


def _fault(error: BaseException) -> tuple[str, str]:
    """Tell whether a fault may pass, and put it into words that quote nothing."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    status, code = 0, ""
    for each in chain:
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # botocore's
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            code = re.sub(r"[^A-Za-z0-9]", "", str(response.get("Error", {}).get("Code", "")))
        else:
            told = getattr(each, "status", None) or getattr(each, "code", None)
            status = told if isinstance(told, int) else 0
        if status:
            break
    name = type(error).__name__
    said = f"the store answers {status}" + (f" ({code})" if code not in ("", str(status)) else "")
    if isinstance(error, FileNotFoundError) or status == 404:
        return "gone", "no such object: it was moved or deleted"
    # gcsfs says so in words alone
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")
    if isinstance(error, PermissionError) or forbidden or status in (401, 403):
        return "denied", said if status else "the store refuses it"
    if re.search("Credential|Token|Auth", name):
        return "denied", f"there are no valid credentials ({name})"
    if status:
        return ("passing" if status in _MAY_PASS or status >= 500 else "other"), said
    ours = isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError))
    theirs = type(error).__module__.split(".")[0] in ("aiohttp", "botocore", "aiobotocore")
    network = isinstance(error, (OSError, EOFError)) or (theirs and "Validation" not in name)
    if network and not ours:
        cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else name
        return "passing", f"the connection fails ({cause})"
    return "other", f"the file system fails ({name})"

"""The cache's table of images: every one of them, ok or failed with a reason."""

import contextlib
import gc
import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from bottleneck.cache.atomic import write_atomically
from bottleneck.cache.recipe import refuse_newer
from bottleneck.cache.shard import read_digests
from bottleneck.errors import BottleneckError

FILE_NAME = "listing.h5"
FORMAT = "bottleneck-listing"
VERSION = 2

OK = "ok"
FAILED = "failed"


class DamagedListingError(BottleneckError):
    """The listing's bytes are not those that were written."""


class Row(NamedTuple):
    """One image.

    Attributes
    ----------
    path : str
        Relative to the listing's root, or absolute where it lies outside.
    digest : str
        SHA-256 of the file's bytes in hexadecimal; empty where they could not be read.
    label, split : str or None
    status : {"ok", "failed"}
    reason : str
        Why it failed; empty where it did not.
    size : int
        Of the file, in bytes; -1 where it could not be told.
    mtime_ns : int
        When it was last modified, in nanoseconds; -1 where that cannot be relied on.
    """

    path: str
    digest: str = ""
    label: str | None = None
    split: str | None = None
    status: str = OK
    reason: str = ""
    size: int = -1
    mtime_ns: int = -1


@dataclass(frozen=True)
class Listing:
    """The table of images.

    Attributes
    ----------
    root : str
        What relative paths start from: a folder's absolute path.
    rows : tuple of Row
        In the order of the source.
    """

    root: str
    rows: tuple[Row, ...]

    @cached_property
    def ok(self) -> tuple[Row, ...]:
        """The rows whose image can be used."""
        return tuple(row for row in self.rows if row.status == OK)

    @cached_property
    def failed(self) -> tuple[Row, ...]:
        """The rows whose image cannot be used, each with its reason."""
        return tuple(row for row in self.rows if row.status == FAILED)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels of usable images, sorted."""
        return tuple(sorted({row.label for row in self.ok if row.label is not None}))


# Stored as numbers that say which of their few different values each row has.
_CODED = ("label", "split", "status", "reason")
_VALUES = {name: f"{name}_values" for name in _CODED}
_NUMBERS = ("size", "mtime_ns")
_ORDER = ("path", *itertools.chain(*_VALUES.items()), "digest", *_NUMBERS)


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Keep Python's collector of cycles from going through rows while they are made.

    A row holds no cycle, and of a million rows it would go through all made so far again and again:
    a third of the time it takes to make them.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def write_listing(folder: Path, listing: Listing) -> None:
    """Write ``listing.h5`` in one piece.

    Raises
    ------
    BottleneckError
        There is no room left on the disk.
    """
    rows = listing.rows
    # Bytes, not str: a file name on a POSIX system need not be valid UTF-8
    joined = b"\0".join(os.fsencode(row.path) for row in rows)
    columns: dict[str, Any] = {"path": np.frombuffer(joined, np.uint8)}
    for name in _CODED:
        values: dict[str, int] = {}
        codes = [values.setdefault(getattr(row, name) or "", len(values)) for row in rows]
        columns[name] = np.array(codes, "<u4")
        columns[_VALUES[name]] = [os.fsencode(value) for value in values]
    columns["digest"] = np.array([row.digest for row in rows], dtype="S64")
    columns |= {name: np.array([getattr(row, name) for row in rows], "<i8") for name in _NUMBERS}
    image = io.BytesIO()
    with h5py.File(image, "w", libver="v110") as file:
        for name, column in columns.items():
            text = h5py.string_dtype("utf-8") if name in _VALUES.values() else None
            file.create_dataset(name, data=column, dtype=text, shape=(len(column),))
        file.attrs.update(format=FORMAT, version=VERSION, root=os.fsencode(listing.root))
        file.attrs["crc32"] = _checksum(os.fsencode(listing.root), columns)
    write_atomically(folder / FILE_NAME, image.getbuffer())


def read_listing(folder: Path) -> Listing | None:
    """Read ``listing.h5``; None where there is none yet.

    Raises
    ------
    BottleneckError
        It is damaged or of a newer format.
    """
    file_path = folder / FILE_NAME
    try:
        content = io.BytesIO(file_path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BottleneckError(f"cannot read {file_path}: {error.strerror}") from error
    try:
        # from memory: no lock is taken, or minded, and the file may be replaced meanwhile
        with h5py.File(content, "r") as file:
            version, checksum = int(file.attrs["version"]), int(file.attrs["crc32"])
            refuse_newer(file_path, version, VERSION)
            root = os.fsencode(file.attrs["root"])
            columns = _columns(file, version)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise DamagedListingError(_damaged(file_path)) from error
    found = _checksum(root, columns) if version > 1 else _checksum_1(root, columns)
    if found != checksum:
        raise DamagedListingError(_damaged(file_path))
    with paused_collection():
        lists = _lists(columns) if version > 1 else _lists_1(columns)
        values = zip(*(lists[name] for name in Row._fields), strict=True)
        # Row._make does this too, and takes three times as long
        rows = tuple(map(tuple.__new__, itertools.repeat(Row), values))
    return Listing(os.fsdecode(root), rows)


def _columns(file: Any, version: int) -> dict[str, Any]:
    names = _ORDER if version > 1 else (*_TEXTS_1, "digest", *_NUMBERS)
    return {name: file[name][:] for name in names}


def _lists(columns: dict[str, Any]) -> dict[str, list[Any]]:
    """Bring columns to what rows are made of, all values of one at once: one by one takes long."""
    digests = columns["digest"]
    lists: dict[str, list[Any]] = {
        # none of them has a zero byte in it, for no path may hold one
        "path": os.fsdecode(columns["path"].tobytes()).split("\0") if len(digests) else [],
        "digest": _hexadecimal(digests),
    }
    for name in _CODED:
        none = None if name in ("label", "split") else ""
        values = [os.fsdecode(value) or none for value in columns[_VALUES[name]]]
        lists[name] = np.array([*values, None], object)[columns[name]].tolist()
    return lists | {name: columns[name].tolist() for name in _NUMBERS}


def _hexadecimal(digests: NDArray[np.bytes_]) -> list[str]:
    found = read_digests(digests)
    for place in np.flatnonzero(digests == b""):  # of files that could not be read
        found[place] = ""
    return found


def _damaged(file: Path) -> str:
    return (
        f"{file} is damaged; `bottleneck extract IMAGES --cache {file.parent}` reads the images' names and labels "
        "again and computes nothing that is there"
    )


def _checksum(root: bytes, columns: dict[str, Any]) -> int:
    crc = isal_zlib.crc32(root)
    for name in _ORDER:
        texts = name in _VALUES.values()
        crc = isal_zlib.crc32(
            b"\0".join(columns[name]) if texts else memoryview(columns[name]), crc
        )
    return crc


# --- version 1, which kept all texts one by one


_TEXTS_1 = ("path", "label", "split", "status", "reason")


def _lists_1(columns: dict[str, Any]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {
        name: [os.fsdecode(text) for text in columns[name]] for name in _TEXTS_1
    }
    lists |= {name: [value or None for value in lists[name]] for name in ("label", "split")}
    lists["digest"] = _hexadecimal(columns["digest"])
    return lists | {name: columns[name].tolist() for name in _NUMBERS}


def _checksum_1(root: bytes, columns: dict[str, Any]) -> int:
    crc = isal_zlib.crc32(root)
    for name in _TEXTS_1:
        crc = isal_zlib.crc32(b"\0".join(columns[name]), crc)
    for name in ("digest", *_NUMBERS):
        crc = isal_zlib.crc32(columns[name].tobytes(), crc)
    return crc

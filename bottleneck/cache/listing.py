"""The cache's table of images: every one of them, ok or failed with a reason."""

import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.atomic import write_atomically
from bottleneck.cache.recipe import refuse_newer
from bottleneck.errors import BottleneckError

FILE_NAME = "listing.h5"
FORMAT = "bottleneck-listing"
VERSION = 1

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
    root : Path
        The folder that relative paths start from.
    rows : tuple of Row
        In the order of the source.
    """

    root: Path
    rows: tuple[Row, ...]

    @property
    def ok(self) -> tuple[Row, ...]:
        """The rows whose image can be used."""
        return tuple(row for row in self.rows if row.status == OK)

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows whose image cannot be used, each with its reason."""
        return tuple(row for row in self.rows if row.status == FAILED)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of usable images, sorted."""
        return tuple(sorted({row.label for row in self.ok if row.label is not None}))


_TEXTS = ("path", "label", "split", "status", "reason")
_NUMBERS = ("size", "mtime_ns")


def write_listing(folder: Path, listing: Listing) -> None:
    """Write ``listing.h5`` in one piece.

    Raises
    ------
    BottleneckError
        There is no room left on the disk.
    """
    rows = listing.rows
    # Bytes, not str: a file name on a POSIX system need not be valid UTF-8
    columns: dict[str, Any] = {
        name: [os.fsencode(getattr(row, name) or "") for row in rows] for name in _TEXTS
    }
    columns["digest"] = np.array([row.digest for row in rows], dtype="S64")
    columns |= {name: np.array([getattr(row, name) for row in rows], "<i8") for name in _NUMBERS}
    image = io.BytesIO()
    with h5py.File(image, "w", libver="v110") as file:
        for name, values in columns.items():
            text = h5py.string_dtype("utf-8") if name in _TEXTS else None
            file.create_dataset(name, data=values, dtype=text, shape=(len(rows),))
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
            columns = {name: file[name][:] for name in (*_TEXTS, "digest", *_NUMBERS)}
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise DamagedListingError(_damaged(file_path)) from error
    if _checksum(root, columns) != checksum:
        raise DamagedListingError(_damaged(file_path))
    columns |= {name: _decoded(columns[name]) for name in _TEXTS}
    columns["digest"] = columns["digest"].astype("U64").tolist()
    columns |= {name: columns[name].tolist() for name in _NUMBERS}
    columns |= {name: [value or None for value in columns[name]] for name in ("label", "split")}
    rows = map(Row._make, zip(*(columns[name] for name in Row._fields), strict=True))
    return Listing(Path(os.fsdecode(root)), tuple(rows))


def _decoded(values: NDArray[np.object_]) -> list[str]:
    """Decode file names and other texts, all at once: one by one takes ten times as long."""
    # none of them has a zero byte in it, for HDF5 would end it there
    return os.fsdecode(b"\0".join(values)).split("\0") if len(values) else []


def _damaged(file: Path) -> str:
    return (
        f"{file} is damaged; `bottleneck extract IMAGES --cache {file.parent}` reads the images' names and labels "
        "again and computes nothing that is there"
    )


def _checksum(root: bytes, columns: dict[str, Any]) -> int:
    crc = zlib.crc32(root)
    for name in _TEXTS:
        crc = zlib.crc32(b"\0".join(columns[name]), crc)
    for name in ("digest", *_NUMBERS):
        crc = zlib.crc32(columns[name].tobytes(), crc)
    return crc

"""The cache's table of images: every one of them, ok or failed with a reason."""

import io
import mmap
import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from isal import isal_zlib

from bottleneck.cache.atomic import open_regular, write_atomically
from bottleneck.cache.digests import Digests
from bottleneck.cache.hdf5 import open_dataset
from bottleneck.cache.recipe import refuse_newer
from bottleneck.cache.rows import CODED, FAILED, NUMBERS, OK, UNREAD, Coded, Row, Rows, find_paths
from bottleneck.cache.schema import SchemaError
from bottleneck.errors import BottleneckError, one_line

FILE_NAME = "listing.h5"
FORMAT = "bottleneck-listing"
VERSION = 3

# Bytes before the HDF5 file proper, where HDF5 looks for nothing: they say what is to come and its CRC-32. The
# least there can be.
_BEFORE = 512
_WRITTEN = re.compile(rb"bottleneck-listing (?P<version>\d+) (?P<crc>[0-9a-f]{8})\n\0*", re.DOTALL)
_HDF5 = b"\x89HDF"  # what a file begins with that has nothing before it

# Rows of which digests are read at once: 64 MB.
_BLOCK = 1 << 20


class DamagedListingError(BottleneckError):
    """The listing's bytes are not those that were written."""


class Listing:
    """The table of images.

    Parameters
    ----------
    root : str
        What relative paths start from: a folder's absolute path.
    rows : iterable of Row
        In the order of the source; they are kept as columns, see `bottleneck.cache.rows.Rows`.
    """

    def __init__(self, root: str, rows: Iterable[Row]) -> None:
        self.root = root
        self.rows = Rows.of(rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listing) and self.root == other.root and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def ok(self) -> Rows:
        """The rows whose image can be used."""
        return self.rows.where("status", OK)

    @cached_property
    def failed(self) -> Rows:
        """The rows whose image cannot be used, each with its reason."""
        return self.rows.where("status", FAILED)

    @cached_property
    def not_failed(self) -> Rows:
        """The rows whose image can be used, as far as is known."""
        return self.rows.only(~self.rows.coded["status"].equal_to(FAILED))

    @cached_property
    def unread(self) -> Rows:
        """The rows whose image has not been read yet: while an extraction runs, no longer."""
        return self.rows.where("status", UNREAD)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels of usable images, sorted."""
        return tuple(self.ok.tally("label"))


_VALUES = {name: f"{name}_values" for name in CODED}


def write_listing(folder: Path, listing: Listing) -> None:
    """Write ``listing.h5`` in one piece.

    Raises
    ------
    BottleneckError
        There is no room left on the disk.
    """
    rows = listing.rows
    columns: dict[str, Any] = {"path": rows.paths, "digest": rows.digests.to_ascii()}
    columns |= {name: rows.coded[name].codes.astype("<u4") for name in CODED}
    columns |= {name: rows.numbers[name].astype("<i8", copy=False) for name in NUMBERS}
    image = io.BytesIO()
    with h5py.File(image, "w", libver="v110", userblock_size=_BEFORE) as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column)
        for name in CODED:
            values = [os.fsencode(value) for value in rows.coded[name].values]
            text = h5py.string_dtype("utf-8")
            file.create_dataset(_VALUES[name], data=values, dtype=text, shape=(len(values),))
        file.attrs.update(format=FORMAT, version=VERSION, root=os.fsencode(listing.root))
    content = image.getbuffer()
    before = f"{FORMAT} {VERSION} {isal_zlib.crc32(content[_BEFORE:]):08x}\n".encode()
    content[: len(before)] = before
    write_atomically(folder / FILE_NAME, content)


def read_listing(folder: Path) -> Listing | None:
    """Read ``listing.h5``; None where there is none yet.

    Raises
    ------
    BottleneckError
        It is damaged, or of a newer format.
    """
    path = folder / FILE_NAME
    try:
        # a file of Python's: no lock is taken, or minded, and the file may be replaced meanwhile
        with open_regular(path) as raw:
            _check(path, raw)
            with h5py.File(raw, "r") as file:
                return _read_content(path, file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BottleneckError(f"cannot read {path}: {error.strerror}") from error


def _read_content(path: Path, file: Any) -> Listing:
    try:
        root = os.fsdecode(os.fsencode(file.attrs["root"]))
        return Listing(root, _read(file, path.stat().st_size))
    except Exception as error:  # h5py raises what it likes on foreign files
        raise DamagedListingError(
            f"{path} is not as bottleneck writes listings: {one_line(error)}; {_again(path)}"
        ) from error


def _again(path: Path) -> str:
    return (
        f"`bottleneck extract IMAGES --cache {path.parent}` reads the images' names and labels again and computes "
        "nothing that is there"
    )


def _check(path: Path, raw: BinaryIO) -> None:
    """Compare every byte with what was written, before HDF5 sees any: on damaged files it may never end."""
    again = _again(path)
    before = raw.read(_BEFORE)
    if before.startswith(_HDF5):
        raise DamagedListingError(
            f"{path} is of an earlier format than this version reads; {again}"
        )
    said = _WRITTEN.fullmatch(before)
    if said:
        refuse_newer(path, int(said["version"]), VERSION)
        with (
            mmap.mmap(raw.fileno(), 0, prot=mmap.PROT_READ) as content,
            memoryview(content) as every,
        ):
            if isal_zlib.crc32(every[_BEFORE:]) == int(said["crc"], 16):
                return
    raise DamagedListingError(f"{path} is damaged; {again}")


def _read(file: Any, size: int) -> Rows:
    """Read the columns, after checking that they are the columns of a listing."""
    stored = open_dataset(file, "digest", ("S64",), size)
    count = len(stored)
    text = open_dataset(file, "path", ("uint8",), size)[:]
    if count and np.count_nonzero(text == 0) != count - 1:
        raise SchemaError(f"path: expected {count:,} paths")
    coded = {}
    for name in CODED:
        kept = open_dataset(file, _VALUES[name], (h5py.string_dtype("utf-8"),), size)
        values = tuple(map(os.fsdecode, kept[:]))
        codes = open_dataset(file, name, ("uint32",), size, count)[:]
        if count and int(codes.max()) >= len(values):
            raise SchemaError(f"{name}: it counts beyond its {len(values):,} values")
        narrow = np.min_scalar_type(max(len(values) - 1, 0))
        coded[name] = Coded(codes.astype(narrow), values)
    status = coded["status"]  # its values may include "unread", which no row has any more
    if not {status.values[code] for code in np.unique(status.codes)} <= {OK, FAILED}:
        raise SchemaError(f"status: expected {OK} or {FAILED}")
    digests = Digests.join(
        Digests.from_ascii(stored[start : start + _BLOCK])
        for start in range(0, len(stored), _BLOCK)
    )
    numbers = {name: open_dataset(file, name, ("int64",), size, count)[:] for name in NUMBERS}
    return Rows(text, *find_paths(text, len(digests)), digests, coded, numbers)

"""Tables of images in Parquet, the format of data sets on the Hugging Face hub."""

import json
import os
import posixpath
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import (
    File,
    Member,
    no_such_member,
    not_readable,
    stamp_of,
)
from bottleneck.images.containers.members import label_text, too_many_images
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import find_size_problem, read_bytes
from bottleneck.images.names import SPLITS
from bottleneck.images.reasons import describe
from bottleneck.remote import is_url

# Names of columns, the first that is there; ``img`` is CIFAR's on the hub.
_IMAGES = ("image", "img", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "class", "cls")
_SPLITS = ("split",)

# Bytes per request of one behind a URL, where less than all images of a group of rows is asked for: its footer, and
# the labels, which lie between the images.
_BLOCK = 2**18

# Image files hardly compress. A group of rows beyond the limit that does is a few kilobytes made to fill the memory.
_PLAUSIBLE_RATIO = 10

# The hub's number for "no label".
_NO_LABEL = -1

# What a damaged file makes pyarrow raise besides its own ArrowException.
_FAULTS = (OSError, ValueError, KeyError, NotImplementedError)


class Parquet:
    """A Parquet file with a column of images: bytes, paths, or both as the hub keeps them.

    Its members are numbered by row. The label is that of a column ``label``, by its name where the file has the
    names of its classes. Paths start from the file's folder and stay below it.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no Parquet file, has no column of images, labels of an unsuitable type, or pyarrow is not installed.
    """

    folders = False

    def __init__(self, file: File) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise BottleneckError(
                f"to read {file.name}, install pyarrow: pip install 'bottleneck-features[parquet]'"
            ) from error
        self._file = file
        self._faults = (pyarrow.ArrowException, *_FAULTS)
        try:
            self._table = pyarrow.parquet.ParquetFile(
                file if isinstance(file, Path) else file.open("rb", _BLOCK), memory_map=True
            )
        except self._faults as error:
            raise not_readable(file, "Parquet file", error) from error
        self._schema = self._table.schema_arrow
        images = self._column(_IMAGES)
        if images is None:
            raise BottleneckError(
                f"{file} has no column of images ({', '.join(_IMAGES)}); it has: {', '.join(self._schema.names)}"
            )
        self._images = images
        metadata = self._table.metadata
        size = stamp_of(file)[0]
        if too_many_images(metadata.num_rows, size):
            claim = f"it claims {metadata.num_rows:,} rows, which its {size:,} bytes cannot hold"
            raise not_readable(file, "Parquet file", claim)
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._reading = threading.Lock()
        # images are read in their order, so the group of rows read last is nearly always the one asked for
        self._group: tuple[int, Any] = (-1, None)

    def _column(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if name in self._schema.names), None)

    def members(self) -> Sequence[Member]:
        """List the rows, see `Container.members`."""
        labels = self._labels(self._column(_LABELS))
        splits = self._values(self._column(_SPLITS))
        return [
            Member(str(row), label, SPLITS.get(str(split).lower()), problem)
            for row, ((label, problem), split) in enumerate(zip(labels, splits, strict=True))
        ]

    def read(self, name: str) -> bytes:
        """Read the image of a row, see `Container.read`."""
        if not name.isdecimal() or int(name) >= self._starts[-1]:
            raise no_such_member(name)
        row = int(name)
        group = next(n for n, end in enumerate(self._starts[1:]) if row < end)
        with self._reading:
            if self._group[0] != group:
                self._group = (group, self._read_group(group))
            value = self._group[1][row - self._starts[group]].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return self._read_path(row, value)
        if not isinstance(value, bytes):
            raise UnreadableImageError(f"row {row} of {self._file.name} has no image")
        return value

    def _read_path(self, row: int, path: str) -> bytes:
        """Read the image file a row names."""
        top = self._file.parent
        if isinstance(top, Path):
            path = os.path.relpath(top / path, top) if path.startswith("/") else path
        relative = posixpath.normpath(path)
        leads_out = relative.split("/", 1)[0] == ".." or relative.startswith("/")
        if leads_out or is_url(path) or "\0" in path or path.lower().startswith("file:"):
            raise UnreadableImageError(
                f"row {row} of {self._file.name} names {describe(repr(path))}, which is not below the folder of the "
                "file; list such images in a CSV file, with --root"
            )
        file = top / relative
        if isinstance(file, Path):
            return read_bytes(file)
        if problem := find_size_problem(file.found[0], "has"):
            raise UnreadableImageError(problem)
        return file.read_bytes()

    def _read_group(self, group: int) -> Any:
        rows = f"rows {self._starts[group]} to {self._starts[group + 1] - 1} of {self._file.name}"
        if problem := self._find_group_problem(group):
            raise UnreadableImageError(f"{rows}: {problem}")
        try:
            return self._table.read_row_group(group, columns=[self._images])[self._images]
        except self._faults as error:
            raise UnreadableImageError(f"{rows} are damaged: {describe(error)}") from error

    def _find_group_problem(self, group: int) -> str | None:
        found = self._table.metadata.row_group(group)
        columns = [found.column(n) for n in range(found.num_columns)]
        columns = [each for each in columns if each.path_in_schema.split(".")[0] == self._images]
        unpacked = sum(each.total_uncompressed_size for each in columns)
        packed = sum(each.total_compressed_size for each in columns)
        return find_size_problem(unpacked) if unpacked > _PLAUSIBLE_RATIO * packed else None

    def _values(self, column: str | None) -> list[Any]:
        if column is None:
            return [None] * self._starts[-1]
        try:
            return list(self._table.read(columns=[column])[column].to_pylist())
        except self._faults as error:
            raise not_readable(self._file, f"Parquet file: column {column!r}", error) from error

    def _labels(self, column: str | None) -> list[tuple[str | None, str | None]]:
        """Give label and problem of each row."""
        values = self._values(column)
        if column is None:
            return [(None, None)] * len(values)
        kind = self._schema.field(column).type
        if kind.num_fields:
            raise BottleneckError(
                f"{self._file}: column {column!r} has the type {kind}; expected text or whole numbers, one for each "
                "row; rename the column to go on without labels"
            )
        names = self._class_names(column)
        # -1 and 1 alone are two classes
        is_marked = bool(names) or set(values) - {None} != {_NO_LABEL, 1}
        return [
            (None, None) if is_marked and value == _NO_LABEL else _name_label(value, names)
            for value in values
        ]

    def _class_names(self, column: str) -> list[str]:
        """Names of classes, as the hub writes them beside the columns."""
        try:
            content = json.loads((self._schema.metadata or {})[b"huggingface"])
            return [str(name) for name in content["info"]["features"][column]["names"]]
        except (KeyError, ValueError, TypeError, RecursionError):
            return []


def _name_label(value: object, names: Sequence[str]) -> tuple[str | None, str | None]:
    if names and isinstance(value, int):
        if 0 <= value < len(names):
            return names[value], None
        return None, f"its label is {value}, and the file has names for {len(names)} classes"
    try:
        return label_text(value), None
    except ValueError as error:
        return None, f"its label cannot be read: {describe(error)}"

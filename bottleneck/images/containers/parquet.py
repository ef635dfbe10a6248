"""Tables of pictures in Parquet, as data sets are kept on the Hugging Face hub."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import read_bytes
from bottleneck.images.names import SPLITS

# Names of columns, the first that is there; ``img`` is CIFAR's on the hub.
_IMAGES = ("image", "img", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "class", "cls")
_SPLITS = ("split",)

# Bytes of one behind a URL that are asked for at once, where it is less than all the pictures of a group of rows:
# its footer, and the labels, which lie between those.
_BLOCK = 2**18

# What a damaged file, or one not read before, makes pyarrow raise besides its own ArrowException.
_FAULTS = (OSError, ValueError, KeyError, NotImplementedError)


class Parquet:
    """A Parquet file with a column of pictures: bytes, paths, or both as the hub keeps them.

    Its members are numbered by row. The label is what a column ``label`` says, by its name where the file tells
    the names of its classes.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no Parquet file, has no column of pictures, or pyarrow is not installed.
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
                f"{file} has no column of pictures ({', '.join(_IMAGES)}); it has: {', '.join(self._schema.names)}"
            )
        self._images = images
        metadata = self._table.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._reading = threading.Lock()
        # pictures are read in their order, so the group of rows read last is nearly always the one
        self._group: tuple[int, Any] = (-1, None)

    def _column(self, names: Sequence[str]) -> str | None:
        return next((name for name in names if name in self._schema.names), None)

    def members(self) -> Sequence[Member]:
        """List the rows, see `Container.members`."""
        labels = self._texts(self._column(_LABELS))
        splits = self._texts(self._column(_SPLITS))
        return [
            Member(str(row), label, SPLITS.get((split or "").lower()))
            for row, (label, split) in enumerate(zip(labels, splits, strict=True))
        ]

    def read(self, name: str) -> bytes:
        """Read the picture of a row, see `Container.read`."""
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
            beside = self._file.parent / value
            return read_bytes(beside) if isinstance(beside, Path) else beside.read_bytes()
        if not isinstance(value, bytes):
            raise UnreadableImageError(f"row {row} of {self._file.name} has no picture")
        return value

    def _read_group(self, group: int) -> Any:
        try:
            return self._table.read_row_group(group, columns=[self._images])[self._images]
        except self._faults as error:
            text = " ".join(str(error).split())
            raise UnreadableImageError(
                f"rows {self._starts[group]} to {self._starts[group + 1] - 1} of {self._file.name} are damaged: {text}"
            ) from error

    def _texts(self, column: str | None) -> list[str | None]:
        if column is None:
            return [None] * self._starts[-1]
        try:
            values = self._table.read(columns=[column])[column].to_pylist()
        except self._faults as error:
            raise not_readable(self._file, f"Parquet file: column {column!r}", error) from error
        names = self._class_names(column)
        return [
            names[value]
            if names and isinstance(value, int) and 0 <= value < len(names)
            else _text(value)
            for value in values
        ]

    def _class_names(self, column: str) -> list[str]:
        """Names of classes, as the hub writes them beside the columns."""
        try:
            told = json.loads((self._schema.metadata or {})[b"huggingface"])
            return [str(name) for name in told["info"]["features"][column]["names"]]
        except (KeyError, ValueError, TypeError):
            return []


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)

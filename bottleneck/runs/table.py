"""Predictions as a CSV file."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

# Columns that say something of the image itself; a class of the same name is written class_NAME.
FIXED = ("path", "label", "split", "prediction", "confidence", "reason")


def class_columns(classes: Sequence[str]) -> list[str]:
    """Name the columns of the classes so that none collides with a fixed one.

    Examples
    --------
    >>> class_columns(["cat", "path"])
    ['cat', 'class_path']
    """
    return [f"class_{name}" if name in FIXED else name for name in classes]


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file; names that are no valid UTF-8 keep their bytes."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        write_rows(lines, header, rows)


def write_rows(lines: TextIO, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to an open text file."""
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
